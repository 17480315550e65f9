"""What a variational autoencoder is judged by: how little it needs to say, in nats, to let an image be drawn again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from models.batches import ArrayBatches
from models.errors import DataError
from models.intervals import resampled
from models.records import Arrays, Runner, Score, Split
from models.tasks import Array

if TYPE_CHECKING:
    import torch

OUTPUTS = ("drawn", "mean", "log_variance")


@dataclass(frozen=True, kw_only=True, eq=False)
class Bound:
    """Draw images through a normal code: `drawn` (N, pixels) logits, `mean` and `log_variance` (N, code).

    Targets are the images (N, pixels) in [0, 1]; a grey pixel is the probability that it is white, so the loss is the
    mean over all black-and-white images it stands for. The score is the negative evidence lower bound in nats per
    image, from one draw of the code (the input `noise`); lower is better.

    `Score.samples` has a row for each image: its reconstruction error and its divergence, both in nats. With a
    reference the score is the share of pixels that both call black or both white, and a row is that of one image.

    Source: Kingma & Welling 2014 (arXiv:1312.6114) eq. 3 and 10, app. C.1.
    """

    name: str
    train: ArrayBatches
    validation: ArrayBatches
    test: ArrayBatches
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for split in ("train", "validation", "test"):
            target = getattr(self, split).target
            low, high = float(target.min()), float(target.max())
            if low < 0 or high > 1:
                raise DataError(
                    f"task '{self.name}': pixels of {split} run from {low:g} to {high:g}; they are probabilities of "
                    "white and must lie from 0 to 1. Divide bytes by 255."
                )

    def with_batch_size(self, batch_size: int) -> Bound:
        """The same task in batches of another size."""
        return replace(
            self, **{name: getattr(self, name).with_batch_size(batch_size) for name in ("train", "validation", "test")}
        )

    def loss(self, outputs: Mapping[str, torch.Tensor], target: Any) -> torch.Tensor:
        """The negative bound in nats, the mean over images."""
        from torch.nn import functional as F

        drawn, mean, log_variance = self._parts(outputs)
        reconstruction = F.binary_cross_entropy_with_logits(drawn, target, reduction="none").flatten(1).sum(1)
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1)
        total: torch.Tensor = (reconstruction + divergence).mean()
        return total

    def imitation(self, outputs: Mapping[str, torch.Tensor], answers: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """How far a student's code and pixels are from a teacher's: both divergences in nats, the mean over images.

        In the unit of `loss`. The teacher's distributions come first, KL(teacher || student): of two normals in closed
        form, and of a Bernoulli a pixel.
        """
        from torch.nn import functional as F

        drawn, mean, log_variance = self._parts(outputs)
        wanted, wanted_mean, wanted_log_variance = self._parts(answers)
        white = wanted.sigmoid()
        own = F.binary_cross_entropy_with_logits(wanted, white, reduction="none")  # the entropy of the teacher's pixel
        pixels = F.binary_cross_entropy_with_logits(drawn, white, reduction="none") - own
        spread = ((wanted_mean - mean) ** 2 + wanted_log_variance.exp()) / log_variance.exp()
        code = 0.5 * (spread - 1 + log_variance - wanted_log_variance)
        total: torch.Tensor = (pixels.flatten(1).sum(1) + code.sum(1)).mean()
        return total

    def score(self, runner: Runner, split: Split = "test", reference: Runner | None = None) -> Score:
        """Nats per image, or the share of pixels decided as the reference does. Bootstrap over images."""
        batches: ArrayBatches = getattr(self, split)
        if reference is None:
            rows = [self._nats(runner(inputs), target) for inputs, target in batches]
        else:
            rows = [self._alike(runner(inputs), reference(inputs)) for inputs, _ in batches]
        samples = np.concatenate(rows)
        unit, better = ("nats per image", False) if reference is None else ("agreement", True)
        return resampled(self, samples, unit, higher_is_better=better)

    def statistic(self, samples: Array) -> float:
        """The mean over images."""
        return float(self.statistics(samples, np.ones((1, len(samples))))[0])

    def statistics(self, samples: Array, counts: Array) -> Array:
        """The same for many resamplings at once: counts (resamples, rows)."""
        values = samples if samples.ndim == 1 else samples.sum(1)
        if not np.isfinite(values).all():
            return np.full(len(counts), math.inf)
        means: Array = counts @ values / len(values)
        return means

    def _parts(self, outputs: Mapping[str, Any]) -> tuple[Any, Any, Any]:
        if missing := [name for name in OUTPUTS if name not in outputs]:
            raise DataError(
                f"task '{self.name}': the bound needs an output '{missing[0]}', and the model gives "
                f"{', '.join(outputs)}. Name its outputs {', '.join(OUTPUTS)}."
            )
        drawn, mean, log_variance = (outputs[name] for name in OUTPUTS)
        return drawn, mean, log_variance

    def _nats(self, outputs: Arrays, target: Array) -> Array:
        """Reconstruction error and divergence of each image, (N, 2); infinite where an output is no number."""
        drawn, mean, log_variance = (np.asarray(part, np.float64) for part in self._parts(outputs))
        with np.errstate(over="ignore", invalid="ignore"):
            pixels = np.logaddexp(0, drawn) - target * drawn  # -log of the Bernoulli, from its logit
            code = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance)
            found = np.stack([pixels.reshape(len(target), -1).sum(1), code.sum(1)], axis=1)
        nats: Array = np.nan_to_num(found, nan=math.inf, posinf=math.inf)
        return nats

    def _alike(self, outputs: Arrays, reference: Arrays) -> Array:
        mine, theirs = self._parts(outputs)[0], self._parts(reference)[0]
        shares: Array = ((mine > 0) == (theirs > 0)).reshape(len(mine), -1).mean(1)
        return shares
