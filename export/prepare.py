"""What every ONNX graph goes through before it is measured or quantized: folded, cleaned, named. Imports no torch.

Constant folding and clean-up are onnxscript's, batch norms are folded here (see `fold_batchnorm.py`). The graph keeps
the names, order, types and dimensions of its inputs and outputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import onnx_ir as ir
from onnx_ir.passes.common import (
    ClearMetadataAndDocStringPass,
    CommonSubexpressionEliminationPass,
    InlinePass,
    LiftConstantsToInitializersPass,
    LiftSubgraphInitializersToMainGraphPass,
    NameFixPass,
    OutputFixPass,
    RemoveInitializersFromInputsPass,
    RemoveUnusedFunctionsPass,
    RemoveUnusedNodesPass,
    RemoveUnusedOpsetsPass,
)
from onnxscript import optimizer, rewriter

from export.activations import resolve_types, spell_activations
from export.draws import DRAW
from export.einsum_products import einsums_as_products
from export.fold_batchnorm import fold_batch_norms
from export.gelu import spell_gelus
from export.gemm import merge_biases
from export.identities import remove_identities
from export.node_names import kept_names
from export.norms import spell_norms
from export.onnx_repair import unused
from export.pooling import pool_globally
from export.reading import opset_of
from export.rewrites import rules_for

_APART = 4  # the first IR whose initializers need not be inputs
_SMALL = 64  # elements; a constant as small may be stored twice
_FEW = 4096  # elements; a constant that is made larger than this stays computed
_GROWS = ("Expand", "Tile", "ConstantOfShape", "Range", "Resize", "Pad", "OneHot", "EyeLike", "DequantizeLinear")


def prepare(network: ir.Model, *, rewrites: bool = True) -> None:
    """Fold and clean a graph in place.

    Constants are computed once, wherever that does not make the file larger; batch norms go into the layers before
    them; Identity and Dropout go; equal small constants are stored once; initializers are no longer listed as inputs.

    Args:
        network: edited.
        rewrites: simplify by onnxscript's rules too, those that are right in the graph's opset.
    """
    InlinePass()(network)
    with _passed_through(network):
        RemoveInitializersFromInputsPass()(network)
        network.ir_version = max(network.ir_version, _APART)
        LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(network)
        _remove_dropouts(network)
        remove_identities(network)
        _fold_constants(network)
        LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(network)
        einsums_as_products(network)
        merge_biases(network)
        fold_batch_norms(network)
        _without_ones(network)
        pool_globally(network)
        if rewrites:
            resolve_types(network)
            with kept_names(network):
                rewriter.rewrite(network, rules_for(opset_of(network)))
        _fold_constants(network)
        LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(network)
        if rewrites:
            spell_gelus(network)
            spell_norms(network)
            spell_activations(network)
            LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(network)
        LiftSubgraphInitializersToMainGraphPass()(network)
        _store_once(network)
        CommonSubexpressionEliminationPass()(network)
        OutputFixPass()(network)
        NameFixPass()(network)
        _name_bodies(network)
        _sink_constants(network)
    RemoveUnusedNodesPass()(network)
    RemoveUnusedFunctionsPass()(network)
    RemoveUnusedOpsetsPass()(network)


@contextmanager
def _passed_through(network: ir.Model) -> Iterator[None]:
    """Set aside the outputs that are inputs as they came: a pass would give the input another name."""
    outputs = network.graph.outputs
    aside = [(place, value) for place, value in enumerate(outputs) if value in network.graph.inputs]
    for place, _ in reversed(aside):
        outputs.pop(place)
    yield
    for place, value in aside:
        outputs.insert(place, value)


def _without_ones(network: ir.Model) -> None:
    """Dilations of one are what a pool has without; the runtime's integer one does not know the word."""
    for node in network.graph.all_nodes():
        said = node.attributes.get("dilations") if node.op_type == "AveragePool" else None
        if said is not None and all(each == 1 for each in said.as_ints()):
            node.attributes.pop("dilations")


def _fold_constants(network: ir.Model) -> None:
    limit = 1 << 62  # of any size: `should_fold` decides
    optimizer.fold_constants_ir(network, should_fold=should_fold, input_size_limit=limit, output_size_limit=limit)
    if opset_of(network) < 18:  # it makes a Split of a sequence, and writes it as opset 18 has it
        for node in network.graph.all_nodes():
            if node.op_type == "Split" and node.domain in ("", "ai.onnx"):
                node.attributes.pop("num_outputs", None)


def strip(network: ir.Model) -> None:
    """Remove, in place, what no runtime needs: traces, documentation, shapes of intermediate values."""
    ClearMetadataAndDocStringPass()(network)
    network.metadata_props.clear()
    for graph in network.graphs():
        kept = {id(value) for value in (*graph.inputs, *graph.outputs, *graph.initializers.values())}
        for value in (*graph.inputs, *graph.outputs, *graph.initializers.values()):
            value.metadata_props.clear()
        for node in graph:
            for value in node.outputs:
                value.metadata_props.clear()
                if id(value) not in kept:
                    value.shape = value.type = None


