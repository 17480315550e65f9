"""Weights that lie in files of their own beside an ONNX file. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import onnx

from models.errors import ModelFileError


def check_external(proto: onnx.ModelProto, path: Path) -> None:
    """See that every file that a graph keeps weights in is there, whole, and beside it.

    Raises:
        ModelFileError: naming the file, and what is wrong with it.
    """
    folder = os.path.abspath(path.parent)
    needed: dict[str, int] = {}
    for tensor in tensors_of(proto):
        facts = {entry.key: entry.value for entry in tensor.external_data}
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            end = int(facts.get("offset", 0)) + int(facts.get("length", 0))
            name = facts.get("location", "")
            needed[name] = max(needed.get(name, 0), end)
    for name, size in needed.items():
        file = Path(os.path.normpath(os.path.join(folder, name)))  # as named: caches of models are made of links
        keeps = f"{str(path)!r} keeps its weights in {name!r}"
        if not file.is_relative_to(folder):
            raise ModelFileError(f"{keeps}, outside its own folder; nothing is read there. Put both into one folder.")
        if not file.is_file():
            raise ModelFileError(f"{keeps}, which does not lie beside it. Copy both files together.")
        if file.stat().st_size < size:
            raise ModelFileError(
                f"{keeps}, which is cut off: it has {file.stat().st_size:,} bytes and needs {size:,}. Copy it again."
            )


def tensors_of(proto: onnx.ModelProto) -> list[onnx.TensorProto]:
    """All constants of a file: initializers and attributes, in bodies and functions too."""
    found: list[onnx.TensorProto] = []
    for graph in graphs_of(proto):
        if isinstance(graph, onnx.GraphProto):
            found.extend(graph.initializer)
        found.extend(a.t for node in graph.node for a in node.attribute if a.HasField("t"))
    return found


def graphs_of(proto: onnx.ModelProto) -> Iterator[onnx.GraphProto | onnx.FunctionProto]:
    """The graph of a file, its functions, and all bodies inside them."""
    left: list[onnx.GraphProto | onnx.FunctionProto] = [*reversed(proto.functions), proto.graph]
    while left:
        graph = left.pop()
        yield graph
        for attribute in (a for node in graph.node for a in node.attribute):
            left += [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]
