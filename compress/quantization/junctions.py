"""Which tensors of a graph can be rescaled channel by channel, and by which constants: the places of equalization.

A layer gives the tensor, layers alone read it, and what lies between is positively homogeneous and keeps channels
apart: f(x / s) = f(x) / s for s > 0, as ReLU does, and Clip at 6 does not. A norm could give one too (Xiao et al. 2022,
arXiv:2211.10438): benchmarks/results/corrections.md has what that brought, a median of 0.3 dB.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from compress.quantization.onnx_weights import array, is_weight
from compress.quantization.static_int8 import is_depthwise
from export.reading import attribute, is_, only_reader, other_input

HOMOGENEOUS = frozenset({"Relu", "LeakyRelu", "Identity"})
GLOBAL = frozenset({"GlobalAveragePool", "GlobalMaxPool"})
POOLS = GLOBAL | {"MaxPool", "AveragePool"}


@dataclass(frozen=True)
class Part:
    """A constant, and the axis whose indices are the channels of a junction."""

    value: ir.Value
    axis: int


@dataclass(frozen=True)
class Junction:
    """A tensor whose channels may be divided by any factors.

    Args:
        tensor: the widest of those between its giver and its readers.
        axis: of its channels; -1 where they come last.
        gives: constants to divide, of a layer.
        reads: weights to multiply, of all that read it.
    """

    tensor: ir.Value
    axis: int
    gives: tuple[Part, ...]
    reads: tuple[Part, ...]

    @property
    def channels(self) -> int:
        """How many there are."""
        first = (*self.gives, *self.reads)[0]
        return int(array(first.value).shape[first.axis])

    @property
    def name(self) -> tuple[str, ...]:
        """The names of its constants, by which it is known in all forms."""
        return tuple(part.value.name or "" for part in (*self.gives, *self.reads))


def junctions(graph: ir.Graph) -> list[Junction]:
    """Those of a graph, in its order."""
    return [found for node in graph if (found := _junction(node)) is not None]


def _junction(node: ir.Node) -> Junction | None:
    given = _giver(node)
    if given is None or not given[0]:
        return None
    gives, tensor, axis = given
    last = tensor
    while (passing := _passed(last, axis)) is not None:
        # the widest is the one before a pool, which gives nothing that is larger than what it reads
        if last is tensor and is_(passing, *HOMOGENEOUS):
            tensor = passing.outputs[0]
        last = passing.outputs[0]
    reads = [_reader(use.node, use.idx, axis) for use in last.uses() if use.node.graph is node.graph]
    if last.is_graph_output() or not reads or len(reads) < len(list(last.uses())):
        return None
    known = [part for part in reads if part is not None]
    parts = (*gives, *known)
    sizes = {array(part.value).shape[part.axis] for part in parts}
    alone = all(len(list(part.value.uses())) == 1 for part in parts)
    return (
        Junction(tensor, axis, gives, tuple(known)) if len(known) == len(reads) and alone and len(sizes) == 1 else None
    )


def _giver(node: ir.Node) -> tuple[tuple[Part, ...], ir.Value, int] | None:
    """Constants that scale what a node gives, channel by channel; that tensor, past its bias; and its axis."""
    result = node.outputs[0]
    if is_(node, "Conv"):
        return _parts((node.inputs[1], 0), (_bias(node), 0)), result, 1
    if is_(node, "Gemm"):
        return _parts((node.inputs[1], 0 if attribute(node, "transB", 0) else 1), (_bias(node), 0)), result, -1
    if is_(node, "MatMul") and (weight := node.inputs[1]) is not None and len(weight.shape or ()) == 2:
        bias, result = _added(result)
        return _parts((node.inputs[1], 1), (bias, 0)), result, -1
    return None


def _bias(node: ir.Node) -> ir.Value | None:
    return node.inputs[2] if len(node.inputs) > 2 else None


def _added(result: ir.Value) -> tuple[ir.Value | None, ir.Value]:
    """The vector that is added to a tensor, and the sum; None and the tensor itself where there is no such."""
    add = only_reader(result)
    bias = other_input(add, result) if add is not None and is_(add, "Add") else None
    if add is None or bias is None or not is_weight(bias) or array(bias).ndim != 1:
        return None, result
    return bias, add.outputs[0]


def _parts(weight: tuple[ir.Value | None, int], bias: tuple[ir.Value | None, int]) -> tuple[Part, ...]:
    """Both, or the weight alone where there is no bias; () where one is no constant, or the bias no vector."""
    (value, axis), (added, of_bias) = weight, bias
    if value is None or not is_weight(value):
        return ()
    if added is None:
        return (Part(value, axis),)
    fits = is_weight(added) and array(added).ndim == 1
    return (Part(value, axis), Part(added, of_bias)) if fits else ()


def _passed(value: ir.Value, axis: int) -> ir.Node | None:
    """The node through which a scale passes as it is, where that alone reads the tensor."""
    node = only_reader(value)
    if node is None or node.inputs[0] is not value or len(node.outputs) > 1:
        return None
    if is_(node, *HOMOGENEOUS) or (axis == 1 and (is_(node, *POOLS) or _flattens(node))):
        return node
    return None


def _flattens(node: ir.Node) -> bool:
    """Whether it makes a row of what a global pool left of each channel; no other row fits a reader of as many."""
    source = node.inputs[0].producer() if node.inputs[0] is not None else None
    return is_(node, "Reshape", "Flatten", "Squeeze") and is_(source, *GLOBAL)


def _reader(node: ir.Node, position: int, axis: int) -> Part | None:
    """The weight that is multiplied with the channels of a tensor, where nothing else happens to them."""
    weight = node.inputs[1] if len(node.inputs) > 1 else None
    if position != 0 or weight is None or not is_weight(weight):
        return None
    if is_(node, "Conv") and axis == 1:
        if is_depthwise(node, array(weight)):
            return Part(weight, 0)
        return Part(weight, 1) if attribute(node, "group", 1) == 1 else None
    if is_(node, "Gemm") and not attribute(node, "transA", 0):
        return Part(weight, 1 if attribute(node, "transB", 0) else 0)
    return Part(weight, 0) if is_(node, "MatMul") and axis == -1 and array(weight).ndim == 2 else None
