"""One sweep over the data gives the range of every tensor that will be rounded; memory does not grow with the data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort

from compress.base import Context, Progress
from export.forms import MAIN, new_elements, parts, run_all
from export.stream import stream
from models.errors import DataError
from models.records import Arrays, Form, InputSpec, Model

Array = np.ndarray[Any, Any]

ROWS = 32  # samples a run: enough to be quick, few enough that all tensors of a run fit into memory together


@dataclass(frozen=True)
class Range:
    """The least and the largest value a tensor was seen to hold."""

    low: float
    high: float

    def __or__(self, other: Range) -> Range:
        """The range that holds both."""
        return Range(min(self.low, other.low), max(self.high, other.high))

    def near(self, other: Range) -> bool:
        """Whether two ranges differ by no more than sums in another order do: a thousandth of the wider one."""
        width = max(self.high, other.high, 0.0) - min(self.low, other.low, 0.0)
        return max(abs(self.low - other.low), abs(self.high - other.high)) <= 1e-3 * width


def ranges(
    model: Model, names: Sequence[str], batches: Iterable[Arrays], *, progress: Progress | None = None
) -> dict[str, Range]:
    """Run the data through the model once, and note the range of each named float tensor of its main graph.

    Args:
        model: ONNX; a streaming one is stepped through its states.
        names: of tensors in the main graph; inputs and outputs are allowed.
        batches: re-iterable or not, of any length; named inputs of one batch.
        progress: told of each run.

    Raises:
        DataError: there are no batches, or NaN or infinity in an input or a tensor.
    """
    inputs = {spec.name for spec in model.inputs}
    watched = [name for name in dict.fromkeys(names) if name not in inputs]
    seen: dict[str, Range] = {}
    session = _session(model.onnx, watched)
    wanted = list(dict.fromkeys([*watched, *(s.state_of for s in model.inputs if s.state_of)]))
    done, total = 0, len(batches) if isinstance(batches, Sized) else 0
    for done, batch in enumerate(_stepped(session, model.inputs, wanted, batches), 1):
        for name in names:
            if (found := _range(name, batch[name], done)) is not None:
                seen[name] = seen[name] | found if name in seen else found
        if progress is not None:
            progress("calibration", done, max(done, total))
    if done == 0:
        raise DataError(
            f"quantize: the calibration data of model {model.name!r} holds no batch. Give --data with a sample or more."
        )
    return seen


def form_ranges(
    model: Model, names: Mapping[str, Sequence[str]], batches: Iterable[Arrays]
) -> dict[str, dict[str, Range]]:
    """The same in further forms, run as a device runs them: one after another, states stepped.

    A form has its inputs by name: what the main form takes too from the data, what is handed over from the form that
    gives it. One that streams is run over all elements at once, then in three pieces, or twice where it takes one
    element at a time, so that ranges hold what its states become.

    Args:
        model: ONNX.
        names: form -> names of tensors in its graph.
        batches: of the main form.

    Returns:
        form -> tensor -> range; forms that need inputs which nobody gives are not among them.
    """
    if not names:
        return {}
    seen: dict[str, dict[str, Range]] = {}
    forms = parts(model)
    sessions = {form: _session(model.forms[form].network, names.get(form, ())) for form in model.forms}
    wanted = {form: [value.name for value in session.get_outputs()] for form, session in sessions.items()}

    def run(form: str, arrays: Arrays) -> Arrays:
        if form == MAIN:
            return {}
        made = dict(zip(wanted[form], sessions[form].run(wanted[form], dict(arrays)), strict=True))
        found = seen.setdefault(form, {})
        for name in names.get(form, ()):
            value = arrays[name] if name in arrays else made[name]
            if (here := _range(name, value, 0)) is not None:
                found[name] = found[name] | here if name in found else here
        return made

    for batch in batches:
        for piece in pieces(batch, model.inputs):
            for form, given, _ in run_all(model, piece, run):
                for _ in stream(partial(run, form), forms[form].inputs, in_steps(forms, form, given)):
                    pass
    return {form: found for form, found in seen.items() if form in names}


def in_steps(forms: Mapping[str, Model | Form], form: str, given: Arrays) -> list[dict[str, Array]]:
    """The inputs of a streaming form in three pieces along the axis of what is new; nothing for any other form."""
    states = {spec.name for spec in forms[form].inputs if spec.state_of is not None}
    if not states or form == MAIN:
        return []
    letter = new_elements(forms, form)
    cut = {spec.name for spec in forms[form].inputs if spec.name not in states and letter and letter in spec.dims[1:2]}
    length = max((given[name].shape[1] for name in cut), default=1)
    bounds = [(0, 1), (1, 1 + length // 2), (1 + length // 2, length)] if length > 2 else [(0, length)] * 2
    return [
        {
            name: array[:, start:end] if name in cut else array
            for name, array in given.items()
            if step == 0 or name not in states
        }
        for step, (start, end) in enumerate(bounds)
    ]


def _session(graph: ir.Model, watched: Sequence[str]) -> ort.InferenceSession:
    """A session of the graph that also gives the tensors to watch. One thread: sums in one order on any machine."""
    network = graph.clone()
    values = {value.name: value for node in network.graph for value in node.outputs}
    given = {value.name for value in (*network.graph.outputs, *network.graph.inputs)}
    for name in dict.fromkeys(watched):
        if name not in given:
            network.graph.outputs.append(values[name])
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(ir.to_proto(network).SerializeToString(), options, providers=["CPUExecutionProvider"])


def _stepped(
    session: ort.InferenceSession, inputs: Sequence[InputSpec], wanted: list[str], batches: Iterable[Arrays]
) -> Iterator[Mapping[str, Array]]:
    """All watched tensors and inputs of each run; a state goes on while the number of streams stays the same."""
    states: dict[str, Array] = {}
    for batch in batches:
        for piece in pieces(batch, inputs):
            sizes = _sizes(piece, inputs)
            for spec in inputs:
                if spec.state_of is not None and spec.name not in piece:
                    shape = _state_shape(spec, sizes)
                    kept = states.get(spec.name)
                    goes_on = kept is not None and kept.shape == shape
                    piece[spec.name] = (
                        kept if goes_on and kept is not None else np.full(shape, spec.initial, spec.dtype)
                    )
            made = dict(zip(wanted, session.run(wanted, piece), strict=True)) if wanted else {}
            states = {spec.name: made[spec.state_of] for spec in inputs if spec.state_of is not None}
            yield {**made, **piece}


def pieces(batch: Arrays, inputs: Sequence[InputSpec]) -> Iterator[dict[str, Array]]:
    """A batch in parts of at most 32 samples, or of the size that the model fixes.

    Raises:
        DataError: an input is missing, has another rank, or its rows are no multiple of a fixed batch.
    """
    data = {spec.name: _fit(batch, spec) for spec in inputs if spec.state_of is None or spec.name in batch}
    sizes = {array.shape[0] for array in data.values() if array.ndim}
    free = {spec.dims[0] for spec in inputs if spec.dims and spec.name in data}
    if len(sizes) != 1 or len(free) != 1:  # inputs that do not share a batch go in as they are
        yield data
        return
    (rows,), (first,) = sizes, free
    step = first if isinstance(first, int) else ROWS
    if isinstance(first, int) and rows % first:
        raise DataError(
            f"quantize: the model takes {first} samples at a time, and a calibration batch has {rows}. "
            f"Give batches of a multiple of {first}."
        )
    for start in range(0, rows, step):
        yield {name: array[start : start + step] for name, array in data.items()}


def _fit(batch: Arrays, spec: InputSpec) -> Array:
    if spec.name not in batch:
        raise DataError(
            f"quantize: the calibration data has no array for the input {spec.name!r}; it has "
            f"{', '.join(sorted(batch))}. Name the arrays as the model's inputs."
        )
    array = np.asarray(batch[spec.name])
    fits = array.ndim == len(spec.dims) and all(
        isinstance(want, str) or have == want or axis == 0
        for axis, (have, want) in enumerate(zip(array.shape, spec.dims, strict=False))
    )
    if not fits:
        raise DataError(
            f"quantize: the input {spec.name!r} takes {_dims(spec.dims)}, "
            f"and the calibration data has {_dims(array.shape)}."
        )
    if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise DataError(
            f"quantize: the calibration data holds {array[where]} in {spec.name!r} at {list(where)}. "
            "Clean the data: no range can be taken from it."
        )
    return array.astype(spec.dtype, copy=False)


def _dims(dims: Sequence[int | str]) -> str:
    return "[" + ",".join(str(d) for d in dims) + "]"


def _sizes(piece: Arrays, inputs: Sequence[InputSpec]) -> dict[str, int]:
    """The size of each letter in this piece."""
    return {
        letter: size
        for spec in inputs
        if spec.name in piece
        for letter, size in zip(spec.dims, piece[spec.name].shape, strict=True)
        if isinstance(letter, str)
    }


def _state_shape(spec: InputSpec, sizes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(sizes.get(d, 1) if isinstance(d, str) else d for d in spec.dims)


def _range(name: str, array: Array, run: int) -> Range | None:
    if array.size == 0 or not np.issubdtype(array.dtype, np.floating):
        return None
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():  # NaN in any element makes the minimum NaN
        raise DataError(
            f"quantize: the tensor {name!r} becomes {'NaN' if np.isnan(low) else 'infinite'} in run {run} of the "
            "calibration data, with finite inputs. The float network overflows: give it other data, or mend it first."
        )
    return Range(low, high)


def gather(model: Model, context: Context, samples: int) -> tuple[list[Arrays], list[Arrays]]:
    """Samples to calibrate with, and others, a quarter as many, to judge on; both fit the model's inputs.

    They are the first of the context's calibration data, else of the task's training data without its labels, else of
    the sample that the model carries. Where there are too few, the last fifth is held out; a single one serves both.
    """
    wanted = samples + max(1, samples // 4)
    taken: list[Arrays] = []
    for batch in _source(model, context):
        for piece in pieces(batch, model.inputs):
            rows = _rows(piece)
            taken.append(_cut(piece, slice(0, wanted)) if _may_cut(model) else piece)
            wanted -= rows
            if wanted <= 0:
                return _split(taken, samples)
    return _split(taken, samples)


def count(batches: Sequence[Arrays]) -> int:
    """How many samples there are."""
    return sum(map(_rows, batches))


def _source(model: Model, context: Context) -> Iterator[Arrays]:
    given = iter(context.calibration)
    first = next(given, None)
    if first is not None:
        yield first
        yield from given
    elif context.task is not None:
        yield from (inputs for inputs, _ in context.task.train)
    elif model.sample is not None:
        yield model.sample


def _may_cut(model: Model) -> bool:
    """Whether a batch may become smaller: its first dimension is one letter, shared by all inputs."""
    first = {spec.dims[0] if spec.dims else None for spec in model.inputs}
    return len(first) == 1 and isinstance(next(iter(first)), str)


def _cut(batch: Arrays, part: slice) -> dict[str, Array]:
    return {name: array[part] for name, array in batch.items()}


def _rows(batch: Arrays) -> int:
    return max((len(array) for array in batch.values() if array.ndim), default=1)


def _split(batches: list[Arrays], samples: int) -> tuple[list[Arrays], list[Arrays]]:
    """The first samples, and what follows them; whole batches, unless there is but one."""
    total = count(batches)
    keep = min(samples, max(1, total - max(1, total // 5)))
    if len(batches) == 1 and total > 1:
        (only,) = batches
        if len({len(a) for a in only.values() if a.ndim}) == 1 and all(a.ndim for a in only.values()):
            return [_cut(only, slice(0, keep))], [_cut(only, slice(keep, None))]
    first: list[Arrays] = []
    done = 0
    for batch in batches:
        if first and done + _rows(batch) > keep:
            break
        first.append(batch)
        done += _rows(batch)
    return first, batches[len(first) :] or first
