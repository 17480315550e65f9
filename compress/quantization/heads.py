"""The last layers of a detector, whose results of several kinds meet in one tensor: boxes beside scores. By topology.

Eight bits over a box of 640 pixels are steps of 2.5, and a score of 0 to 1 beside it would be nothing. Where the ranges
meet no layer rounds any more, but what goes into the meeting was rounded by the layer before, and exponentials and
strides then multiply the error. So these layers stay in float; how a tool named them does not matter.
"""

from __future__ import annotations

import onnx_ir as ir

from compress.quantization.onnx_weights import weights_of

MIXED = "its results of several kinds meet in one output, as boxes beside scores do; eight bits would coarsen them"
# operators that put tensors of several kinds into one
_MEETINGS = {"Concat": None, "ScatterND": (0, 2), "ScatterElements": (0, 2)}
# operators that leave the numbers as they are
_MOVING = frozenset(
    "Reshape Flatten Transpose Squeeze Unsqueeze Slice Split Gather Identity Expand Cast DequantizeLinear "
    "QuantizeLinear Concat Pad Tile".split()
)


def mixed_heads(graph: ir.Graph) -> frozenset[ir.Node]:
    """The layers behind which no other lies, and whose results meet what was computed in another way.

    Two results are of one kind where the same operators have worked on them since their layers: a softmax on one and
    an exponential on the other make two.
    """
    found: set[ir.Node] = set()
    memory: dict[ir.Value, tuple[frozenset[ir.Node], frozenset[str]]] = {}
    for node in graph:
        if node.op_type not in _MEETINGS or node.domain not in ("", "ai.onnx") or _goes_on(node):
            continue
        places = _MEETINGS[node.op_type]
        values = [node.inputs[i] for i in places if i < len(node.inputs)] if places else node.inputs
        sources = [_since_layers(value, memory) for value in values if value is not None]
        kinds = {operators for layers, operators in sources if layers}
        if len(kinds) > 1:
            found.update(layer for layers, _ in sources for layer in layers)
    return frozenset(found)


def _goes_on(node: ir.Node) -> bool:
    """Whether a layer with weights lies behind a node."""
    seen: set[ir.Node] = set()
    waiting = [node]
    while waiting:
        here = waiting.pop()
        for value in here.outputs:
            for user in value.consumers():
                if user in seen:
                    continue
                seen.add(user)
                if weights_of(user) or any(a.type == ir.AttributeType.GRAPH for a in user.attributes.values()):
                    return True
                waiting.append(user)
    return False


def _since_layers(
    value: ir.Value, memory: dict[ir.Value, tuple[frozenset[ir.Node], frozenset[str]]]
) -> tuple[frozenset[ir.Node], frozenset[str]]:
    """The nearest layers that a tensor comes from, and the operators that have changed its numbers since."""
    waiting = [value]
    while waiting:
        here = waiting[-1]
        node = here.producer()
        if here in memory:
            waiting.pop()
        elif node is None:
            memory[here] = (frozenset(), frozenset())
        elif weights_of(node):
            memory[here] = (frozenset({node}), frozenset())
        elif missing := [v for v in node.inputs if v is not None and v not in memory]:
            waiting.extend(missing)
        else:
            parts = [memory[v] for v in node.inputs if v is not None]
            layers = frozenset().union(*(part[0] for part in parts))
            own = frozenset() if node.op_type in _MOVING else frozenset({node.op_type})
            memory[here] = (layers, own.union(*(part[1] for part in parts)) if layers else frozenset())
    return memory[value]
