"""From the torch form to ONNX: torch.export, the dynamo-based exporter, then our preparation; checked and compared.

Nodes and weights carry the names of the user's modules: see `naming.py` for the rule.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import nn

from export.folded import fold
from export.lifted import MAIN, evaluating, tensors
from export.naming import keep_weight_names, name_by_layer, shorten_names
from export.opset import in_opset
from export.parity import verify
from export.prepare import prepare, strip
from export.recurrent_onnx import translated
from export.shape_arithmetic import settle_shapes
from export.translations import TRANSLATIONS
from models.errors import CompressError
from models.records import InputSpec, Model, OutputSpec, sizes_of

__all__ = ["OPSET", "export_form", "fold", "to_onnx"]

OPSET = 18


def to_onnx(model: Model, *, opset: int = OPSET) -> Model:
    """The model with an ONNX graph for each form; names, order, types and free dimensions are those of the model.

    A model that is ONNX already passes through as it is. The graphs are compared with torch at several sizes.

    Args:
        model: with a lifted network.
        opset: of the result.

    Raises:
        CompressError: the network or the opset cannot be exported; the text says which operation, where it is known.
        VerificationError: ONNX Runtime and torch do not agree on the result.
    """
    if model.is_onnx:
        return model
    network: Any = model.network
    sizes = sizes_of(model)
    graph = export_form(network.form(MAIN), model.inputs, model.outputs, sizes, opset=opset)
    forms = {
        name: replace(form, network=export_form(network.form(name), form.inputs, form.outputs, sizes, opset=opset))
        for name, form in model.forms.items()
    }
    exported = replace(model, network=graph, forms=forms)
    verify(model, exported)
    return exported


def export_form(
    module: nn.Module,
    inputs: Sequence[InputSpec],
    outputs: Sequence[OutputSpec],
    sizes: Mapping[str, int],
    *,
    opset: int = OPSET,
) -> ir.Model:
    """One module as one ONNX graph with the given signature: folded, stripped, named and checked.

    Args:
        module: its forward takes the inputs in order and gives the outputs in order.
        inputs: whose letters become free dimensions.
        outputs: names, types and dimensions as they shall be.
        sizes: a size for every letter, to trace with.
        opset: of the result.
    """
    network = _traced(module, inputs, outputs, telling(inputs, sizes))
    _own_io(network, inputs, outputs)
    keep_weight_names(network)
    settle_shapes(network)
    prepare(network)
    name_by_layer(network)
    network = in_opset(network, opset)
    strip(network)
    shorten_names(network)
    _describe(network, inputs, outputs)
    check(network)
    return network


def telling(inputs: Sequence[InputSpec], sizes: Mapping[str, int]) -> dict[str, int]:
    """Sizes to trace with: none is 1, which torch takes for fixed, and no two are the same."""
    letters = dict.fromkeys(d for spec in inputs for d in spec.dims if isinstance(d, str))
    chosen: dict[str, int] = {}
    for letter in sorted(letters, key=lambda d: -sizes[d]):
        size = max(sizes[letter], 2)
        while size in chosen.values():
            size += max(sizes[letter], 2)  # a multiple, for what is halved or pooled on the way
        chosen[letter] = size
    return chosen


def check(network: ir.Model) -> None:
    """Hold a graph to ONNX's own rules; raises CompressError, for a graph of ours that breaks one is our mistake."""
    import onnx

    from export.onnx_file import to_bytes, weight_bytes

    if weight_bytes(Model(network)) > 1 << 30:
        return  # the checker wants one message; ONNX Runtime still sees the graph in the comparison
    try:
        onnx.checker.check_model(to_bytes(Model(network)))
    except onnx.checker.ValidationError as error:
        raise CompressError(f"export: the graph made is no valid ONNX: {str(error).splitlines()[0]}") from error


