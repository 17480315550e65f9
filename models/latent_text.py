"""What a text with a latent variable is judged by: the bound on its perplexity, of which the divergence is a part."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.errors import DataError
from models.intervals import resampled
from models.records import Arrays, Runner, Score, Split
from models.sequence_batches import Change
from models.tasks import IGNORED, Array, NextToken, _bits
from models.vocabulary import BOS, PAD, UNK

if TYPE_CHECKING:
    import torch

OUTPUTS = ("logits", "prior_mean", "prior_log_variance", "posterior_mean", "posterior_log_variance")
WORDS_LEFT_OUT = 0.25


@dataclass(frozen=True, kw_only=True, eq=False)
class LatentNextToken(NextToken):
    """The next token where a normal code of the whole text helps: logits (N, T, vocabulary), four times (N, code).

    The posterior knows the text, the prior does not. The score is the bound exp((NLL + KL) / tokens) on the perplexity
    (bits: its logarithm), from one draw of the posterior; lower is better.

    `Score.samples` has a row a text: NLL and KL together in bits, its tokens, and KL alone in bits; `divergence` gives
    the latter in nats. With a reference they are those of `NextToken`.

    A code that says nothing costs nothing, and training finds that out first. Two things keep it from staying there:
    the loss counts at least `free_nats` of KL for each number of the code, so that saying less gains nothing; and words
    that are left out of what the decoder reads (`words_left_out`) can be told by the code alone.

    Source: Serban et al. 2017 (arXiv:1605.06069) eq. 3; free bits, Kingma et al. 2016 (arXiv:1606.04934) app. C.8, the
    mean over a batch and one number of the code each.
    """

    free_nats: float = 0.1

    def loss(self, outputs: Mapping[str, torch.Tensor], target: Any) -> torch.Tensor:
        """NLL + KL in nats per token, KL with its free part."""
        from torch.nn import functional as F

        logits, *code = self._parts(outputs)
        nats = F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=IGNORED, reduction="sum")
        told = _divergence(*code).mean(0).clamp(min=self.free_nats).sum() * len(target)
        total: torch.Tensor = (nats + told) / target.ne(IGNORED).sum()
        return total

    def imitation(self, outputs: Mapping[str, torch.Tensor], answers: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """How far a student's words and codes are from a teacher's: KL(teacher || student) in nats per position."""
        from torch.nn import functional as F

        logits, *mine = self._parts(outputs)
        wanted, *theirs = self._parts(answers)
        said, meant = (one.flatten(0, 1).log_softmax(-1) for one in (logits, wanted))
        words = F.kl_div(said, meant, reduction="batchmean", log_target=True)
        codes = sum(_divergence(*mine[i : i + 2], *theirs[i : i + 2]).sum(1).mean() for i in (0, 2))
        total: torch.Tensor = words + codes / logits.shape[1]
        return total

    def score(self, runner: Runner, split: Split = "test", reference: Runner | None = None) -> Score:
        """The bound, or the share of tokens predicted as the reference does. Bootstrap over texts."""
        if reference is not None:
            return super().score(runner, split, reference)
        samples = np.concatenate([self._rows(runner(inputs), target) for inputs, target in self._split(split)])
        return resampled(self, samples, self.unit, n=int(samples[:, 1].sum()), higher_is_better=False)

    def divergence(self, samples: Array) -> float:
        """KL of the posterior from the prior in nats per text, from `Score.samples`."""
        return float(samples[:, 2].mean() * math.log(2))

    def _rows(self, outputs: Arrays, target: Array) -> Array:
        """Bits of text and code, tokens, bits of the code, (N, 3); infinite where an output is no number."""
        logits = self._parts(outputs)[0]
        counts = target != IGNORED
        bits = np.where(counts, _bits(logits, np.where(counts, target, 0)), 0.0).sum(1)
        with np.errstate(over="ignore", invalid="ignore"):
            told = divergences(outputs).sum(1) / math.log(2)
        told = np.nan_to_num(told, nan=math.inf, posinf=math.inf)
        return np.stack([bits + told, counts.sum(1), told], axis=1)

    def _parts(self, outputs: Mapping[str, Any]) -> list[Any]:
        if missing := [name for name in OUTPUTS if name not in outputs]:
            raise DataError(
                f"task '{self.name}': the bound needs an output '{missing[0]}', and the model gives "
                f"{', '.join(outputs)}. Name its outputs {', '.join(OUTPUTS)}."
            )
        return [outputs[name] for name in OUTPUTS]


def divergences(outputs: Arrays) -> Array:
    """KL of the posterior from the prior in nats, (N, code), of a network's outputs."""
    found: Array = _divergence(*(np.asarray(outputs[name], np.float64) for name in OUTPUTS[1:]))
    return found


def _divergence(prior_mean: Any, prior_log_variance: Any, mean: Any, log_variance: Any) -> Any:
    """KL(N(mean, variance) || prior) in nats for each number of the code; arrays or tensors, (N, code) each."""
    exp = np.exp if isinstance(mean, np.ndarray) else lambda tensor: tensor.exp()
    spread = exp(log_variance - prior_log_variance) + (mean - prior_mean) ** 2 * exp(-prior_log_variance)
    return 0.5 * (spread - 1 + prior_log_variance - log_variance)


def words_left_out(name: str, share: float = WORDS_LEFT_OUT) -> Change:
    """A change of batches that makes a share of an input's words UNK; BOS and padding stay.

    Source: Bowman et al. 2016 (arXiv:1511.06349) sec. 3.1.
    """

    def change(arrays: dict[str, Array], rng: np.random.Generator) -> dict[str, Array]:
        words = arrays[name]
        gone = (rng.random(words.shape) < share) & (words != BOS) & (words != PAD)
        return {**arrays, name: np.where(gone, UNK, words)}

    return change
