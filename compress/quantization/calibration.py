"""One sweep over the data, of any length, gives a histogram of every tensor that will be rounded, in flat memory."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort

from compress.base import Progress
from compress.quantization.calibration_data import ROWS, Kept, count, cut, pieces, rows, shared_rows
from compress.quantization.histogram import Histogram
from compress.quantization.watched import show
from export.called import called
from export.forms import MAIN, new_elements, parts, run_all
from export.stream import Memory, stream
from export.whole_samples import are_whole
from models.errors import CompressError, DataError, first_line
from models.records import Arrays, Form, Model

Array = np.ndarray[Any, Any]

_CRASHING = ["MatmulTransposeFusion"]  # see export.session.crashing_fusions
_RUN_BYTES = 32 * 2**20  # of watched tensors in one run: as many samples go in together


@dataclass
class Sweep:
    """What is seen of the tensors of one graph while data go through it.

    Args:
        names: of the tensors to look at.
        counted: whether to count values, or to take the ranges alone.
        finite_of: names of those of which only the finite numbers are looked at: a mask may hold infinities.
        if_finite: names of those that have no histogram where they hold such.
    """

    names: Sequence[str]
    counted: bool = True
    finite_of: Collection[str] = ()
    if_finite: Collection[str] = ()
    seen: dict[str, Histogram] = field(default_factory=dict)
    _left_out: set[str] = field(default_factory=set)

    def look(self, tensors: Mapping[str, Array], first: int) -> None:
        """Look at the tensors of one run, whose first sample has this number.

        Raises:
            DataError: a tensor holds NaN or infinity.
        """
        for name in self.names:
            array = tensors[name]
            if name in self._left_out:
                continue
            if not isinstance(array, np.ndarray) or not np.issubdtype(array.dtype, np.floating):
                continue  # a list is a sequence of tensors
            if name in self.finite_of:
                array = array[np.isfinite(array)]
            if array.size == 0:
                continue
            histogram = self.seen.setdefault(name, Histogram(counted=self.counted))
            try:
                histogram.add(array)
            except ValueError:
                if name not in self.if_finite:
                    raise DataError(_overflow(name, array, first)) from None
                self._left_out.add(name)
                del self.seen[name]


def histograms(
    model: Model,
    names: Sequence[str],
    batches: Iterable[Arrays],
    *,
    counted: bool = True,
    finite_of: Collection[str] = (),
    if_finite: Collection[str] = (),
    progress: Progress | None = None,
) -> dict[str, Histogram]:
    """Run the data through the model once, and note what each named float tensor holds.

    Args:
        model: ONNX; a streaming one is stepped through its states.
        names: of tensors in the main graph and in the bodies that can be looked into; inputs and outputs are allowed.
        batches: re-iterable or not, of any length; named inputs of one batch.
        counted: whether to count values, or to take the ranges alone, which is quicker.
        finite_of: names of those of which only the finite numbers are looked at.
        if_finite: names of those that have no histogram where they hold NaN or infinity.
        progress: told of each run: samples done, and in all where that is known.

    Raises:
        DataError: there are no batches, or NaN or infinity in an input or a tensor.
    """
    sweep = Sweep(names, counted, finite_of, if_finite)
    done, total = 0, count(batches) if isinstance(batches, Kept | list | tuple) else 0
    for tensors, samples in runs(model, names, batches):
        sweep.look(tensors, done)
        done += samples
        if progress is not None:
            progress("calibration", done, max(done, total), detail="samples")
    if done == 0:
        raise DataError(
            f"quantize: the calibration data of model {model.name!r} holds no batch. Give --data with a sample or more."
        )
    return sweep.seen


def form_histograms(
    model: Model,
    names: Mapping[str, Sequence[str]],
    batches: Iterable[Arrays],
    *,
    counted: bool = True,
    finite_of: Mapping[str, Collection[str]] = MappingProxyType({}),
    if_finite: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> dict[str, dict[str, Histogram]]:
    """The same in further forms, run as a device runs them: one after another, states stepped.

    A form has its inputs by name: what the main form takes too from the data, what is handed over from the form that
    gives it. One that streams is run over all elements at once, then in three pieces, or twice where it takes one
    element at a time, so that ranges hold what its states become.

    Args:
        model: ONNX.
        names: form -> names of tensors in its graph.
        batches: of the main form.
        counted: whether to count values, or to take the ranges alone.
        finite_of: form -> names of those of which only the finite numbers are looked at.
        if_finite: form -> names of those that have no histogram where they hold NaN or infinity.

    Returns:
        form -> tensor -> histogram; forms that need inputs which nobody gives are not among them.
    """
    if not names:
        return {}
    sweeps: dict[str, Sweep] = {}
    forms = parts(model)
    sessions = {form: watching(model.forms[form].network, names.get(form, ())) for form in model.forms}
    wanted = {form: [value.name for value in session.get_outputs()] for form, session in sessions.items()}
    done = 0

    def run(form: str, arrays: Arrays) -> Arrays:
        if form == MAIN:
            return {}
        made = dict(zip(wanted[form], called(sessions[form], arrays, model.name), strict=True))
        new = Sweep(names.get(form, ()), counted, finite_of.get(form, ()), if_finite.get(form, ()))
        sweep = sweeps.setdefault(form, new)
        sweep.look({**made, **arrays}, done)
        return made

    for batch in batches:
        for piece in pieces(batch, model.inputs, first=done):
            for form, given, _ in run_all(model, piece, run):
                for _ in stream(partial(run, form), forms[form].inputs, in_steps(forms, form, given)):
                    pass
            done += rows(piece)
    return {form: sweep.seen for form, sweep in sweeps.items() if form in names}


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


def watching(graph: ir.Model, watched: Sequence[str]) -> ort.InferenceSession:
    """A session of the graph that also gives the tensors to watch."""
    network = graph.clone()
    show(network, watched)
    return opened(ir.to_proto(network))


def opened(graph: onnx.ModelProto) -> ort.InferenceSession:
    """A session of a graph. One thread: sums in one order on any machine.

    Raises:
        CompressError: the runtime does not take it.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised
    # it would make u8 of s8, and not all of it
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    try:
        return ort.InferenceSession(
            graph.SerializeToString(), options, providers=["CPUExecutionProvider"], disabled_optimizers=_CRASHING
        )
    except Exception as error:
        raise CompressError(f"quantize: ONNX Runtime does not take what was made: {first_line(error)}") from error


