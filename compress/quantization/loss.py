"""What a candidate loses against float, on data it was not calibrated on: by the task's score, or by agreement."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from compress.agreement import Agreement, Compared
from compress.choices import decides
from compress.quantization.calibration_data import Joined
from export.session import runner_for, stream
from export.stepped import any_batch
from models.intervals import paired_difference
from models.records import Arrays, Model, Score, Task

_MOST_BYTES = 512 * 2**20  # of float's outputs: maps of a segmentation have more decisions than anybody needs
_ONE = 1 + 1e-9  # a single flip may be of two that were as good as equal


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

    Of large outputs only those of the first batches count, as many as memory should hold.

    Noise power may be as many percent of the signal's as points may be lost: one point is 20 dB. The signal is what
    varies from row to row: a network that answers nearly the same to everything could hide any fault in its mean.
    Of decisions, whole numbers and truth values as many percent may differ as points may be lost, or one of them.
    """

    def __init__(self, model: Model, held_out: Sequence[Arrays], max_drop: float) -> None:
        self.model, self.held_out, self.max_drop = model, held_out, max_drop
        self.choices = [spec.name for spec in model.outputs if decides(spec, model)]
        self.float = _as_many_as_fit(self._outputs(model))

    def __call__(self, candidate: Model) -> Loss:
        """Compare its outputs with float's."""
        agreed = Agreement(self.choices)
        for batch, wanted, found in zip(self.held_out, self.float, self._outputs(candidate), strict=False):
            agreed.add(wanted, found, batch)
        compared = agreed.outputs
        measured = agreed.noise_db
        noise = math.inf if measured is None else measured
        flips = [compared[name].wrong for name in self.choices]
        rate = max((one.wrong for one in compared.values() if one.wrong * one.count > _ONE), default=0.0)
        lost = max(100 * 10 ** (-noise / 10), 100 * rate)
        return Loss(
            points=lost,
            text=_in_words(measured, compared, self.choices),
            keeps=lost <= self.max_drop,
            sqnr_db=noise,
            flip_rate=max(flips, default=None),
        )

    def _outputs(self, model: Model) -> Iterator[Arrays]:
        run = runner_for(model)
        parts = self.held_out.parts if isinstance(self.held_out, Joined) else (self.held_out,)
        for part in parts:
            yield from stream(run, model.inputs, part, model.outputs)


def _as_many_as_fit(outputs: Iterable[Arrays]) -> list[Arrays]:
    """The outputs of the first batches: all that are kept in memory while candidates are judged."""
    taken, room = [], _MOST_BYTES
    for made in outputs:
        taken.append(made)
        room -= sum(np.asarray(array).nbytes for array in made.values())
        if room <= 0:
            break
    return taken


def _in_words(noise: float | None, compared: Mapping[str, Compared], choices: Sequence[str]) -> str:
    flips = [compared[name].wrong for name in choices]
    said = [] if noise is None else [f"{noise:.1f} dB"]
    said += [f"{max(flips):.1%} of the decisions flip"] if flips else []
    for name, one in compared.items():
        if one.reshaped:
            said.append(f"output {name!r} has another shape than float's in {one.wrong:.1%} of the rows")
        elif one.wrong and name not in choices:
            said.append(f"{one.wrong:.1%} of output {name!r} differ")
    return ", ".join(said) or "the same"


def points(before: Score, after: Score) -> float:
    """How many points were lost; negative where something was gained."""
    return _in_points(before, after.value - before.value)


def _in_points(score: Score, difference: float) -> float:
    return (-difference if score.higher_is_better else difference) / score.point