def _traced(
    module: nn.Module, inputs: Sequence[InputSpec], outputs: Sequence[OutputSpec], sizes: Mapping[str, int]
) -> ir.Model:
    exact = {d: torch.export.Dim(f"size_{i}", min=1) for i, d in enumerate(sizes)}
    first_error: Exception | None = None
    for exactly in (True, False):  # AUTO also takes what is free only in part (T = 2 n); parity judges that
        dims = exact if exactly else dict.fromkeys(exact, torch.export.Dim.AUTO)
        shapes = tuple({i: dims[d] for i, d in enumerate(spec.dims) if isinstance(d, str)} for spec in inputs)
        try:
            with quiet(), evaluating(module), parsed_once(), translated(module) as table:
                program = torch.onnx.export(
                    module,
                    tuple(tensors(inputs, sizes)),
                    dynamo=True,
                    dynamic_shapes=(shapes,),
                    input_names=[spec.name for spec in inputs],
                    output_names=[spec.name for spec in outputs],
                    opset_version=OPSET,
                    custom_translation_table=TRANSLATIONS | table,
                    optimize=False,
                    verbose=False,
                )
        except Exception as error:
            first_error = first_error or error
            continue
        assert program is not None
        return program.model
    cause = _cause(first_error)
    if isinstance(cause, CompressError):
        raise cause
    raise CompressError(f"export: {_said(cause)}") from first_error


def _own_io(network: ir.Model, inputs: Sequence[InputSpec], outputs: Sequence[OutputSpec]) -> None:
    """Give each output a value of its own: one that is an input, a constant or another output gets an Identity."""
    graph = network.graph
    if len(graph.inputs) != len(inputs) or len(graph.outputs) != len(outputs):
        raise CompressError(
            f"export: the network takes {len(inputs)} inputs and gives {len(outputs)} outputs, "
            f"and the exporter made {len(graph.inputs)} and {len(graph.outputs)} of them."
        )
    seen: set[int] = set()
    for i, value in enumerate(graph.outputs):
        if id(value) in seen or value.producer() is None:
            copy = ir.node("Identity", [value])
            graph.append(copy)
            graph.outputs[i] = copy.outputs[0]
            copy.outputs[0].shape = value.shape
            if value.dtype is not None:
                copy.outputs[0].dtype = value.dtype
        seen.add(id(graph.outputs[i]))


def _describe(network: ir.Model, inputs: Sequence[InputSpec], outputs: Sequence[OutputSpec]) -> None:
    values = [*network.graph.inputs, *network.graph.outputs]
    specs: list[InputSpec | OutputSpec] = [*inputs, *outputs]
    for value, spec in zip(values, specs, strict=True):
        value.name = spec.name
        value.shape = ir.Shape(spec.dims)
        value.dtype = ir.DataType.from_numpy(np.dtype(spec.dtype))
    network.graph.name = "main"
    network.producer_name, network.producer_version = "compress", ""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporter's prints, log lines and warnings to itself."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def parsed_once() -> Iterator[None]:
    """Let the exporter parse its library of translations once a process, and not for each graph.

    It reads the sources of five hundred functions anew every time, a third of an export. The list of them is reached
    by private names: where a version has none, all goes as before.
    """
    from torch.onnx._internal.exporter import _registration

    library: Any = getattr(_registration, "onnxscript_apis", None)
    read = getattr(library, "get_torchlib_ops", None)
    if read is None:
        yield
        return
    library.get_torchlib_ops = lambda: _translations(read)
    try:
        yield
    finally:
        library.get_torchlib_ops = read


@functools.cache
def _translations(read: Callable[[], list[Any]]) -> list[Any]:
    return read()


def _cause(error: Exception | None) -> BaseException:
    """What could not be done in the first place; the exporter wraps it several times."""
    assert error is not None
    cause: BaseException = error
    while cause.__cause__ is not None and str(cause.__cause__) and not isinstance(cause, CompressError):
        cause = cause.__cause__
    return cause


def _said(cause: BaseException) -> str:
    """Its first line, or in words what the exporter says of an operation that it has no translation for."""
    missing = re.search(r"No ONNX function found for <OpOverload\(op='\w+\.(\w+)'", str(cause))
    if missing is None:
        return str(cause).strip().splitlines()[0]
    return (
        f"nothing in ONNX does what the operation '{missing[1]}' does, which the network uses. Write it with plain "
        "operations (products, sums, comparisons, lookups), or do that part before or after the network."
    )
