"""Judges candidates against float: what they lose, on data they were not calibrated on, and what they gain in time."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from compress.base import Context
from compress.quantization.calibration_data import pieces
from export.forms import MAIN, new_elements, parts
from export.parity import sqnr_db
from export.session import initial_state, onnx_runner, session, stream
from export.stopwatch import Comparison, Timings
from models.intervals import paired_difference
from models.records import Arrays, InputSpec, Model, OutputSpec, Runner, Score, Task, example, sizes_of

FLOAT = "float"
Standing = Literal["faster", "slower", "no difference", "cannot tell", "not timed"]


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
    run = onnx_runner(model)
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


def timed(
    models: Mapping[str, Model], context: Context, held_out: Sequence[Arrays], *, forms: Collection[str] | None = None
) -> dict[str, Timings]:
    """Time each form by turns at batch 1, the first model being what the others are compared with.

    A form that streams is timed on one new element, as a device steps it. All take the same arrays, but for states and
    what forms hand to each other, where a model is narrower than the first. `forms` are those to time; None is all.
    """
    assert context.measure is not None
    first = next(iter(models.values()))
    timings = {}
    for form in (one for one in parts(first) if forms is None or one in forms):
        feed = one_sample(first, held_out) if form == MAIN else one_step(first, form)
        calls = {}
        for name, model in models.items():
            made = session(model, threads=context.measure.threads, form=form)
            own = _fitted(feed, parts(model)[form].inputs)
            calls[name] = lambda made=made, own=own: made.run(None, own)
        timings[form] = context.measure.time(calls)
    return timings


def _fitted(feed: Arrays, inputs: Sequence[InputSpec]) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays with each fixed width that is another one in these inputs made so."""
    fitted = {}
    for spec in inputs:
        have = np.asarray(feed[spec.name])
        widths = zip(spec.dims, have.shape, strict=True)
        shape = [dim if isinstance(dim, int) else size for dim, size in widths]
        fitted[spec.name] = have if shape == list(have.shape) else np.resize(have, shape)
    return fitted


def one_step(model: Model, form: str) -> dict[str, np.ndarray[Any, Any]]:
    """An example for a further form at usual sizes, of one new element where it streams."""
    forms = parts(model)
    one = {letter: 1 for letter in [new_elements(forms, form)] if letter}
    return example(forms[form].inputs, {**sizes_of(model), **one})


def overall(timings: Mapping[str, Timings], name: str, *, alike: Collection[str] = ()) -> Comparison | None:
    """A model against the first over all forms: the geometric mean, and no better than its worst form allows.

    It is slower where one form surely is, and uncertain where one form is. Else it is faster where one form is, so that
    a form with nothing to gain (a GRU that is heard once) does not keep the others from gaining.

    Args:
        timings: by form.
        name: of the model.
        alike: forms in which it runs the first one's own operators: they count as level, whatever the clock says.
    """
    found = [
        level(c.a, name) if form in alike else c
        for form, timing in timings.items()
        for c in timing.comparisons
        if c.b == name
    ]
    if not found:
        return None
    ranks: Sequence[Standing] = ("slower", "cannot tell", "faster", "no difference")
    return Comparison(
        a=found[0].a,
        b=name,
        speedup=_mean([c.speedup for c in found]),
        low=_mean([c.low for c in found]),
        high=_mean([c.high for c in found]),
        verdict=min((c.verdict for c in found), key=ranks.index),
        turns=min((c.turns for c in found if c.turns), default=0),
    )


def level(a: str, b: str) -> Comparison:
    """What is known without a clock of two models that run the same operators."""
    return Comparison(a=a, b=b, speedup=1.0, low=1.0, high=1.0, verdict="no difference", turns=0)


def _mean(speedups: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, speedups)) / len(speedups))


def one_sample(model: Model, data: Sequence[Arrays]) -> dict[str, np.ndarray[Any, Any]]:
    """The first row of the data with the model's states, or an example where there is none."""
    made = example(model.inputs, sizes_of(model))
    for batch in data[:1]:
        fixed = {s.name for s in model.inputs if s.dims and isinstance(s.dims[0], int)}
        rows = {n: np.asarray(a) if n in fixed or not np.ndim(a) else np.asarray(a)[:1] for n, a in batch.items()}
        given = {s.name: rows[s.name].astype(s.dtype, copy=False) for s in model.inputs if s.name in rows}
        return {**made, **initial_state(model.inputs, given, model.outputs), **given}
    return made


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One candidate with all that was found out about it.

    Args:
        half: whether it computes in half precision.
        median_ms: of the main form.
        comparison: with float, over all forms (`overall`): what is called faster is slower in none of them. Of no turns
            where it runs float's own operators, and so was not timed.
        forms: the comparison of each form, where there are several.
    """

    name: str
    model: Model
    bytes: int
    loss: Loss
    integer_nodes: int
    half: bool = False
    median_ms: float | None = None
    comparison: Comparison | None = None
    forms: Mapping[str, Comparison] = field(default_factory=dict)

    @property
    def computes(self) -> bool:
        """Whether it computes in fewer bits; what only stores them runs float's own operators, and takes their time."""
        return self.half or self.integer_nodes > 0

    @property
    def standing(self) -> Standing:
        """Against float."""
        return "not timed" if self.comparison is None else self.comparison.verdict

    @property
    def speedup(self) -> float:
        """Against float; 1 where it was not timed."""
        return 1.0 if self.comparison is None else self.comparison.speedup


NEAR = 1.03  # two speeds within 3 % are the same to whoever ships them
NEAR_BYTES = 1.02


def best(judged: Sequence[Judged], prefer: Literal["speed", "size"], *, order: Sequence[str] = ()) -> Judged:
    """The one to return, float being the first of them.

    For speed the fastest that keeps the score and is surely faster than float; where there is none, the smallest that
    runs float's own operators and so takes float's time; of those as fast and as small, the one that loses least. For
    size the smallest that keeps the score and is not slower; of those as small, the fastest.

    Args:
        judged: float first.
        prefer: what to look for.
        order: names to prefer, in this order, where nothing was timed.
    """
    kept = [one for one in judged if one.loss.keeps]
    if all(one.comparison is None for one in judged):
        chosen = [one for name in order for one in kept if one.name == name and one.bytes < judged[0].bytes]
        if not chosen:
            return judged[0]
        return min(chosen, key=lambda one: one.bytes) if prefer == "size" else chosen[0]
    faster = [one for one in kept if one.standing == "faster" and one.computes]
    if prefer == "speed" and faster:
        top = max(one.speedup for one in faster)
        kept = [one for one in faster if one.speedup * NEAR >= top]
    elif prefer == "speed":
        kept = [one for one in kept if not one.computes and one.standing != "slower"]
    else:
        kept = [one for one in kept if one.standing != "slower" and one.speedup * NEAR >= 1.0]
    smallest = min(one.bytes for one in kept)
    small = [one for one in kept if one.bytes <= smallest * NEAR_BYTES]
    if prefer == "size":  # of files as small the fastest, and of those the smallest
        top = max(map(_pace, small))
        return min((one for one in small if _pace(one) * NEAR >= top), key=lambda one: (one.bytes, one.loss.points))
    return min(small, key=lambda one: (one.loss.points, one.bytes))


def _pace(one: Judged) -> float:
    """How fast it surely is against float."""
    return one.speedup if one.standing == "faster" and one.computes else 1.0
