"""Vectors for words: the task they are learned by, how well it is done, and which words lie near each other."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.dialogues import vocabulary
from models.intervals import resampled, share
from models.records import InputSpec, Runner, Score, Split
from models.tasks import Array, _Splits
from models.utterances import sentences
from models.vocabulary import MARKS
from models.word_pairs import WordPairs, held_out

if TYPE_CHECKING:
    import torch

WINDOW = 5
FREQUENT = 1000  # words among which two models' neighbours are compared
NEIGHBOURS = 10
_SCORED = 20_000  # pairs or windows of validation and of test
_SEEDS: Mapping[Split, int] = {"validation": 1, "test": 2}


@dataclass(frozen=True, kw_only=True, eq=False)
class NegativeSampling(_Splits):
    """Tell the true word from words drawn as noise: scores (N, 1 + K), targets 1 for the first word and 0 for the rest.

    The score is the share of rows whose true word lies above its noise word (of two words a row, so a half by chance);
    ties and NaN are wrong. `Score.samples` is 1 for each row that was right.

    With a reference it is the neighbour overlap: of the ten nearest neighbours a word has among the `words` asked, by
    the angle between vectors, the share that the reference has too; `samples` is that share for each word. It needs
    the form `vector` of both; where a runner knows no forms, it is the share of rows ordered as the reference does.

    Args:
        words: numbers of the words whose neighbours are compared.
    """

    words: Array

    def loss(self, outputs: Mapping[str, torch.Tensor], target: Any) -> torch.Tensor:
        """-log sigmoid(score of the true word) - the sum of log sigmoid(-score of noise), the mean over rows.

        Source: Mikolov et al. 2013 (arXiv:1310.4546) eq. 4.
        """
        from torch.nn import functional as F

        scores = self._judged(outputs)
        return F.binary_cross_entropy_with_logits(scores, target.to(scores.dtype), reduction="sum") / len(scores)

    def score(self, runner: Runner, split: Split = "test", reference: Runner | None = None) -> Score:
        """The share of true words above noise, Wilson's interval; or the neighbour overlap, bootstrap over words."""
        if reference is not None and _knows_vectors(runner) and _knows_vectors(reference):
            return self._overlap(runner, reference)
        rows = []
        for inputs, _ in self._split(split):
            above = _above(self._judged(runner(inputs)))
            rows.append(above if reference is None else above == _above(self._judged(reference(inputs))))
        samples = np.concatenate(rows).astype(np.float64)
        return share(samples, "true above noise" if reference is None else "agreement")

    def statistic(self, samples: Array) -> float:
        """The mean."""
        return float(samples.mean())

    def statistics(self, samples: Array, counts: Array) -> Array:
        """The same for many resamplings at once: counts (resamples, rows)."""
        means: Array = counts @ samples / len(samples)
        return means

    def _overlap(self, runner: Runner, reference: Runner) -> Score:
        one, other = (nearest(vectors(each, self.words), NEIGHBOURS) for each in (runner, reference))
        samples = (one[:, :, None] == other[:, None, :]).any(2).mean(1)
        return resampled(self, samples, "neighbour overlap")


def vectors(runner: Any, words: Array) -> Array:
    """The vectors of words, (words, d), by the runner's form `vector`."""
    found: Array = next(iter(runner.forms["vector"]({"word": words}).values()))
    return found


def nearest(table: Array, k: int) -> Array:
    """Rows of a table of vectors (words, d) whose angle to each is least, nearest first, without itself: (words, k)."""
    table = np.nan_to_num(table.astype(np.float64))
    unit = table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -np.inf)
    return np.argsort(-cosine, axis=1, kind="stable")[:, :k]


def skipgram_task(*, batch_size: int = 64, inputs: Sequence[InputSpec] = ()) -> NegativeSampling:
    """Tell a word's true neighbours from noise, in the dialogues' utterances."""
    return _task("sgd_pairs", ("centre", "words"), False, batch_size, inputs)


def cbow_task(*, batch_size: int = 64, inputs: Sequence[InputSpec] = ()) -> NegativeSampling:
    """Tell the word that its neighbours stand around from noise, in the dialogues' utterances."""
    return _task("sgd_windows", ("context", "words"), True, batch_size, inputs)


def _task(
    name: str, usual: tuple[str, str], whole: bool, batch_size: int, inputs: Sequence[InputSpec]
) -> NegativeSampling:
    given, words = (spec.name for spec in inputs) if inputs else usual

    def pairs(split: Split) -> WordPairs:
        return WordPairs(
            sentences=sentences(split),
            counts=word_counts(),
            names=(given, words),
            whole=whole,
            window=WINDOW,
            batch_size=batch_size,
        )

    return NegativeSampling(
        name=name,
        train=pairs("train"),
        validation=held_out(pairs("validation"), _SCORED, _SEEDS["validation"]),
        test=held_out(pairs("test"), _SCORED, _SEEDS["test"]),
        words=np.arange(len(MARKS), len(MARKS) + FREQUENT),
    )


@functools.cache
def word_counts() -> Array:
    """How often each word of the vocabulary is said in training, (vocabulary,); of the marks never."""
    counts = np.bincount(np.concatenate(sentences("train")), minlength=len(vocabulary()))
    counts[: len(MARKS)] = 0
    return counts


def _knows_vectors(runner: Any) -> bool:
    return "vector" in getattr(runner, "forms", {})


def _above(scores: Array) -> Array:
    """Whether the first of each row's words has a larger score than all others."""
    above: Array = scores[:, 0] > scores[:, 1:].max(1)
    return above
