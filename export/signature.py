"""What an ONNX graph takes and gives, as specs: names, types, dimensions with their letters. Imports no torch."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from models.errors import ModelFileError
from models.records import Dims, InputSpec, Model, OutputSpec, example, sizes_of


def signature(network: ir.Model, source: str) -> tuple[tuple[InputSpec, ...], tuple[OutputSpec, ...]]:
    """Inputs (without the initializers that old files list among them) and outputs of a graph, in order.

    A dimension's own name stays its letter. Nameless free dimensions get letters: a leading one, which is taken to be
    the batch, that of the first input's leading dimension, and one each for all others. An output without a shape is
    given the one that two runs show.

    Args:
        network: the graph.
        source: the file, for messages.

    Raises:
        ModelFileError: an input or output is no tensor of numbers, or an input has no known rank.
    """
    graph = network.graph
    taken = [value for value in graph.inputs if value.name not in graph.initializers]
    if not taken:
        raise ModelFileError(f"{source!r} takes no input: it computes a constant, and there is nothing to compress.")
    leading = [name for v in taken if v.shape and (name := _name(v.shape[0]))]
    letters = _Letters(_named(taken) | _named(graph.outputs), leading[0] if leading else "")
    inputs = []
    for value in taken:
        dtype = _dtype(value, "input", source)
        if value.shape is None:
            raise ModelFileError(
                f"{source!r}: input {value.name!r} does not say how many dimensions it has. "
                "Export it again with shapes."
            )
        inputs.append(InputSpec(name=value.name or "", dtype=dtype, dims=letters.of(value.shape)))
    dtypes = [_dtype(value, "output", source) for value in graph.outputs]
    if any(value.shape is None for value in graph.outputs):
        _show_shapes(network, inputs, source)
    outputs = [
        OutputSpec(name=value.name or "", dtype=dtype, dims=letters.of(value.shape or ()))
        for value, dtype in zip(graph.outputs, dtypes, strict=True)
    ]
    return tuple(inputs), tuple(outputs)


def numpy_name(dtype: ir.DataType | None) -> str | None:
    """The name numpy has for an ONNX type; None where it has none (strings)."""
    if dtype is None or dtype in (ir.DataType.STRING, ir.DataType.UNDEFINED):
        return None
    return str(dtype.numpy().name)


_FREE = ("none", "unk", "unknown")


class _Letters:
    """Names for nameless dimensions, none of them in use already."""

    def __init__(self, used: set[str], leading: str) -> None:
        self.batch = leading or ("N" if "N" not in used else "batch_")
        self.free = (name for i in range(1, 1 << 30) if (name := f"d{i}") not in used)

    def of(self, shape: Any) -> Dims:
        dims: list[int | str] = []
        for position, dim in enumerate(shape):
            if isinstance(dim, int) and dim > 0:
                dims.append(dim)
            elif name := _name(dim):
                dims.append(name)
            else:  # nameless, or the 0 and -1 that old exporters write for "free"
                dims.append(self.batch if position == 0 else next(self.free))
        return tuple(dims)


def _named(values: Any) -> set[str]:
    return {name for v in values for dim in v.shape or () if (name := _name(dim))}


def _name(dim: Any) -> str:
    """The name of a free dimension; "" for a number and for what says no more than that it is free.

    Some exporters write "?" or "None" for each dimension that they do not know: it is not the same one everywhere.
    """
    name = str(dim.value or "") if isinstance(dim, ir.SymbolicDim) else ""
    return name if name.lower() not in _FREE and any(c.isalpha() for c in name) else ""


def _dtype(value: ir.Value, kind: str, source: str) -> str:
    name = numpy_name(value.dtype) if isinstance(value.type, ir.TensorType) else None
    if name is None:
        raise ModelFileError(
            f"{source!r}: {kind} {value.name!r} is {value.type or 'of no known type'}, and only tensors of numbers "
            "can be compressed. Export the network without its text or dictionary steps."
        )
    return name


def _show_shapes(network: ir.Model, inputs: list[InputSpec], source: str) -> None:
    """Give each output that says no shape the one that two runs of different size show."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # one of them ends the process
    letters = list(sizes_of(Model(network, tuple(inputs))))
    try:
        session = ort.InferenceSession(ir.to_proto(network).SerializeToString(), options, ["CPUExecutionProvider"])
        runs = [session.run(None, example(inputs, dict.fromkeys(letters, size))) for size in (8, 12)]
    except Exception as error:
        raise ModelFileError(
            f"{source!r}: an output says no shape, and a run to find it failed: {str(error).splitlines()[0]}."
        ) from error
    for value, small, large in zip(network.graph.outputs, *runs, strict=True):
        if value.shape is None:
            value.shape = ir.Shape([s if s == b else None for s, b in zip(small.shape, large.shape, strict=True)])
