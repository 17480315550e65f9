"""A model that gives further tensors of its graph, to look at them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from models.records import Model, OutputSpec


def watched(model: Model, names: Sequence[str]) -> Model:
    """The model with further tensors of its main graph among its outputs."""
    network = model.onnx.clone()
    values = {value.name: value for node in network.graph for value in node.outputs}
    given = {value.name for value in network.graph.outputs}
    extra = [name for name in dict.fromkeys(names) if name in values and name not in given]
    network.graph.outputs.extend(values[name] for name in extra)
    specs = tuple(OutputSpec(name=name, dtype="float32", dims=()) for name in extra)
    return replace(model, network=network, outputs=(*model.outputs, *specs), forms={}, sample=None)