def runs(model: Model, names: Iterable[str], batches: Iterable[Arrays]) -> Iterator[tuple[Mapping[str, Array], int]]:
    """The named tensors and the inputs of each run, and its samples; states go on as they do when the model is used.

    A model without states takes as many samples a run as keep what is looked at small.

    Args:
        model: ONNX; its main graph is run.
        names: of tensors in it or in bodies that can be looked into; inputs and outputs are allowed.
        batches: named inputs; states may be left out.
    """
    inputs, memory = model.inputs, Memory(model.inputs, model.outputs)
    states = [spec.state_of for spec in inputs if spec.state_of is not None]
    watched = [name for name in dict.fromkeys(names) if name not in {spec.name for spec in inputs}]
    session, wanted = watching(model.onnx, watched), list(dict.fromkeys([*watched, *states]))

    def run(arrays: Arrays) -> Arrays:
        return dict(zip(wanted, called(session, arrays, model.name, wanted), strict=True)) if wanted else {}

    done, together = 0, 1
    for batch in batches:
        wholes = are_whole(batch, inputs)
        for whole in pieces(batch, inputs, first=done):
            free = not (states or wholes) and shared_rows(whole, inputs) == 0
            start, end = 0, 1 if wholes else rows(whole)
            while start < end:
                piece = cut(whole, slice(start, start + together)) if free else dict(whole)
                piece, made = memory.step(run, piece)
                samples = rows(piece) if free else end
                start += samples
                size = sum(array.nbytes for array in made.values() if isinstance(array, np.ndarray)) // samples
                together = min(ROWS, max(1, _RUN_BYTES // max(1, size)))
                yield {**made, **piece}, samples
            done += end


def _overflow(name: str, array: Array, first: int) -> str:
    """Which tensor is not finite, and at which sample where its first dimension counts them."""
    where = np.argwhere(~np.isfinite(array))[0]
    value = array[tuple(where)]
    sample = first + (int(where[0]) if array.ndim else 0) + 1
    return (
        f"quantize: the tensor {name!r} becomes {'NaN' if np.isnan(value) else 'infinite'} at sample {sample} of the "
        "calibration data, with finite inputs. The float network overflows: give it other data, or mend it first."
    )
