"""From ONNX to the torch form: the graph is interpreted by a module with real layers, and that module is lifted.

Each node with weights becomes a torch layer under its own name (`onnx_layers.py` and what it imports), every other
node a torch function (`onnx_elementwise.py`, `onnx_arrangement.py`, `onnx_products.py`, `onnx_spatial.py`); what is
computed on sizes stays on the host (`onnx_host.py`). The module is then lifted as a user's own would be.

Why our own table: onnx2torch, the importer with the widest coverage, has had no release since 2024, knows neither LSTM,
GRU nor RNN, stops at opset 21, and fixes the free dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from onnx_ir.passes.common import ShapeInferencePass
from torch import nn

from export.cleaned import cleaned
from export.free_batch import free_batch
from export.lift import lift
from export.lifted import Lifted
from export.observe import observe
from export.onnx_arrangement import ARRANGEMENT
from export.onnx_builder import Builder, clean, constant, owner_of
from export.onnx_elementwise import ELEMENTWISE
from export.onnx_host import HOST
from export.onnx_layers import LAYERS, bias_behind
from export.onnx_products import PRODUCTS
from export.onnx_spatial import SPATIAL
from export.onnx_values import Call, Constant, on_host, tensor
from export.reading import opset_of
from models.errors import CompressError, LiftError
from models.records import InputSpec, Model, example, sizes_of

_QUANTIZED = (
    "QuantizeLinear DequantizeLinear DynamicQuantizeLinear QLinearConv QLinearMatMul QGemm MatMulInteger ConvInteger "
    "DynamicQuantizeMatMul DynamicQuantizeLSTM MatMulNBits"
).split()
FUNCTIONS = {**ELEMENTWISE, **PRODUCTS, **ARRANGEMENT, **SPATIAL}
_DOMAINS = ("", "ai.onnx")
_TENSOR_SIZE = 64  # elements; integers of more are a table and lie in the module, of fewer they are sizes and axes


def lift_onnx(model: Model) -> Model:
    """The model with a lifted torch network in place of each ONNX graph; inputs and outputs stay as they are.

    Layers carry the names of the ONNX nodes or weights; batch norms that were not folded into the file train again.

    Raises:
        LiftError: an operator has no torch form, the graph is quantized already, or it branches on its data; the text
            says which operator at which node and what is possible.
    """
    if not model.is_onnx:
        return model
    if model.forms:
        raise LiftError(
            f"lift: '{model.name}' holds several forms ({', '.join(['main', *model.forms])}), each with weights of its "
            "own in ONNX, and they cannot be made one again. Use the .pt it was exported from."
        )
    freed = free_batch(model)
    try:
        return replace(model, network=_lifted(freed))
    except LiftError:
        if freed is model:
            raise
        return replace(model, network=_lifted(model))


def _lifted(model: Model) -> Lifted:
    sizes = sizes_of(model)
    module = Interpreter(model.onnx, model.inputs, sizes)
    found = lift(module, model.inputs, sizes=_tried(model.inputs, sizes), outputs=[o.name for o in model.outputs])
    return found.network


class Interpreter(nn.Module):
    """Runs an ONNX graph node by node in torch, with its layers as submodules.

    Args:
        network: is left as it is.
        inputs: of the graph.
        sizes: a size for each letter, to see the ranks of the values.
    """

    def __init__(self, network: ir.Model, inputs: Sequence[InputSpec], sizes: Mapping[str, int]) -> None:
        super().__init__()
        graph_model = cleaned(network)
        _refuse_what_has_no_torch_form(graph_model)
        self.graph = graph_model.graph
        self.opset = opset_of(graph_model)
        self.builder = Builder(self, _ranks(graph_model, inputs, sizes))
        self.names = [spec.name for spec in inputs]
        self.steps: list[tuple[ir.Node, Call, Any]] = []
        self.constants: dict[str, Constant] = {}
        self.turned: set[str] = set()
        merged: set[ir.Node] = set()
        for node in self.graph:
            self._read(node, merged)
        self._keep(self.graph.outputs, ())  # one may be a constant

    def __deepcopy__(self, memo: dict[int, Any]) -> Interpreter:
        """Itself: it is made to be lifted once and thrown away, and its steps hold on to these very layers."""
        return self

    def forward(self, *inputs: torch.Tensor) -> tuple[Any, ...]:
        """The graph's outputs in order."""
        values: dict[str, Any] = dict(zip(self.names, inputs, strict=True))
        for node, call, run in self.steps:
            given = [self._value(v, values) for v in node.inputs]
            found = run(call, *given)
            outputs = found if isinstance(found, tuple | list) else (found,)
            for value, result in zip(node.outputs, outputs, strict=False):
                values[value.name or ""] = result
        return tuple(tensor(self._value(v, values)) for v in self.graph.outputs)

    def _value(self, value: ir.Value | None, values: Mapping[str, Any]) -> Any:
        if value is None or not value.name:
            return None
        if value.name in self.turned:
            return None  # the layer that takes it holds it
        return self.constants[value.name] if value.name in self.constants else values[value.name]

    def _read(self, node: ir.Node, merged: set[ir.Node]) -> None:
        wanted = [i for i, o in enumerate(node.outputs) if o.name and (o.uses() or o.is_graph_output())]
        attributes = {a.name: _plain(a) for a in node.attributes.values()}
        call = Call(node.op_type, node.name or node.op_type, self.opset, attributes, max(wanted, default=0) + 1)
        if node in merged:
            self.steps.append((node, call, lambda call, *given: next(v for v in given if isinstance(v, torch.Tensor))))
            self._keep(node.inputs, ())
            return
        if not wanted or _is_turned_weight(node):
            self.turned |= {o.name or "" for o in node.outputs}
            return
        run = LAYERS[node.op_type](self.builder, node, call) if node.op_type in LAYERS else None
        if run is not None:
            if node.op_type == "MatMul":
                merged |= _bias_node(node)
            self._keep(node.inputs, ())
            self.steps.append((node, call, run))
            return
        self._keep(node.inputs, tuple(node.inputs))
        self.steps.append((node, call, _either(node.op_type)))

    def _keep(self, values: Sequence[ir.Value | None], as_tensors: Sequence[ir.Value | None]) -> None:
        """Note the constants among values; those that a function computes with become parameters or buffers."""
        for value in values:
            array = constant(value)
            if array is None or value is None or value.name is None:
                continue
            known = self.constants.get(value.name)
            if known is not None and (known.path is not None or value not in as_tensors):
                continue
            path = self._register(value.name, array) if value in as_tensors else None
            self.constants[value.name] = Constant(array, self, path)

    def _register(self, name: str, array: np.ndarray[Any, Any]) -> str | None:
        floating = array.dtype.kind == "f"
        if array.size < 2 or (not floating and array.size <= _TENSOR_SIZE):
            return None
        parameter = self.builder.parameters.get((name, ""))
        owner, owners, last = owner_of(self, clean(name))
        while hasattr(owner, last):
            last += "_"
        if parameter is not None or (floating and "." in name and np.isfinite(array).all()):
            owner.register_parameter(last, parameter if parameter is not None else nn.Parameter(torch.tensor(array)))
        elif floating and owners == [] and _learned(name, array):
            owner.register_parameter(last, nn.Parameter(torch.tensor(array)))
        else:
            owner.register_buffer(last, torch.tensor(array))
        return ".".join([*owners, last])


