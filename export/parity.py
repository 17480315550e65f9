"""Parity: how far two runtimes of one model differ, and whether one is a drop-in replacement for the other. No torch.

Signal-to-quantization-noise ratio, in decibels: SQNR = 10 log10(sum a^2 / sum (a - b)^2), where a is the reference,
over all elements of an output in all batches; of several outputs the lowest counts. Infinite where nothing differs;
20 dB more is a tenth of the error. Where both have the same infinity, or both no number, nothing differs; where only
one is finite the error is infinite.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from export.session import runner_for
from export.stream import stream
from export.trials import batches_for
from models.errors import DataError, VerificationError
from models.records import Arrays, InputSpec, Model, OutputSpec, Runner

FLOOR_DB = 60.0  # float32 against float32 of another order of summation lies above 100; int8 at 20 to 45
_STEPS = 4  # of a streaming model
_Array = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How far two models differ on the same inputs.

    Args:
        max_abs: largest difference of any element.
        max_rel: that of each output divided by the largest value of the reference's output, the largest of them.
        sqnr_db: as above.
        decision_flip_rate: share of the rows whose largest element is another: of the outputs that decide, or where
            nobody said which do, of the first floating-point output with two elements or more along its last axis;
            None where there is no such output.
        shapes: each batch and length tried, as {input: shape}.
    """

    max_abs: float
    max_rel: float
    sqnr_db: float
    decision_flip_rate: float | None
    shapes: tuple[Mapping[str, tuple[int, ...]], ...]

    @property
    def text(self) -> str:
        """In a line for a person."""
        flips = "" if self.decision_flip_rate is None else f", {self.decision_flip_rate:.2%} of decisions flipped"
        return f"{self.sqnr_db:.1f} dB, largest difference {self.max_abs:.3g}{flips}"


def parity(
    a: Runner,
    b: Runner,
    batches: Iterable[Arrays],
    *,
    inputs: Sequence[InputSpec] = (),
    outputs: Sequence[OutputSpec] = (),
    steps: int = 1,
    choices: Collection[str] | None = None,
) -> Parity:
    """Run both on the same batches and compare.

    Args:
        a: the reference.
        b: the candidate.
        batches: named inputs; for a streaming model each batch begins a new sequence.
        inputs: of the model; needed where it has states.
        outputs: of the model; they tell a state that grows from one that stays.
        steps: how often a streaming model is stepped on each batch, each by its own states.
        choices: outputs whose largest element is a decision; where it is not said, the first that could be one.

    Raises:
        VerificationError: an output is missing, or has another shape.
        DataError: there is no batch.
    """
    seen = _Differences(choices=choices)
    shapes = []
    streaming = any(spec.state_of for spec in inputs)
    for batch in batches:
        shapes.append({name: tuple(array.shape) for name, array in batch.items()})
        sequence = [{k: v for k, v in batch.items() if i == 0 or not _is_state(k, inputs)} for i in range(steps)]
        runs = (stream(r, inputs, sequence, outputs) if streaming else iter([r(batch)]) for r in (a, b))
        for reference, candidate in zip(*runs, strict=True):
            seen.add(reference, candidate)
    if not shapes:
        raise DataError("parity: there is no batch to compare on.")
    return seen.result(tuple(shapes))


def sqnr_db(reference: _Array, candidate: _Array) -> float:
    """Signal to quantization noise of one array against another of its shape, in decibels; as `Parity` has it."""
    seen = _Differences()
    seen.add({"": reference}, {"": candidate})
    return seen.result(()).sqnr_db


