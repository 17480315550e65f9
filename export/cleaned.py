"""A graph tidied for reading: constants computed and stored as such, functions inlined, batch norms still in it."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import (
    IdentityEliminationPass,
    InlinePass,
    LiftConstantsToInitializersPass,
    RemoveInitializersFromInputsPass,
    RemoveUnusedNodesPass,
)
from onnxscript import optimizer

from export.prepare import name_nodes, should_fold


def cleaned(network: ir.Model) -> ir.Model:
    """A copy with constants folded and functions inlined, and its batch norms still in it."""
    made = network.clone()
    InlinePass()(made)
    RemoveInitializersFromInputsPass()(made)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(made)
    name_nodes(made)
    optimizer.fold_constants_ir(made, input_size_limit=1 << 62, output_size_limit=1 << 62, should_fold=should_fold)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(made)
    IdentityEliminationPass()(made)
    RemoveUnusedNodesPass()(made)
    name_nodes(made)
    return made
