"""A weight that two layers share, one of them turned: a table of words, and the products with it that give logits.

It is stored once and turned when the graph is loaded, and an integer kernel takes no computed weight. So the turned one
is written out, for the kernel to take; where none does it is shared again. What a kernel took holds the table too, so
that the words are read from its 8 bits: turned back, and in float, when the graph is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from compress.base import Note
from compress.quantization.onnx_edit import drop_unused, editors
from compress.quantization.onnx_weights import array, is_skipped, is_weight
from compress.quantization.weights_only import STORED, widened

SUFFIX = ".turned"  # of the name of what is written out
Turned = dict[ir.Value, ir.Value]  # the constant written out -> the computed tensor that it stands for


def written_out(network: ir.Model) -> Turned:
    """Edit a graph in place: products with a turned weight have a constant of their own."""
    found: Turned = {}
    edit = editors(network)[network.graph]
    for node in list(network.graph):
        value = node.inputs[1] if node.op_type == "MatMul" and len(node.inputs) > 1 else None
        source = turned_from(value)
        if value is not None and source is not None:
            constant = next((c for c, v in found.items() if v is value), None)
            if constant is None:
                constant = edit.constant(f"{source.name}{SUFFIX}", np.ascontiguousarray(array(source).T))
                found[constant] = value
            node.replace_input_with(1, constant)
    return found


def shared_again(network: ir.Model, turned: Turned) -> dict[str, str]:
    """What no integer kernel took reads the shared weight as before; edits in place.

    Returns:
        The weights whose turned form a kernel took, with the name of that form: one for `read_from_kernel`.
    """
    taken = {}
    for constant, value in turned.items():
        node = value.producer()
        if not constant.uses() and node is not None and node.inputs[0] is not None:
            taken[node.inputs[0].name or ""] = constant.name or ""
        ir.convenience.replace_all_uses_with(constant, value)
        node = value.producer()
        if node is not None and not value.uses() and node.graph is not None:
            node.graph.remove(node, safe=True)
    drop_unused(network)
    return taken


def read_from_kernel(network: ir.Model, taken: Mapping[str, str], skip: Sequence[str] = ()) -> list[Note]:
    """Let who still reads a weight whose turned form is stored in 8 bits read that one; edits in place.

    In front of it stand Cast, Mul and Transpose, which ONNX Runtime folds once at load.

    Returns:
        The layers that do so now.
    """
    constants, edit = network.graph.initializers, editors(network)[network.graph]
    changed = []
    for name, turned in taken.items():
        table, stored, scale = (constants.get(n) for n in (name, f"{turned}_q", f"{turned}_scale"))
        if table is None or stored is None or scale is None or not is_weight(table) or table.dtype is None:
            continue
        readers = [use.node.name or "" for use in table.uses()]
        if table.is_graph_output() or any(is_skipped(reader, skip) for reader in readers):
            continue
        first = next(iter(network.graph))
        real = widened(edit, stored, scale, turned, table.dtype, first)
        back = edit.node("Transpose", [real], {"perm": [1, 0]}, output=f"{name}_dq", before=first)
        ir.convenience.replace_all_uses_with(table, back)
        changed += [Note(reader, STORED) for reader in dict.fromkeys(readers)]
    drop_unused(network)
    return changed


def turned_from(value: ir.Value | None) -> ir.Value | None:
    """The matrix that this is, turned; None for anything else."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type != "Transpose" or node.inputs[0] is None:
        return None
    if "perm" in node.attributes and [*node.attributes["perm"].as_ints()] != [1, 0]:
        return None
    source = node.inputs[0]
    return source if is_weight(source) and array(source).ndim == 2 else None
