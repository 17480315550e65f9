"""An operation that passes do not know becomes those that they know, where torch itself says how.

Torch has many names for one thing (`clip` and `clamp`, `greater` and `gt`, `view_as` and `view`), and many operations
that are made of others. A traced program keeps them all; the lifted graph has rules for the plain ones.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from export.emit import is_known
from export.program import quiet

_DEEPEST = 4  # operations made of operations made of operations: no more were seen


def in_known_operations(program: ExportedProgram) -> ExportedProgram:
    """The same program without unknown operations that torch can write with others; what is left stays unknown."""
    for _ in range(_DEEPEST):
        unknown = {
            node.target
            for node in program.graph.nodes
            if node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload) and not is_known(node)
        }
        if not unknown:
            break
        written: Any = torch.export.default_decompositions()
        # views are left out of torch's own list, but tell all the same how they are made
        views = {target: target.decompose for target in unknown if target not in written and target._can_decompose()}
        table = {target: written[target] for target in unknown if target in written} | views
        made = _written(program, table)
        if _has_effects(made):  # a check at run time, as torch has it in an inverse, is no part of what is computed
            table = {target: how for target, how in table.items() if not _has_effects(_written(program, {target: how}))}
            made = _written(program, table)
        if made is program:
            break
        program = made
    return program


def _written(program: ExportedProgram, table: dict[Any, Any]) -> ExportedProgram:
    with quiet():
        return program.run_decompositions(table) if table else program


def _has_effects(program: ExportedProgram) -> bool:
    return any(spec.kind is InputKind.TOKEN for spec in program.graph_signature.input_specs)
