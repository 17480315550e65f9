"""What a candidate loses against float, on data it was not calibrated on: by the task's score, or by agreement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from compress.quantization.calibration_data import pieces
from export.parity import sqnr_db
from export.session import onnx_runner, stream
from export.stepped import stepped
from models.intervals import paired_difference
from models.records import Arrays, Model, OutputSpec, Runner, Score, Task


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What a candidate costs.

    Args:
        points: of the score, positive is worse; a point is 0.01 of a fraction and 1 % of any other score.
        text: the same in words.
        keeps: whether it stays within what was allowed.
    """

    points: float
    text: str
    keeps: bool
    sqnr_db: float | None = None
    flip_rate: float | None = None


class Judge(Protocol):
    """Says what a candidate costs against float."""

    def __call__(self, candidate: Model) -> Loss:
        """Run it, and compare."""
        ...


class ByScore:
    """By the task's own score on its validation split, paired with float's row by row."""

    def __init__(self, task: Task, model: Model, max_drop: float) -> None:
        self.task, self.max_drop = task, max_drop
        self.float = task.score(any_batch(model), "validation")

    def __call__(self, candidate: Model) -> Loss:
        """Score it on validation."""
        score = self.task.score(any_batch(candidate), "validation")
        _, low, high = paired_difference(self.task, self.float, score)
        dropped = points(self.float, score)
        worst, best = sorted((_in_points(self.float, low), _in_points(self.float, high)), reverse=True)
        interval = f"{-dropped:+.2f} points, {-worst:+.2f} to {-best:+.2f}"
        text = f"{score.unit} {score.value:.4g} for {self.float.value:.4g} ({interval})"
        return Loss(points=float(dropped), text=text, keeps=bool(dropped <= self.max_drop))


class ByAgreement:
    """Without labels: the noise in each output and the share of decisions that flip, on calibration data held out.

    Noise power may be as many percent of the signal's as points may be lost: one point is 20 dB. The signal is what
    varies from row to row: a network that answers nearly the same to everything could hide any fault in its mean.
    """

    def __init__(self, model: Model, held_out: Sequence[Arrays], max_drop: float) -> None:
        self.model, self.held_out, self.max_drop = model, held_out, max_drop
        self.float = self._outputs(model)

    def __call__(self, candidate: Model) -> Loss:
        """Compare its outputs with float's."""
        outputs = self._outputs(candidate)
        noise = min(
            (varying_sqnr_db(self.float[s.name], outputs[s.name]) for s in self.model.outputs if self._counts(s)),
            default=math.inf,
        )
        flips = [flip_rate(self.float[s.name], outputs[s.name]) for s in self.model.outputs if decides(s, self.model)]
        rate = max(flips, default=0.0)
        lost = max(
            100 * 10 ** (-noise / 10),
            100 * rate if rate > self._one_flip() else 0.0,
        )
        text = f"{noise:.1f} dB" + (f", {rate:.1%} of the decisions flip" if flips else "")
        return Loss(
            points=lost, text=text, keeps=lost <= self.max_drop, sqnr_db=noise, flip_rate=rate if flips else None
        )

    def _outputs(self, model: Model) -> dict[str, np.ndarray[Any, Any]]:
        steps = list(stream(onnx_runner(model), model.inputs, self.held_out, model.outputs))
        return {
            s.name: np.concatenate([step[s.name].reshape(-1, *step[s.name].shape[-1:]) for step in steps])
            for s in model.outputs
        }

    def _counts(self, spec: OutputSpec) -> bool:
        return bool(np.issubdtype(self.float[spec.name].dtype, np.floating) and np.any(self.float[spec.name]))

    def _one_flip(self) -> float:
        return max(
            (1 / max(1, len(self.float[s.name])) for s in self.model.outputs if decides(s, self.model)), default=0.0
        )


def any_batch(model: Model) -> Runner:
    """A runner for batches of any size, also where the model fixes its own."""
    run = stepped(model)
    first = {spec.dims[0] for spec in model.inputs if spec.dims}
    if len(first) != 1 or not isinstance(next(iter(first)), int):
        return run

    def in_pieces(arrays: Arrays) -> Arrays:
        made = [run(piece) for piece in pieces(arrays, model.inputs)]
        return {name: np.concatenate([part[name] for part in made]) for name in made[0]}

    return in_pieces


def decides(spec: OutputSpec, model: Model) -> bool:
    """Whether an output looks like a choice among its last dimension: a vector a row, and not an input drawn again.

    Where there are class names, only an output with one number for each of them does.
    """
    width = spec.dims[-1] if len(spec.dims) > 1 else 1
    if model.labels and any(len(model.labels) in o.dims[-1:] for o in model.outputs):
        return width == len(model.labels)
    return isinstance(width, int) and width > 1 and all(spec.dims[1:] != i.dims[1:] for i in model.inputs)


def varying_sqnr_db(reference: np.ndarray[Any, Any], candidate: np.ndarray[Any, Any]) -> float:
    """SQNR of what varies from row to row, in decibels; of the whole where there is but one row, or none varies."""
    middle = reference.mean(0, keepdims=True)
    if not np.any(reference - middle):
        middle = np.zeros_like(middle)
    return sqnr_db(reference - middle, candidate - middle)


def flip_rate(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    """Share of rows whose largest element is another one; (rows, n)."""
    return float((a.argmax(-1) != b.argmax(-1)).mean())


def points(before: Score, after: Score) -> float:
    """How many points were lost; negative where something was gained."""
    return _in_points(before, after.value - before.value)


def _in_points(score: Score, difference: float) -> float:
    unit = 0.01 if score.is_fraction else 0.01 * abs(score.value) or 1.0
    return (-difference if score.higher_is_better else difference) / unit
