"""A constant of one's own making, stored in the graph that reads it. Imports no torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir


def stored(graph: ir.Graph | ir.Function | None, name: str, numbers: np.ndarray[Any, Any]) -> ir.Value:
    """The value that holds these numbers; the name is one that the graph has not given yet."""
    assert isinstance(graph, ir.Graph)
    made = ir.val(name, const_value=ir.tensor(numbers, name=name))
    graph.register_initializer(made)
    return made