def verify(
    reference: Model,
    candidate: Model,
    *,
    floor_db: float = FLOOR_DB,
    batches: Sequence[Arrays] = (),
    choices: Collection[str] | None = None,
) -> Parity:
    """Hold a candidate to its reference: the same signature, and outputs that agree at several batch sizes and lengths.

    Each form is compared. Inputs are the reference's calibration sample where it carries one, and random ones of
    several sizes; integer inputs stay below `high`; a streaming model is stepped through its states.

    Args:
        reference: torch or ONNX.
        candidate: torch or ONNX.
        floor_db: the least SQNR.
        batches: to compare the main form on, in place of the sample and random inputs.
        choices: as of `parity`.

    Raises:
        DataError: the reference runs on none of the inputs.
        VerificationError: the first difference between the signatures, or an agreement below the floor.
    """
    same_signature(reference, candidate)
    found = []
    for form in (None, *reference.forms):
        part = reference if form is None else reference.forms[form]
        a, b = (runner_for(model, form=form) for model in (reference, candidate))
        b = _as_said(b, part.outputs, (candidate if form is None else candidate.forms[form]).outputs)
        shown = (form is None and batches) or list(batches_for(reference, form=form))
        found.append(parity(a, b, shown, inputs=part.inputs, outputs=part.outputs, steps=_STEPS, choices=choices))
        result = found[-1]
        if not result.sqnr_db >= floor_db:
            where = "" if form is None else f", form {form!r}"
            raise VerificationError(
                f"verify: {candidate.name or 'the candidate'!r} does not do what {reference.name or 'its reference'!r} "
                f"does{where}: SQNR {result.sqnr_db:.1f} dB, asked is {floor_db:g} dB; largest difference "
                f"{result.max_abs:.3g} ({result.max_rel:.2%} of the largest output)."
            )
    return _worst(found)


def same_signature(reference: Model, candidate: Model) -> None:
    """Hold the candidate to the reference's inputs and outputs: names, order, types, free dimensions, in each form.

    The letters themselves may differ. An output may be fixed where the reference's is free only if it is in fact.

    Raises:
        VerificationError: naming the first difference.
    """
    if set(reference.forms) != set(candidate.forms):
        a, b = (", ".join(["main", *model.forms]) for model in (reference, candidate))
        raise VerificationError(f"verify: the reference has the forms {a}, the candidate has {b}.")
    pairs: list[tuple[str, Any, Any]] = [("", reference, candidate)]
    pairs += [(f"form {name!r}: ", form, candidate.forms[name]) for name, form in reference.forms.items()]
    for where, a, b in pairs:
        given = {dim for spec in a.inputs for dim in spec.dims if isinstance(dim, str)}
        for kind in ("inputs", "outputs"):
            _same_specs(f"{where}{kind}", getattr(a, kind), getattr(b, kind), given)


def _same_specs(where: str, a: Sequence[Any], b: Sequence[Any], given: Collection[str]) -> None:
    """`given` are letters of the reference's inputs: another one at an output may stand for what is fixed in fact."""
    names_a, names_b = ([spec.name for spec in specs] for specs in (a, b))
    if names_a != names_b:
        raise VerificationError(
            f"verify: the {where} of the reference are {_list(names_a)}, the candidate's {_list(names_b)}."
        )
    letters: dict[str, str | int] = {}
    for one, other in zip(a, b, strict=True):
        who = f"verify: {where}, {one.name!r}: the reference has {_says(one)}, the candidate {_says(other)}"
        if one.dtype != other.dtype or len(one.dims) != len(other.dims):
            raise VerificationError(f"{who}.")
        for left, right in zip(one.dims, other.dims, strict=True):
            if isinstance(left, str) and isinstance(right, int) and (isinstance(one, InputSpec) or left in given):
                raise VerificationError(f"{who}: {left!r} is no longer free.")
            if isinstance(left, int) and left != right and (isinstance(right, int) or isinstance(one, InputSpec)):
                raise VerificationError(f"{who}.")
            if isinstance(left, str) and isinstance(one, InputSpec) and letters.setdefault(left, right) != right:
                raise VerificationError(f"{who}: {left!r} is {letters[left]!r} elsewhere.")


