"""Networks stored in half or double precision, made float32 inside: what integer layers take the place of.

ONNX Runtime has no float16 kernels on x86 and converts around every node, so a processor computes the result as fast or
faster; what a GPU computes in half stays as it came. Inputs and outputs keep their types.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from compress.quantization.onnx_edit import Editor, editors
from compress.quantization.onnx_weights import OTHER_FLOATS, everywhere, weights_of
from export.folded import folded
from export.norms import norms_as_operators
from models.records import Arrays, Model

SINGLE = "what was in half or double precision is computed in float32, or in integers"
_NAMES_TYPE = ("to", "dtype", "output_datatype")  # attributes that hold the type of what a node gives
# eleven bits are 68 dB for each rounding; what a hundred in a row leave of it lies above
_FLOOR_DB = 40.0


def in_single(model: Model, batches: Sequence[Arrays] = ()) -> Model:
    """The model with float32 in place of half and double, where its layers have such weights; else as it is.

    Raises:
        CompressError, VerificationError: no such graph does what the model does on the batches.
    """
    forms = {name: form.network for name, form in model.forms.items()}
    if not any(_is_other(network) for network in (model.onnx, *forms.values())):
        return model
    made = replace(
        model,
        network=_converted(model.onnx),
        forms={name: replace(form, network=_converted(forms[name])) for name, form in model.forms.items()},
    )
    return folded(made, batches, reference=model, floor_db=_FLOOR_DB).model


def _is_other(network: ir.Model) -> bool:
    return any(weights_of(node, OTHER_FLOATS) for node in everywhere(network))


def _converted(network: ir.Model) -> ir.Model:
    made = network.clone()
    inputs, outputs = list(made.graph.inputs), list(made.graph.outputs)
    edit = editors(made)[made.graph]
    came = {
        value: value.dtype for value in (*inputs, *outputs) if value.dtype is not None and value.dtype in OTHER_FLOATS
    }
    for graph in made.graphs():
        for value in _values(graph):
            _convert(value)
        for node in graph:
            for name, attribute in node.attributes.items():
                node.attributes[name] = _of_single(attribute)
    for value in inputs:
        if value in came:
            _read_as_single(edit, value)
            value.type = ir.TensorType(came[value])
    for place, value in enumerate(outputs):
        if value in came and value not in inputs:
            made.graph.outputs[place] = _given_as(edit, value, came[value])
    norms_as_operators(made)
    return made


def _values(graph: ir.Graph | ir.Function) -> Iterator[ir.Value]:
    yield from graph.inputs
    yield from graph.initializers.values() if isinstance(graph, ir.Graph) else ()
    for node in graph:
        yield from node.outputs


def _convert(value: ir.Value) -> None:
    """The type of a value, and its numbers where it is a constant."""
    if value.dtype in OTHER_FLOATS:
        value.type = deepcopy(value.type)  # which a clone shares with the network it is of
        value.dtype = ir.DataType.FLOAT
    constant = value.const_value
    if constant is not None and constant.dtype in OTHER_FLOATS:
        value.const_value = ir.tensor(_clipped(constant), name=constant.name)


def _of_single(attribute: ir.Attr) -> ir.Attr:
    """The attribute with float32 in place of the others, as number or as name of a type."""
    if attribute.type == ir.AttributeType.TENSOR and attribute.as_tensor().dtype in OTHER_FLOATS:
        return ir.AttrTensor(attribute.name, ir.tensor(_clipped(attribute.as_tensor())))
    if attribute.name in _NAMES_TYPE and attribute.type == ir.AttributeType.INT and attribute.as_int() in OTHER_FLOATS:
        return ir.AttrInt64(attribute.name, int(ir.DataType.FLOAT))
    return attribute


def _clipped(constant: ir.TensorProtocol) -> np.ndarray:  # type: ignore[type-arg]
    """In float32; a finite number beyond its reach, as a mask may hold, is the last one there is."""
    numbers, reach = constant.numpy(), float(np.finfo(np.float32).max)
    if numbers.dtype.itemsize > 4:
        numbers = np.where(np.isfinite(numbers), np.clip(numbers, -reach, reach), numbers)
    return numbers.astype(np.float32)


def _read_as_single(edit: Editor, value: ir.Value) -> None:
    """Put a Cast behind an input; an output that is the input itself stays so."""
    uses = list(value.uses())
    if not uses:
        return
    to = {"to": int(ir.DataType.FLOAT)}
    single = edit.node("Cast", [value], to, output=f"{value.name}_single", before=edit.graph[0])
    for use in uses:
        use.node.replace_input_with(use.idx, single)


def _given_as(edit: Editor, value: ir.Value, kind: ir.DataType) -> ir.Value:
    """A new output of the value's name and its former type, cast from the value, which takes the other's name."""
    given = edit.node("Cast", [value], {"to": int(kind)}, output=f"{value.name}_single")
    value.name, given.name = given.name, value.name
    given.type, given.shape = ir.TensorType(kind), value.shape
    return given
