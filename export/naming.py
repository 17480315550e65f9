"""Names in an exported graph: layers as the user named them, all else short. Imports no torch.

A node is `LAYER/Operator`, where LAYER is the fully qualified name of the module in the user's network
(`features.3/Conv`, `fc/MatMul`, `fc/Add`); what belongs to no module is named by its operator alone (`Relu`, `Add_2`).
A second one of the same name gets a number. Weights keep the name they have in the state_dict (`features.3.weight`),
also when they are stored transposed; other constants are `c0`, `c1`, ..., intermediate values `v0`, `v1`, ...
"""

from __future__ import annotations

import json
import re

import onnx_ir as ir

_SCOPES = "pkg.torch.onnx.name_scopes"
_RECURRENT = ("LSTM", "GRU", "RNN")
_THEIR_WEIGHTS = {1: "W", 2: "R", 3: "B", 7: "P"}  # input -> its name in ONNX
_RESHAPING = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Cast", "Flatten")


def layer_of(node: ir.Node | str, op_type: str = "") -> str:
    """The user's layer that a node belongs to; the node's own name where it belongs to none.

    >>> layer_of("features.3/Conv"), layer_of("Relu_1"), layer_of("/layer1/conv1/Conv")
    ('features.3', 'Relu_1', '/layer1/conv1')
    """
    name = node if isinstance(node, str) else node.name or node.op_type
    layer, slash, operator = name.rpartition("/")
    return layer if slash and layer and re.fullmatch(r"[A-Z]\w*", operator) else name


def keep_weight_names(network: ir.Model) -> None:
    """What a weight becomes by being turned or reshaped keeps its name; the original steps aside, to be folded away.

    So does what is computed under the name of a weight: the exporter calls a value by its operation, `expand`, and a
    parameter may be called so too.
    """
    for node in network.graph.all_nodes():
        for value in node.outputs:
            if value.name in network.graph.initializers:
                value.name = f"{value.name}.computed"
    for node in network.graph.all_nodes():
        source = node.inputs[0] if node.inputs else None
        if node.op_type in _RESHAPING and source is not None and source.is_initializer() and len(source.uses()) == 1:
            name = source.name
            source.name = f"{name}.stored"
            node.outputs[0].name = name


def name_by_layer(network: ir.Model) -> None:
    """Name nodes by the modules that the exporter noted for them, and the weights of recurrent ones with them."""
    named: dict[str, int] = {}
    for node in network.graph.all_nodes():
        layer = _module(node)
        name = f"{layer}/{node.op_type}" if layer else node.op_type
        count = named.get(name, 0)
        named[name] = count + 1
        node.name = f"{name}_{count}" if count else name
        for place, value in enumerate(node.inputs if layer and node.op_type in _RECURRENT else ()):
            if value is not None and (letter := _THEIR_WEIGHTS.get(place)):
                value.name = f"{layer}.{letter}" + (f"_{count}" if count else "")


def shorten_names(network: ir.Model) -> None:
    """Intermediate values become `v0`, `v1`, ...; constants that are no weights `c0`, ...; inputs and outputs stay."""
    graph = network.graph
    kept = {value.name for value in (*graph.inputs, *graph.outputs)}
    taken = kept | set(graph.initializers)
    constants, values = (_unused(letter, taken) for letter in "cv")
    for value in list(graph.initializers.values()):
        if "." not in (value.name or "") and value.name not in kept:
            value.name = next(constants)
    for inner in network.graphs():
        for node in inner:
            for value in node.outputs:
                if value.name not in kept and value.name:
                    value.name = next(values)


def _unused(letter: str, taken: set[str | None]):  # type: ignore[no-untyped-def]
    return (name for i in range(1 << 30) if (name := f"{letter}{i}") not in taken)


def _module(node: ir.Node) -> str:
    """The innermost module around a node, from the exporter's list: the modules outermost first, then the operation."""
    text = node.metadata_props.get(_SCOPES)
    scopes = json.loads(text.replace("'", '"')) if text else []
    layer = scopes[-2] if len(scopes) > 1 else ""
    return "" if layer.startswith("_empty") else layer