def _as_said(run: Runner, free: Sequence[OutputSpec], said: Sequence[OutputSpec]) -> Runner:
    """The candidate's runner, its outputs held to the sizes that it says are fixed where the reference says free."""

    def held(arrays: Arrays) -> Arrays:
        made = run(arrays)
        for one, spec in zip(free, said, strict=True):
            sizes = np.shape(made[spec.name]) if spec.name in made else ()
            for before, dim, size in zip(one.dims, spec.dims, sizes, strict=False):
                if isinstance(before, str) and isinstance(dim, int) and dim != size:
                    raise VerificationError(
                        f"verify: output {spec.name!r} is {_says(spec)} as the file says, and gave {list(sizes)}."
                    )
        return made

    return held


def _says(spec: InputSpec | OutputSpec) -> str:
    return f"{spec.dtype}[{','.join(map(str, spec.dims))}]"


def _list(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names)) or "none"


def _is_state(name: str, inputs: Sequence[InputSpec]) -> bool:
    return any(spec.name == name and spec.state_of for spec in inputs)


@dataclass
class _Differences:
    """Sums over all batches, by output."""

    signal: dict[str, float] = field(default_factory=dict)
    noise: dict[str, float] = field(default_factory=dict)
    max_abs: dict[str, float] = field(default_factory=dict)
    largest: dict[str, float] = field(default_factory=dict)
    flipped: int = 0
    rows: int = 0
    choices: Collection[str] | None = None

    def add(self, reference: Arrays, candidate: Arrays) -> None:
        decided = False
        for name, a in reference.items():
            if name not in candidate:
                raise VerificationError(
                    f"verify: the candidate gives no output {name!r}; it gives {_list([*candidate])}."
                )
            a, b = np.asarray(a), np.asarray(candidate[name])
            if a.shape != b.shape:
                raise VerificationError(
                    f"verify: output {name!r} is {list(a.shape)} of the reference and {list(b.shape)} of the candidate."
                )
            self._add_one(name, a, b)
            may_decide = a.dtype.kind == "f" and a.ndim > 0 and a.shape[-1] > 1
            if may_decide and (not decided if self.choices is None else name in self.choices):
                decided = True
                flips = a.argmax(-1) != b.argmax(-1)
                self.flipped, self.rows = self.flipped + int(flips.sum()), self.rows + flips.size

    def _add_one(self, name: str, a: _Array, b: _Array) -> None:
        a, b = a.astype(np.float64), b.astype(np.float64)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        with np.errstate(invalid="ignore", over="ignore"):
            error = np.where(same, 0.0, np.abs(a - b))
        error = np.where(np.isfinite(error), error, np.inf)
        size = np.where(np.isfinite(a), np.abs(a), 0.0)
        for sums, value in ((self.signal, np.square(size).sum()), (self.noise, np.square(error).sum())):
            sums[name] = sums.get(name, 0.0) + float(value)
        for tops, value in ((self.max_abs, error.max(initial=0.0)), (self.largest, size.max(initial=0.0))):
            tops[name] = max(tops.get(name, 0.0), float(value))

    def result(self, shapes: tuple[Mapping[str, tuple[int, ...]], ...]) -> Parity:
        return Parity(
            max_abs=max(self.max_abs.values(), default=0.0),
            max_rel=max((_over(error, self.largest[name]) for name, error in self.max_abs.items()), default=0.0),
            sqnr_db=min((_decibels(self.signal[name], self.noise[name]) for name in self.signal), default=math.inf),
            decision_flip_rate=self.flipped / self.rows if self.rows else None,
            shapes=shapes,
        )


def _over(error: float, largest: float) -> float:
    return error / largest if largest else (math.inf if error else 0.0)


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    return -math.inf if signal == 0 or math.isinf(noise) else 10 * math.log10(signal / noise)


def _worst(found: Sequence[Parity]) -> Parity:
    """The forms' parities as one: the worst of each figure, and all shapes."""
    flips = [p.decision_flip_rate for p in found if p.decision_flip_rate is not None]
    return Parity(
        max_abs=max(p.max_abs for p in found),
        max_rel=max(p.max_rel for p in found),
        sqnr_db=min(p.sqnr_db for p in found),
        decision_flip_rate=max(flips, default=None),
        shapes=tuple(shape for p in found for shape in p.shapes),
    )
