"""Cost of an ONNX graph: it is run once with every intermediate value shown, and each node counted.

The conventions are those of `cost.py`. Running is dearer than shape inference and never gives up: computed shapes,
custom operators and bodies of loops included. Imports no torch.
"""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from export.counts import Cost, LayerCost, Step, gathered, peak_bytes
from export.einsum import einsum_macs
from export.naming import layer_of
from export.observe import observe
from export.prepare import name_nodes
from export.session import session
from models.records import Model, example

_Shape = tuple[int, ...]
_Array = np.ndarray[Any, Any]
_VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout")
_INTEGER = ("QLinearConv", "ConvInteger", "QLinearMatMul", "MatMulInteger", "QGemm", "DynamicQuantizeMatMul",
            "MatMulIntegerToFloat", "DynamicQuantizeLSTM", "QAttention")  # fmt: skip
_NO_SHAPE = 16  # elements, from which on a constant inside a node may be a weight
_DEQUANTIZE, _QUANTIZE = "DequantizeLinear", "QuantizeLinear"


def onnx_cost(model: Model, sizes: Mapping[str, int]) -> Cost:
    """Cost of an ONNX model's main form at the sizes."""
    network = model.onnx.clone()
    LiftConstantsToInitializersPass(lift_all_constants=False, size_limit=_NO_SHAPE)(network)
    name_nodes(network)
    seen = observe(network, example(model.inputs, sizes))
    return _counted(network, seen)


