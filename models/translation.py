"""A task of whole sentences: what a network writes word by word, greedily, is held against a translator's by BLEU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.decoding import Decoder, first_states
from models.errors import DataError
from models.intervals import resampled
from models.records import Arrays, Runner, Score, Split
from models.sequence_batches import SequenceBatches
from models.tasks import IGNORED, Array, _decision, _Splits, _token_means
from models.vocabulary import BOS, EOS, Vocabulary

if TYPE_CHECKING:
    import torch

_TOGETHER = 250  # sentences that are written side by side
_ORDER = 4  # of the longest n-grams that BLEU counts


@dataclass(frozen=True, kw_only=True, eq=False)
class Translation(_Splits):
    """Write the target of each source: logits (N, T, words), targets (N, T). The score is corpus BLEU, 0 to 100.

    The network has a form `encode`, which takes the source, and a form `step`, which takes what `encode` gives and the
    target so far. Sentences are compared as the words the data have, so the score depends on no tokenizer.

    `Score.samples` has a row a sentence: matching n-grams and all n-grams of length 1 to 4, words written, words of the
    reference; they add up to the corpus's. With another model as reference: words decided as it decides them, and
    words, both models reading the true words before (teacher forcing).

    Args:
        references: split -> the target sentences as text, words with spaces between them, in the rows' order.
        words: of the target.
        longest: how many words are written at most.
        label_smoothing: the share of the loss towards all words alike (Szegedy et al. 2016, arXiv:1512.00567, sec. 7).

    Source: Papineni et al. 2002, doi:10.3115/1073083.1073135, as in sacrebleu (Post 2018, arXiv:1804.08771).
    """

    train: SequenceBatches
    validation: SequenceBatches
    test: SequenceBatches
    references: Mapping[str, Sequence[str]]
    words: Vocabulary
    longest: int = 32
    label_smoothing: float = 0.1

    def loss(self, outputs: Mapping[str, torch.Tensor], target: Any) -> torch.Tensor:
        """Cross-entropy in nats, over all positions that count.

        Labels are smoothed here and not by the engine, which would go through the words of each position once more,
        and through padding.
        """
        from torch.nn import functional as F

        logits = self._judged(outputs)
        return F.cross_entropy(
            logits.flatten(0, 1), target.flatten(), ignore_index=IGNORED, label_smoothing=self.label_smoothing
        )

    def score(self, runner: Runner, split: Split = "test", reference: Runner | None = None) -> Score:
        """BLEU of greedy decoding, or the share of words decided as the reference does. Bootstrap over sentences.

        Raises:
            DataError: the runner has no forms to decode with, or the split has no references.
        """
        if reference is None:
            samples = counted(self.written(runner, split), self._references(split))
        else:
            samples = self._alike(runner, reference, split)
        return resampled(self, samples, "BLEU" if reference is None else "agreement")

    def written(self, runner: Runner, split: Split = "test") -> list[str]:
        """What the network writes greedily for each row, as text: words with spaces between them."""
        batches = getattr(self, split).with_batch_size(_TOGETHER)
        found = [""] * batches.rows
        for rows, (inputs, _) in zip(batches.order(), batches, strict=True):
            decoder, given = self.begun(runner, inputs)
            for row, numbers in zip(rows, decoder.greedy(given), strict=True):
                found[row] = " ".join(self.words.decode(numbers))
        return found

    def begun(self, runner: Runner, inputs: Arrays) -> tuple[Decoder, Arrays]:
        """A decoder around the runner's step, and what its first step is given for these inputs."""
        forms: Mapping[str, Any] = getattr(runner, "forms", {})
        if not {"encode", "step"} <= set(forms):
            raise DataError(
                f"task '{self.name}': sentences are written word by word with the forms encode and step, and this "
                f"model has {', '.join(['main', *forms])}. Score the model that has them: a single graph that is given "
                "the words of the answer cannot be scored by BLEU."
            )
        source, target, *_ = self.test.inputs
        given = dict(forms["encode"]({source: inputs[source]}))
        given |= first_states({spec.name: spec.dims for spec in forms["step"].inputs if spec.name != target}, given)
        return Decoder(step=forms["step"], begin=BOS, end=EOS, longest=self.longest, token=target), given

    def statistic(self, samples: Array) -> float:
        """BLEU of these sentences, or the share of words decided alike."""
        return float(self.statistics(samples, np.ones((1, len(samples))))[0])

    def statistics(self, samples: Array, counts: Array) -> Array:
        """The same for many resamplings at once: counts (resamples, rows)."""
        return _token_means(samples, counts) if samples.shape[1] == 2 else bleu(counts @ samples)

    def _references(self, split: Split) -> Sequence[str]:
        if split not in self.references:
            raise DataError(
                f"task '{self.name}': {split} has no reference sentences; {', '.join(self.references)} have. "
                "Score one of those."
            )
        return self.references[split][: getattr(self, split).rows]

    def _alike(self, runner: Runner, reference: Runner, split: Split) -> Array:
        batches = getattr(self, split)
        samples = np.zeros((batches.rows, 2))
        for rows, (inputs, target) in zip(batches.order(), batches, strict=True):
            mine, theirs = (_decision(self._judged(run(inputs))) for run in (runner, reference))
            counts = target != IGNORED
            samples[rows] = np.stack([((mine == theirs) & counts).sum(1), counts.sum(1)], axis=1)
        return samples


def counted(written: Sequence[str], references: Sequence[str]) -> Array:
    """What BLEU needs of each sentence, (sentences, 10): matches of 1 to 4 words, all of 1 to 4 words, both lengths."""
    from sacrebleu.metrics.bleu import BLEU

    scorer = BLEU(tokenize="none", force=True, effective_order=True)
    parts = [scorer.sentence_score(mine, [theirs]) for mine, theirs in zip(written, references, strict=True)]
    return np.array([[*p.counts, *p.totals, p.sys_len, p.ref_len] for p in parts], np.float64)


def bleu(sums: Array) -> Array:
    """BLEU, 0 to 100, from sums of what `counted` gives, (corpora, 10) -> (corpora,).

    Precisions of 0 are smoothed as sacrebleu does by default: the k-th of them, from the shortest n-grams on, counts
    1 / 2^k matches. Source: Chen & Cherry 2014, doi:10.3115/v1/W14-3346, method 3.
    """
    matches, totals, length, wanted = sums[:, :_ORDER], sums[:, _ORDER : 2 * _ORDER], sums[:, -2], sums[:, -1]
    smoothed = np.where(matches > 0, matches, 0.5 ** (matches == 0).cumsum(1))
    with np.errstate(divide="ignore", invalid="ignore"):
        precisions = np.log(np.where(totals > 0, smoothed / totals, 0.0)).mean(1)
        short = np.minimum(0.0, 1.0 - wanted / length)  # brevity penalty, as a logarithm
        found: Array = 100.0 * np.exp(precisions + short)
    return np.where(matches.any(1), found, 0.0)