def _ranks(network: ir.Model, inputs: Sequence[InputSpec], sizes: Mapping[str, int]) -> dict[str, int]:
    """Number of dimensions of each value: as a run shows them, or, where random inputs do not do, as is inferred."""
    try:
        return {name: array.ndim for name, array in observe(network, example(inputs, sizes)).items()}
    except CompressError:
        ShapeInferencePass()(network)
        values = [*network.graph.inputs, *(o for node in network.graph.all_nodes() for o in node.outputs)]
        return {v.name: len(v.shape) for v in values if v.name and v.shape is not None}


def _learned(name: str, array: np.ndarray[Any, Any]) -> bool:
    """Whether a constant without a module in its name is a weight: one that someone named, and no mask."""
    numbered = name.lstrip("cv").isdigit()
    automatic = numbered or name.startswith(("val_", "onnx::", "_"))
    return not automatic and bool(np.isfinite(array).all() and np.abs(array).max(initial=0) < 1e4)


def _either(op: str) -> Any:
    """The operator on the host where all that it takes is known there, else in torch."""
    host, function = HOST.get(op), FUNCTIONS.get(op)

    def run(call: Call, *given: Any) -> Any:
        known = on_host(*given) and not any(isinstance(v, Constant) and v.path is not None for v in given)
        if host is not None and known:
            found = host(call, *[None if v is None else call.host(v) for v in given])
            if found is not NotImplemented:
                return found
        if function is None:
            raise call.refuse("depends on the data here, which the torch form cannot")
        return function(call, *given)

    return run


def _is_turned_weight(node: ir.Node) -> bool:
    """Whether this turns a matrix of weights for layers that know to take it as it is stored."""
    array = constant(node.inputs[0]) if node.op_type == "Transpose" else None
    if array is None or array.ndim != 2 or array.dtype.kind != "f" or node.outputs[0].is_graph_output():
        return False
    return all(user.op_type == "MatMul" and place == 1 for user, place in node.outputs[0].uses())


def _bias_node(node: ir.Node) -> set[ir.Node]:
    """The Add whose constant became the bias of this MatMul's layer."""
    weight = node.inputs[1]
    turn = weight.producer() if weight is not None else None
    stored, place = (turn.inputs[0], 0) if turn is not None else (weight, 1)
    array = constant(stored)
    assert array is not None
    return {node.outputs[0].consumers()[0]} if bias_behind(node, array.shape[place]) is not None else set()


def _refuse_what_has_no_torch_form(network: ir.Model) -> None:
    for node in network.graph.all_nodes():
        if node.op_type in _QUANTIZED:
            raise LiftError(
                f"lift: this file is quantized already ({node.op_type} at node '{node.name}'), and what was rounded "
                "cannot be trained or cut again. Begin with the model in float.",
                layer=node.name or "",
                operation=node.op_type,
            )
    known = {*LAYERS, *FUNCTIONS, *HOST}
    for node in network.graph:
        if node.domain not in _DOMAINS or node.op_type not in known:
            call = Call(node.op_type, node.name or "", 0, {}, 1)
            raise call.refuse("has no torch form here")


def _plain(attribute: Any) -> Any:
    value = attribute.value
    return value.decode() if isinstance(value, bytes) else list(value) if isinstance(value, tuple) else value


def _tried(inputs: Sequence[InputSpec], sizes: Mapping[str, int]) -> dict[str, int]:
    """Sizes to trace at: a size of 1 would be taken for fixed."""
    letters = {d for spec in inputs for d in spec.dims if isinstance(d, str)}
    return {letter: max(sizes[letter], 2) for letter in letters}
