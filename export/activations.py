"""Activations written out by simpler operators become the one operator that the runtime has for them. No torch.

Clip(x + 3, 0, 6) / 6 is HardSigmoid, alone or as a factor (a hard swish); x / (1 + |x|) is Softsign; torch's softplus,
x where x > 20 and else log(1 + exp x), is Softplus, for above 20 the two are the same number of float32.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from export.reading import Spelling, factor, is_, is_number, made_by, number, only_reader, other_input

_SAME = 17.0  # from here on log(1 + exp x) is x in float32: exp -17 is less than half the step of 17
_KERNELS = (ir.DataType.FLOAT, ir.DataType.FLOAT16)  # the runtime computes no HardSigmoid or Softsign in double

_KEEP_TYPE = tuple(
    "Add Sub Mul Div Gemm MatMul Conv Reshape Transpose Relu Softplus InstanceNormalization LayerNormalization".split()
)


def spell_activations(network: ir.Model) -> int:
    """Write, in place, the activations above by their own operator; how many there were."""
    ways = {"Clip": _hard_sigmoid, "Abs": _softsign, "Softplus": _softplus}
    nodes = [node for node in network.graph.all_nodes() if is_(node, *ways)]
    return sum(ways[node.op_type](node) for node in nodes if node.graph is not None)


def resolve_types(network: ir.Model) -> int:
    """Write, in place, each CastLike of a known type as a Cast, which can be folded; how many there were."""
    found = 0
    for node in [node for node in network.graph.all_nodes() if is_(node, "CastLike")]:
        dtype = _type_of(node.inputs[1])
        if dtype is None or dtype in (ir.DataType.UNDEFINED, ir.DataType.STRING):
            continue
        node.op_type = "Cast"
        node.resize_inputs(1)
        node.attributes.clear()
        node.attributes["to"] = ir.AttrInt64("to", int(dtype))
        found += 1
    return found


def _type_of(value: ir.Value | None, depth: int = 8) -> ir.DataType | None:
    """The type of a value, or that of what it is computed from by operators that keep it."""
    if value is None or value.dtype is not None or depth == 0:
        return None if value is None else value.dtype
    node = made_by(value, *_KEEP_TYPE)
    return None if node is None else _type_of(node.inputs[0], depth - 1)


def _hard_sigmoid(clip: ir.Node) -> bool:
    added, clipped = made_by(clip.inputs[0], "Add"), clip.outputs[0]
    three = next((v for v in added.inputs if is_number(v, 3.0, 0.0)), None) if added is not None else None
    if added is None or three is None or three.dtype not in _KERNELS or _bounds(clip) != (0.0, 6.0):
        return False
    x, last = other_input(added, three), only_reader(clipped)
    if x is None or last is None:
        return False
    value, other = clipped, None
    if is_(last, "Mul") and number(other_input(last, value)) is None:
        value, other, last = last.outputs[0], other_input(last, value), only_reader(last.outputs[0])
        if other is None:
            return False
    sixth = factor(last.outputs[0], value) if last is not None else None
    if last is None or sixth is None or abs(6 * sixth - 1) > 1e-4:
        return False
    spelling = Spelling(last, three.dtype)
    gate = spelling.write("HardSigmoid", x, attributes={"alpha": 1 / 6, "beta": 0.5})
    spelling.done(gate if other is None else spelling.write("Mul", other, gate))
    return True


def _bounds(clip: ir.Node) -> tuple[float, float]:
    """Attributes before opset 11, inputs since; NaN where they are computed."""
    inputs = [*clip.inputs[1:], None, None][:2]
    found = [
        number(v) if v is not None else clip.attributes.get_float(n)
        for v, n in zip(inputs, ("min", "max"), strict=True)
    ]
    low, high = (math.nan if v is None else v for v in found)
    return low, high


def _softsign(size: ir.Node) -> bool:
    added, x = only_reader(size.outputs[0]), size.inputs[0]
    one = other_input(added, size.outputs[0]) if added is not None and is_(added, "Add") else None
    if added is None or x is None or one is None or one.dtype not in _KERNELS or not is_number(one, 1.0, 0.0):
        return False
    last = only_reader(added.outputs[0])
    if last is None or not is_(last, "Div") or last.inputs[0] is not x:
        return False
    spelling = Spelling(last, one.dtype)
    spelling.done(spelling.write("Softsign", x))
    return True


def _softplus(soft: ir.Node) -> bool:
    x, value = soft.inputs[0], soft.outputs[0]
    last = only_reader(value)
    while last is not None and factor(last.outputs[0], value) == 1.0:  # torch divides by beta
        value = last.outputs[0]
        last = only_reader(value)
    if x is None or last is None or not is_(last, "Where") or last.inputs[1] is not x or last.inputs[2] is not value:
        return False
    above = made_by(last.inputs[0], "Greater")
    limit = number(above.inputs[1]) if above is not None and factor(above.inputs[0], x) == 1.0 else None
    if limit is None or limit < _SAME or above is None or above.inputs[1] is None or above.inputs[1].dtype is None:
        return False
    if above.inputs[1].dtype != ir.DataType.FLOAT:
        return False
    spelling = Spelling(last, above.inputs[1].dtype)
    spelling.done(spelling.write("Softplus", x))
    return True
