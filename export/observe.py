"""Every intermediate value of an ONNX graph for given inputs, bodies of loops included. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort

from models.errors import CompressError

_Array = np.ndarray[Any, Any]


def observe(network: ir.Model, feeds: Mapping[str, _Array]) -> dict[str, _Array]:
    """Name -> array of the inputs and of each value that is a tensor; of a body those of its first turn.

    The runtime's optimizations are off, so that every value of the graph as written is there.

    Raises:
        CompressError: the graph does not run on these inputs.
    """
    proto = ir.to_proto(network)
    given = {name: array for name, array in feeds.items()}
    seen = {**given, **_run(proto, proto.graph, given)}
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    _observe_bodies(proto, proto.graph, seen, constants)
    return {name: array for name, array in seen.items() if isinstance(array, np.ndarray)}


def _run(proto: onnx.ModelProto, graph: onnx.GraphProto, feeds: Mapping[str, _Array]) -> dict[str, _Array]:
    shown = onnx.ModelProto()
    shown.CopyFrom(proto)
    shown.graph.CopyFrom(graph)
    del shown.graph.value_info[:]
    outputs = {output.name for output in graph.output}
    names = [name for node in graph.node for name in node.output if name and name not in outputs]
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        session = ort.InferenceSession(shown.SerializeToString(), options, ["CPUExecutionProvider"])
        taken = {value.name for value in session.get_inputs()}
        all_names = [value.name for value in session.get_outputs()]
        arrays = session.run(all_names, {name: array for name, array in feeds.items() if name in taken})
    except Exception as error:
        raise CompressError(f"the graph does not run to show its shapes: {str(error).splitlines()[0]}") from error
    return dict(zip(all_names, arrays, strict=True))


def _observe_bodies(
    proto: onnx.ModelProto, graph: onnx.GraphProto, seen: dict[str, _Array], constants: Mapping[str, onnx.TensorProto]
) -> None:
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                body = onnx.GraphProto()
                body.CopyFrom(attribute.g)
                feeds = _first_turn(node, body, {**_arrays(node, constants), **seen})
                _close(body, seen, constants, feeds)
                try:
                    seen |= {**feeds, **_run(proto, body, feeds)}
                except CompressError:
                    continue  # the branch that is not taken may not run on these values
                inner = {**constants, **{tensor.name: tensor for tensor in body.initializer}}
                _observe_bodies(proto, body, seen, inner)


def _arrays(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> dict[str, _Array]:
    return {name: onnx.numpy_helper.to_array(constants[name]) for name in node.input if name in constants}


def _first_turn(node: onnx.NodeProto, body: onnx.GraphProto, seen: Mapping[str, _Array]) -> dict[str, _Array]:
    """What the body's inputs are when it runs for the first time."""
    facts = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute if a.type != onnx.AttributeProto.GRAPH}
    outer = [seen.get(name) for name in node.input]
    if node.op_type == "Loop":
        outer = [np.asarray(0, np.int64), np.asarray(True), *outer[2:]]
    elif node.op_type == "Scan":
        scanned = facts["num_scan_inputs"]
        axes = facts.get("scan_input_axes", [0] * scanned)
        states, rows = outer[:-scanned], outer[-scanned:]
        outer = states + [None if r is None else r.take(0, axis) for r, axis in zip(rows, axes, strict=True)]
    return {v.name: a for v, a in zip(body.input, outer, strict=False) if a is not None}


def _close(
    body: onnx.GraphProto,
    seen: Mapping[str, _Array],
    constants: Mapping[str, onnx.TensorProto],
    feeds: dict[str, _Array],
) -> None:
    """Make the body a graph of its own: constants from outside become its own, other values from outside its inputs."""
    made = {v.name for v in body.input} | {t.name for t in body.initializer}
    made |= {name for node in body.node for name in node.output}
    for name in sorted(_reads(body) - made):
        if name in constants:
            body.initializer.append(constants[name])
        elif isinstance(seen.get(name), np.ndarray):  # of a list nobody knows the type of what it will hold
            array = seen[name]
            feeds[name] = array
            kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
            body.input.append(onnx.helper.make_tensor_value_info(name, kind, [None] * array.ndim))


def _reads(graph: onnx.GraphProto) -> set[str]:
    names = {name for node in graph.node for name in node.input if name} | {value.name for value in graph.output}
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                inner = attribute.g
                own = {name for n in inner.node for name in n.output} | {v.name for v in inner.input}
                names |= _reads(inner) - own - {t.name for t in inner.initializer}
    return names
