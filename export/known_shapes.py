"""Shapes inside a graph, found anew. Imports no torch.

What a file says of its intermediate values is often stale: a script made the batch free and left them as they were.
Nobody computes by them, but folding would believe them. So they are forgotten, and onnx infers them from the inputs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass, ShapeInferencePass


@contextmanager
def inferred_shapes(network: ir.Model) -> Iterator[None]:
    """Within the block values have the shapes that follow from the inputs; after it the outputs say what they said."""
    InlinePass()(network)
    outputs = [(value, value.shape, value.type) for value in network.graph.outputs]
    inputs = [(value, value.shape, value.type) for value in network.graph.inputs]
    for graph in network.graphs():
        for node in graph:
            for value in node.outputs:
                value.shape = None
                if not value.is_graph_output():
                    value.type = None
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)  # where it gives up nothing is known, and nothing is folded by it
    try:
        ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(network)
    finally:
        logging.disable(disabled)
    names = [value.name for value, _, _ in outputs]
    yield
    said = {name: (shape, type_) for name, (_, shape, type_) in zip(names, outputs, strict=True)}
    for value in network.graph.outputs:
        value.shape, value.type = said[value.name]
    for value, shape, type_ in inputs:
        value.shape, value.type = shape, type_
