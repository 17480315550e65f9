"""What word vectors learn from: words and the words around them, beside words drawn as noise; anew in each epoch.

Source: Mikolov et al. 2013, arXiv:1301.3781 sec. 3 (windows of a drawn width), arXiv:1310.4546 sec. 2.2 (negative
sampling) and 2.3 (frequent words left out).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from models.batches import ArrayBatches
from models.errors import DataError
from models.records import Arrays
from models.tasks import Array
from models.vocabulary import MARKS, PAD

_SHARD = 20_000  # sentences whose pairs are shuffled together: enough to mix, few enough to hold


def noise_distribution(counts: Array, power: float = 0.75) -> Array:
    """How probable each word is as noise, from how often it occurs: count ** power, and all together 1."""
    raised = counts.astype(np.float64) ** power
    distribution: Array = raised / raised.sum()
    return distribution


def keep_probability(counts: Array, threshold: float) -> Array:
    """How probable it is that an occurrence is kept: sqrt(threshold / share of the text), at most 1."""
    share = counts / counts.sum()
    with np.errstate(divide="ignore"):
        kept: Array = np.minimum(1.0, np.sqrt(threshold / share))
    return kept


@dataclass(frozen=True, kw_only=True, eq=False)
class WordPairs:
    """Words, those around them and noise, as batches: ({names[0]: given, names[1]: words (N, 1 + K)}, target).

    The first of a row's words is the true one, target 1; the others are noise, target 0. For skip-gram a row is a pair:
    given (N,) is the centre and the true word one of its neighbours. With `whole` (continuous bag of words) a row is a
    centre: given (N, 2 * window) holds all its neighbours, padded with PAD, and the true word is the centre itself.

    Each epoch leaves out occurrences of frequent words, draws for each centre how far it looks (1 to `window` words of
    its sentence, of what was kept) and draws the noise. Marks (unknown words) are left out from the start.

    Args:
        sentences: numbers of words, one array a sentence.
        counts: (vocabulary,), how often each word occurs in the training text.
        names: of the two inputs.
        negatives: noise words a row, K.
        threshold: of `keep_probability`; a smaller text needs a larger one than the paper's 1e-5.
    """

    sentences: Sequence[Array]
    counts: Array
    names: tuple[str, str]
    whole: bool = False
    window: int = 5
    negatives: int = 5
    threshold: float = 1e-3
    batch_size: int = 64

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise DataError(f"word pairs: batch size {self.batch_size} asked, it must be 1 or more.")
        if not len(self.sentences):
            raise DataError("word pairs: there are no sentences.")

    @property
    def target(self) -> Array:
        """The one row of targets that all rows have."""
        return _target(1, self.negatives)

    def with_batch_size(self, batch_size: int) -> WordPairs:
        """The same text in batches of another size."""
        return replace(self, batch_size=batch_size)

    def __iter__(self) -> Iterator[tuple[Arrays, Array]]:
        return self.epoch(0, 0)

    def epoch(self, number: int, seed: int) -> Iterator[tuple[Arrays, Array]]:
        """The batches of one epoch: the same for the same two numbers. How many there are is drawn as well."""
        rng = np.random.default_rng((seed, number))
        order = rng.permutation(len(self.sentences))
        for start in range(0, len(order), _SHARD):
            given, true = self.rows([self.sentences[i] for i in order[start : start + _SHARD]], rng)
            mixed = rng.permutation(len(true))
            for first in range(0, len(true), self.batch_size):
                rows = mixed[first : first + self.batch_size]
                words = np.concatenate([true[rows, None], self.noise((len(rows), self.negatives), rng)], 1)
                yield {self.names[0]: given[rows], self.names[1]: words}, _target(len(rows), self.negatives)

    def noise(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        """So many words, each as probable as `noise_distribution` says."""
        drawn: Array = np.searchsorted(self._bounds, rng.random(shape), side="right")
        return drawn

    def rows(self, sentences: Sequence[Array], rng: np.random.Generator) -> tuple[Array, Array]:
        """What is given, (rows,) or (rows, 2 * window), and the true word of each row, (rows,); nothing is shuffled."""
        words = np.concatenate(sentences)
        of = np.repeat(np.arange(len(sentences)), [len(s) for s in sentences])
        kept = (words >= len(MARKS)) & (rng.random(len(words)) < self._keep[words])
        words, of = words[kept], of[kept]
        reach = rng.integers(1, self.window + 1, len(words))
        around = self._around(words, of, reach)
        if self.whole:
            some = (around != PAD).any(1)
            return around[some], words[some]
        centre, place = np.nonzero(around != PAD)
        return words[centre], around[centre, place]

    def _around(self, words: Array, of: Array, reach: Array) -> Array:
        """(words, 2 * window): the neighbours of each word within its reach and sentence, PAD where there is none."""
        around = np.full((len(words), 2 * self.window), PAD, np.int64)
        for distance in range(1, min(self.window, len(words) - 1) + 1):
            together = of[distance:] == of[:-distance]
            before = together & (reach[distance:] >= distance)
            after = together & (reach[:-distance] >= distance)
            around[distance:, self.window - distance][before] = words[:-distance][before]
            around[:-distance, self.window + distance - 1][after] = words[distance:][after]
        return around

    @cached_property
    def _keep(self) -> Array:
        return keep_probability(self.counts, self.threshold)

    @cached_property
    def _bounds(self) -> Array:
        bounds = noise_distribution(self.counts).cumsum()
        bounds[np.flatnonzero(self.counts)[-1] :] = 1.0  # whatever rounding left over
        return bounds


def held_out(pairs: WordPairs, rows: int, seed: int) -> ArrayBatches:
    """A sample of the rows that a text gives, each with its true word and another one as noise; always the same.

    Raises:
        DataError: the text gives fewer.
    """
    rng = np.random.default_rng(seed)
    given, true = pairs.rows(pairs.sentences, rng)
    if len(true) < rows:
        raise DataError(f"word pairs: {rows} rows asked, and the text gives {len(true)}.")
    some = np.sort(rng.choice(len(true), rows, replace=False))
    given, true = given[some], true[some]
    noise = pairs.noise(true.shape, rng)
    while (same := noise == true).any():
        noise[same] = pairs.noise((int(same.sum()),), rng)
    first, second = pairs.names
    return ArrayBatches(
        inputs={first: given, second: np.stack([true, noise], 1)},
        target=_target(rows, 1),
        batch_size=pairs.batch_size,
    )


def _target(rows: int, negatives: int) -> Array:
    target = np.zeros((rows, 1 + negatives), np.float32)
    target[:, 0] = 1
    return target