def optimized_cost(model: Model, sizes: Mapping[str, int]) -> Cost:
    """Cost of the graph as ONNX Runtime's CPU provider optimizes it, short of its own memory layouts."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "optimized.onnx"
        session(model, optimize="portable", optimized_to=str(file))
        network = ir.load(file)
        name_nodes(network)
        return _counted(network, observe(network, example(model.inputs, sizes)))


def _counted(network: ir.Model, seen: Mapping[str, _Array]) -> Cost:
    graph = network.graph
    weights = _weights(network)
    rows = [row for node in graph for row in _rows(node, seen, 1)]
    stored = [LayerCost(layer=layer, type=kind, parameters=n, bytes=b) for layer, kind, n, b in weights]
    known = {name: array.nbytes for name, array in seen.items()}
    steps = [
        Step(
            [(o.name, known.get(o.name, 0)) for o in node.outputs if o.name],
            [i.name for i in node.inputs if i is not None and i.name and not i.is_initializer()],
            node.inputs[0].name if node.op_type in _VIEWS and node.inputs[0] is not None else None,
        )
        for node in graph
    ]
    inputs = [(v.name or "", known.get(v.name or "", 0)) for v in graph.inputs if not v.is_initializer()]
    constants = [v.const_value for g in network.graphs() for v in g.initializers.values() if v.const_value is not None]
    return Cost(
        parameters=sum(n for _, _, n, _ in weights),
        macs=sum(row.macs for row in rows),
        integer_macs=sum(row.integer_macs for row in rows),
        bytes=sum(tensor.nbytes for tensor in constants),
        peak_activation_bytes=peak_bytes(steps, inputs, [v.name or "" for v in graph.outputs]),
        layers=gathered([*rows, *stored]),
    )


def _rows(node: ir.Node, seen: Mapping[str, _Array], times: int) -> list[LayerCost]:
    bodies = [a.value for a in node.attributes.values() if a.type == ir.AttributeType.GRAPH]
    if bodies:
        return _body_rows(node, bodies, seen, times)
    macs = times * macs_of(node, seen)
    out_bytes = sum(array.nbytes for array in _outputs(node, seen))
    integer = macs if node.op_type in _INTEGER or _between_conversions(node) else 0
    return [LayerCost(layer=layer_of(node), type=node.op_type, macs=macs, integer_macs=integer, out_bytes=out_bytes)]


def _body_rows(node: ir.Node, bodies: Sequence[ir.Graph], seen: Mapping[str, _Array], times: int) -> list[LayerCost]:
    """Rows of a body, as often as it runs; of several (If) those of the dearest."""
    runs = times
    if node.op_type == "Scan":
        first = node.inputs[len(node.inputs) - int(node.attributes["num_scan_inputs"].value)]
        axes = node.attributes.get("scan_input_axes")
        array = seen.get(first.name or "") if first is not None else None
        runs *= array.shape[axes.value[0] if axes else 0] if array is not None else 1
    if node.op_type == "Loop":
        trip = node.inputs[0]
        runs *= _trips(trip, seen)
    found = [[row for inner in body for row in _rows(inner, seen, runs)] for body in bodies]
    return max(found, key=lambda rows: sum(row.macs for row in rows))


def _trips(value: ir.Value | None, seen: Mapping[str, _Array]) -> int:
    array = _array(value, seen)
    return int(array.reshape(-1)[0]) if array is not None and array.size else 1


def _between_conversions(node: ir.Node) -> bool:
    """Whether a float operator stands between dequantized inputs and a quantized output: most runtimes fuse it then.

    What ONNX Runtime in fact fuses, `optimized_cost` counts.
    """
    producers = [i.producer() for i in node.inputs[:2] if i is not None]
    from_integers = len(producers) == 2 and all(p is not None and p.op_type == _DEQUANTIZE for p in producers)
    return from_integers and all(user.op_type in (_QUANTIZE, "Relu", "Clip") for user in node.outputs[0].consumers())


def _weights(network: ir.Model) -> list[tuple[str, str, int, int]]:
    """(layer, operator, elements, bytes) of each constant that is a weight, at the first node that computes with it."""
    found = []
    for graph in network.graphs():
        for value in graph.initializers.values():
            if value.const_value is None or not value.uses():
                continue
            user, place = _computing_use(value)
            if is_weight(value, user, place):
                tensor = value.const_value
                found.append((layer_of(user), user.op_type, int(tensor.size), int(tensor.nbytes)))
    return found


_MOVES = (_DEQUANTIZE, "Cast", "Transpose", "Identity", "Unsqueeze", "Squeeze", "Reshape", "Slice")


def _computing_use(value: ir.Value) -> tuple[ir.Node, int]:
    """The first use of a constant, through what only converts or moves its numbers, as a weight is put together."""
    user, place = next(iter(value.uses()))
    while ((user.op_type in _MOVES and place == 0) or user.op_type == "Concat") and user.outputs[0].uses():
        user, place = next(iter(user.outputs[0].uses()))
    return user, place


# operator -> places of constants that say how to compute, and are no weights
_SETTINGS = {
    _QUANTIZE: (1, 2), _DEQUANTIZE: (1, 2), "QLinearConv": (1, 2, 4, 5, 6, 7), "ConvInteger": (2, 3),
    "QLinearMatMul": (1, 2, 4, 5, 6, 7), "MatMulInteger": (2, 3), "QGemm": (1, 2, 4, 5, 7, 8), "Clip": (1, 2),
    "DynamicQuantizeMatMul": (2, 3), "MatMulIntegerToFloat": (2, 3, 4, 5), "Resize": (1, 2), "Pad": (2,),
    "DynamicQuantizeLSTM": (8, 9, 10, 11), "QLinearAdd": (1, 2, 4, 5, 6, 7), "Where": (),
}  # fmt: skip


def is_weight(value: ir.Value, user: ir.Node, place: int) -> bool:
    """Whether a constant holds learned numbers: floats, 8-bit integers, the 32-bit bias beside them; no scalars."""
    tensor = value.const_value
    if re.fullmatch(r"c\d+", value.name or ""):  # our exports name what is no weight of the user's so
        return False
    if tensor is None or tensor.size < 2 or place in _SETTINGS.get(user.op_type, ()):
        return False
    if tensor.dtype in (ir.DataType.INT64, ir.DataType.BOOL, ir.DataType.STRING):
        return False
    if tensor.dtype == ir.DataType.INT32:
        return user.op_type in ("QLinearConv", "QGemm", "Conv", "Gemm", "Add", "ConvTranspose", _DEQUANTIZE)
    return True


def macs_of(node: ir.Node, seen: Mapping[str, _Array]) -> int:
    """Multiply-adds of one node by the shapes that were seen; 0 for operators that do not multiply matrices."""
    count = _COUNTS.get(node.op_type)
    if count is None or not any(output.name for output in node.outputs):
        return 0
    given = _outputs(node, seen)
    if not given:
        return 0  # in the branch of an If that did not run
    shapes = [a.shape if (a := _array(i, seen)) is not None else () for i in node.inputs]
    return int(count(_Call(node, shapes, given[0].shape)))


def _outputs(node: ir.Node, seen: Mapping[str, _Array]) -> list[_Array]:
    return [seen[o.name] for o in node.outputs if o.name is not None and o.name in seen]


@dataclass(frozen=True)
class _Call:
    node: ir.Node
    shapes: Sequence[_Shape]
    out: _Shape

    def number(self, name: str, default: int) -> int:
        attribute = self.node.attributes.get(name)
        return default if attribute is None else int(attribute.value)


def _convolution(place: int) -> Callable[[_Call], int]:
    return lambda call: math.prod(call.out) * math.prod(call.shapes[place][1:])


def _transposed(call: _Call) -> int:
    return math.prod(call.shapes[0]) * math.prod(call.shapes[1][1:])


def _product(call: _Call) -> int:
    """Every element of the result is a sum over the last dimension of the first operand."""
    left = call.shapes[0]
    return math.prod(call.out) * (left[0] if call.number("transA", 0) and len(left) == 2 else left[-1])


def _recurrent(gates: int) -> Callable[[_Call], int]:
    def count(call: _Call) -> int:
        steps, batch, width = call.shapes[0]
        ways, hidden = call.shapes[1][0], call.number("hidden_size", 1)
        return steps * batch * ways * gates * hidden * (width + hidden)

    return count


def _attention(call: _Call) -> int:
    """ai.onnx Attention: query, key, value as (batch, heads, length, width) or (batch, length, heads * width)."""
    query, key, value = call.shapes[:3]
    if len(query) == 4:
        return math.prod(query[:3]) * key[2] * (query[3] + value[3])
    batch, length, width = query
    return batch * length * key[1] * (width + value[2] * width // key[2])


def _einsum(call: _Call) -> int:
    return einsum_macs(str(call.node.attributes["equation"].value), call.shapes)


_COUNTS: dict[str, Callable[[_Call], int]] = {
    **dict.fromkeys(("Conv", "FusedConv", "ConvInteger"), _convolution(1)),
    "QLinearConv": _convolution(3),
    "ConvTranspose": _transposed,
    **dict.fromkeys(
        ("Gemm", "MatMul", "FusedMatMul", "FusedGemm", "QGemm", "MatMulInteger", "QLinearMatMul"), _product
    ),
    **dict.fromkeys(("DynamicQuantizeMatMul", "MatMulIntegerToFloat", "MatMulNBits", "GemmFloat8"), _product),
    "LSTM": _recurrent(4),
    "DynamicQuantizeLSTM": _recurrent(4),
    "GRU": _recurrent(3),
    "RNN": _recurrent(1),
    "Attention": _attention,
    "Einsum": _einsum,
}


def _array(value: ir.Value | None, seen: Mapping[str, _Array]) -> _Array | None:
    if value is None:
        return None
    if value.const_value is not None:
        return value.const_value.numpy()
    return seen.get(value.name or "")