def name_nodes(network: ir.Model) -> None:
    """Give a name to every node that has none, and make all of them different: `Conv`, `Conv_1`."""
    taken = {node.name for node in network.graph.all_nodes() if node.name}
    seen: set[str] = set()
    for node in network.graph.all_nodes():
        if not node.name or node.name in seen:
            node.name = unused(node.name or node.op_type, taken)
            taken.add(node.name)
        seen.add(node.name)


def _name_bodies(network: ir.Model) -> None:
    """Give what bodies compute names that nothing else has: two branches of an If may use the same ones."""
    taken: set[str] = set()
    for graph in network.graphs():
        outer = graph is network.graph
        for value in (*graph.inputs, *graph.initializers.values(), *(v for node in graph for v in node.outputs)):
            if value.name and value.name in taken and not outer and not value.is_initializer():
                value.name = unused(value.name, taken)
            taken.add(value.name or "")


def _sink_constants(network: ir.Model) -> None:
    """Move what one body alone reads into it: what comes from outside is handed over anew at each call, 0.1 us each."""
    for name, value in list(network.graph.initializers.items()):
        readers = {use.node.graph for use in value.uses()}
        body = readers.pop() if len(readers) == 1 else None
        if not isinstance(body, ir.Graph) or body is network.graph or value.is_graph_output() or value.is_graph_input():
            continue
        del network.graph.initializers[name]
        body.register_initializer(value)


def _store_once(network: ir.Model) -> None:
    """Make equal small constants one, but no weights: two layers that happen to hold the same numbers stay two."""
    graph = network.graph
    kept: dict[tuple[object, ...], ir.Value] = {}
    outputs = {id(value) for value in graph.outputs}
    for name, value in list(graph.initializers.items()):
        tensor = value.const_value
        if tensor is None or tensor.size > _SMALL or "." in name or id(value) in outputs or value.is_graph_input():
            continue
        if tensor.dtype == ir.DataType.STRING:
            continue
        first = kept.setdefault((tensor.dtype, tuple(tensor.shape), tensor.tobytes()), value)
        if first is not value:
            ir.convenience.replace_all_uses_with(value, first)
            del graph.initializers[name]


def should_fold(node: ir.Node) -> bool | None:
    """What would make the file larger is left to the runtime, which folds it when it loads."""
    if node.op_type in _GROWS:
        return False if node.op_type == "DequantizeLinear" else _outputs_small(node)
    shared = [v for v in node.inputs if v is not None and v.is_initializer() and len(v.uses()) > 1]
    large = [v for v in shared if v.const_value is not None and v.const_value.size > _SMALL]
    return None if all(_vanishes(value) for value in large) else False


def _vanishes(value: ir.Value) -> bool:
    """Whether all that reads a constant can be computed at once, as a weight norm from its direction."""
    return all(_is_constant(given) for node in value.consumers() for given in node.inputs if given is not None)


def _is_constant(value: ir.Value, depth: int = 8) -> bool:
    node = value.producer()
    if node is None:
        return value.is_initializer() and not value.is_graph_input()
    if not depth or node.op_type in DRAW or any(a.type is ir.AttributeType.GRAPH for a in node.attributes.values()):
        return False
    return all(_is_constant(given, depth - 1) for given in node.inputs if given is not None)


def _outputs_small(node: ir.Node) -> bool | None:
    shapes = [value.shape for value in node.outputs]
    place = {"Expand": 1, "ConstantOfShape": 0}.get(node.op_type)  # of the shape that is asked for
    asked = None if place is None else node.inputs[place]
    target = None if asked is None else asked.const_value
    if target is not None:  # ConstantOfShape is not folded where nobody says so
        return (True if place == 0 else None) if target.numpy().prod() <= _FEW else False
    if any(shape is None or not all(isinstance(d, int) for d in shape) for shape in shapes):
        return False
    return None if all(math.prod(shape.numpy()) <= _FEW for shape in shapes if shape is not None) else False


def _remove_dropouts(network: ir.Model) -> None:
    """Out of training a Dropout gives what it got; its mask, where somebody asks for it, keeps it."""
    for node in list(network.graph.all_nodes()):
        training = node.inputs[2] if len(node.inputs) > 2 else None
        wanted = any(o.uses() or o.is_graph_output() for o in node.outputs[1:])
        if node.op_type != "Dropout" or wanted or node.inputs[0] is None or node.graph is None:
            continue
        if training is not None and (training.const_value is None or bool(training.const_value.numpy())):
            continue
        identity = ir.node("Identity", [node.inputs[0]], name=node.name)
        identity.outputs[0].name = node.outputs[0].name
        ir.convenience.replace_nodes_and_values(
            node.graph, node, [node], [identity], [node.outputs[0]], [identity.outputs[0]]
        )
