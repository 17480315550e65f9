"""Reads a sequence out of a network step by step: greedily, by beam search, or by chance.

Nothing but numpy is needed, and nothing of this package: the file can lie beside the exported graphs on a device. A
runner takes named arrays and gives named arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Array]
Runner = Callable[[Arrays], Arrays]


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """The loops around a network's step.

    The step takes the tokens that are new, (N, T) whole numbers, and gives logits (N, T, words) for the token after
    each. Every state X it takes comes out as X_out, whether it keeps its shape (a hidden state) or grows (the keys and
    values of attention). All else it takes (an encoder's memory) stays as it is.

    Args:
        step: runs it.
        begin: the token that is read first.
        end: the token after which a row is finished.
        longest: how many tokens at most.
        token: the step's input for the new tokens.
        logits: its output.
    """

    step: Runner
    begin: int
    end: int
    longest: int
    token: str = "target"
    logits: str = "logits"

    def greedy(self, given: Arrays, *, prompt: Array | None = None) -> Array:
        """The most probable token again and again.

        Args:
            given: what stays and the first states, each with the same number of rows N.
            prompt: (N, T) tokens that are read first, in place of `begin`.

        Returns:
            (N, at most longest) tokens, without `begin` and the prompt; a finished row goes on with `end`.
        """
        return self._one_by_one(given, prompt, lambda logits: logits.argmax(-1))

    def sampled(
        self,
        given: Arrays,
        rng: np.random.Generator,
        *,
        temperature: float = 1.0,
        top: int = 0,
        prompt: Array | None = None,
    ) -> Array:
        """A token drawn by its probability again and again; the rest as of `greedy`.

        Args:
            given: as of `greedy`.
            rng: what is drawn from.
            temperature: below 1 the probable becomes more probable.
            top: draw among this many most probable tokens alone; 0 is all. Source: Fan et al. 2018
                (arXiv:1805.04833) sec. 5.4.
            prompt: as of `greedy`.
        """

        def draw(logits: Array) -> Array:
            logits = logits.astype(np.float64) / temperature
            if top:
                logits = np.where(logits < np.sort(logits, -1)[:, -top, None], -np.inf, logits)
            # the largest of logits plus Gumbel noise falls on each token with its probability
            picked: Array = (logits + rng.gumbel(size=logits.shape)).argmax(-1)
            return picked

        return self._one_by_one(given, prompt, draw)

    def beam(self, given: Arrays, *, width: int = 4, length_penalty: float = 1.0) -> list[Array]:
        """The sequence with the largest log probability over length ** length_penalty, `width` kept at each step.

        Args:
            given: as of `greedy`.
            width: how many unfinished sequences are kept; 1 is `greedy`.
            length_penalty: 0 prefers short ones, 1 judges by the mean log probability of a token.

        Returns:
            One array of tokens a row, without `begin` and `end`.

        Source: normalized scores, Murray & Chiang 2018 (arXiv:1808.10006) sec. 2.
        """
        rows = range(len(next(iter(given.values()))))
        return [self._beam({n: a[row : row + 1] for n, a in given.items()}, width, length_penalty) for row in rows]

    def _one_by_one(self, given: Arrays, prompt: Array | None, choose: Callable[[Array], Array]) -> Array:
        arrays = dict(given)
        rows = len(next(iter(given.values()))) if given else 1 if prompt is None else len(prompt)
        new = np.full((rows, 1), self.begin, np.int64) if prompt is None else np.asarray(prompt, np.int64)
        done = np.zeros(rows, bool)
        tokens: list[Array] = []
        while len(tokens) < self.longest and not done.all():
            logits, arrays = self._step(arrays, new)
            picked = np.where(done, self.end, choose(logits))
            done |= picked == self.end
            tokens.append(picked)
            new = picked[:, None]
        return np.stack(tokens, 1) if tokens else np.zeros((rows, 0), np.int64)

    def _step(self, arrays: Arrays, new: Array) -> tuple[Array, dict[str, Array]]:
        """Logits after the last new token, (N, words), and all arrays with the states that came out."""
        outputs = self.step({**arrays, self.token: new})
        states = {name: outputs[f"{name}_out"] for name in arrays if f"{name}_out" in outputs}
        return outputs[self.logits][:, -1], {**arrays, **states}

    def _beam(self, arrays: Arrays, width: int, length_penalty: float) -> Array:
        tokens, totals = np.full((1, 1), self.begin, np.int64), np.zeros(1)
        best, best_score = tokens[0, 1:], -np.inf
        for length in range(1, self.longest + 1):
            logits, arrays = self._step(arrays, tokens[:, -1:])
            candidates = totals[:, None] + _log_softmax(logits)  # (sequences, words)
            flat = np.argsort(-candidates, axis=None, kind="stable")[: 2 * width]
            parents, words = np.unravel_index(flat, candidates.shape)
            ends = words == self.end
            for parent in parents[:width][ends[:width]]:
                if (score := candidates[parent, self.end] / length**length_penalty) > best_score:
                    best, best_score = tokens[parent, 1:], score
            parents, words = parents[~ends][:width], words[~ends][:width]
            tokens = np.concatenate([tokens[parents], words[:, None]], 1)
            totals = candidates[parents, words]
            arrays = {name: array[parents] for name, array in arrays.items()}
            # log probabilities only fall, so what goes on cannot come above this
            if best_score >= totals.max() / self.longest**length_penalty:
                break
        return best if np.isfinite(best_score) else tokens[totals.argmax(), 1:]


def first_states(shapes: Mapping[str, Sequence[int | str | None]], given: Arrays) -> dict[str, Array]:
    """What a step takes before it has seen anything: zeros for each input that is not given.

    Args:
        shapes: of the step's inputs, but for the tokens; a letter stands for a free size. An input that is given tells
            the sizes of its letters; a size that nobody tells is that of what has been read so far, which is 0.
        given: what an encoder gave, or at least one array that has the batch's size.
    """
    sizes = {
        letter: size
        for name, shape in shapes.items()
        if name in given
        for letter, size in zip(shape, given[name].shape, strict=True)
        if not isinstance(letter, int)
    }
    return {
        name: np.zeros([d if isinstance(d, int) else sizes.get(d, 0) for d in shape], np.float32)
        for name, shape in shapes.items()
        if name not in given
    }


def _log_softmax(logits: Array) -> Array:
    logits = logits.astype(np.float64)
    shifted = logits - logits.max(-1, keepdims=True)
    found: Array = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return found
