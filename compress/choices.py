"""Which outputs decide: the largest of their numbers is what somebody acts on, so that a flip of it is a loss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from models.records import Model, OutputSpec

_ALONG = ("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze")  # the numbers stay what they are
_SCALED = ("Add", "Div", "Mul", "Sub")
_CHANCES = ("Softmax", "LogSoftmax")
_VECTORS = ("LayerNormalization", "LpNormalization", "Relu", "SimplifiedLayerNormalization", "Tanh")


def decides(spec: OutputSpec, model: Model) -> bool:
    """Whether an output is a choice among its last dimension.

    Where there are class names, an output with one number for each of them is one, and no other. Without them: floats
    of shape (N, C), unless they are an input drawn again, or end in a norm or an activation, as features do; and
    (N, T, C) only where C is the number of words that an input tells apart, or a softmax gives them: other vectors of
    that shape are hidden ones, whose largest element means nothing.
    """
    width = spec.dims[-1] if len(spec.dims) > 1 else None
    if not _is_float(spec) or not isinstance(width, int):
        return False
    if model.labels and any(len(model.labels) in o.dims[-1:] for o in model.outputs if _is_float(o)):
        return width == len(model.labels)
    if width < 2 or spec.own_width or spec.name in states(model):
        return False
    if any(spec.dims[1:] == given.dims[1:] for given in model.inputs):
        return False
    if len(spec.dims) == 2:
        return not _is_vector(spec, model)
    return len(spec.dims) == 3 and (width in vocabularies(model) or _made_by(spec, model, _CHANCES))


def states(model: Model) -> frozenset[str]:
    """The outputs that are the next step's states."""
    return frozenset(spec.state_of for spec in model.inputs if spec.state_of)


def vocabularies(model: Model) -> frozenset[int]:
    """How many words the inputs tell apart: as they say, or by the tables of vectors that they look up in.

    As many as the elements of a table's vectors are left out, since hidden vectors are as wide.
    """
    tables = list(_onnx_tables(model) if model.is_onnx else _torch_tables(model))
    words = {rows for rows, _ in tables} | {spec.high for spec in model.inputs if spec.high is not None}
    return frozenset(words - {width for _, width in tables})


def _onnx_tables(model: Model) -> Iterator[tuple[int, int]]:
    """Sizes of the constants that an input of the graph picks rows of."""
    for node in model.onnx.graph:
        if node.op_type != "Gather" or len(node.inputs) != 2:
            continue
        table, index = node.inputs[0], _source(node.inputs[1])
        const = None if table is None else table.const_value
        if const is not None and len(const.shape) == 2 and index is not None and index.is_graph_input():
            rows, width = const.numpy().shape
            yield rows, width


def _torch_tables(model: Model) -> Iterator[tuple[int, int]]:
    module: Any
    for module in model.module.modules():
        if hasattr(module, "num_embeddings") and hasattr(module, "embedding_dim"):
            yield int(module.num_embeddings), int(module.embedding_dim)


def _is_vector(spec: OutputSpec, model: Model) -> bool:
    """Whether what ends in this output is the features of something: an activation, a norm, a division by one."""
    node = _maker(spec, model)
    while node is not None and node.op_type in _SCALED and (inner := _beside_a_constant(node)) is not None:
        source = _source(inner)
        node = None if source is None else source.producer()
    if node is not None and node.op_type in _VECTORS:
        return True
    if node is None or node.op_type != "Div":
        return False
    above, below = node.inputs[0].producer(), node.inputs[1].producer()
    return below is not None and below.op_type != "Constant" and not (above is not None and above.op_type == "Exp")


def _beside_a_constant(node: Any) -> Any:
    """What a constant is added to, or multiplied with; None where neither side is one, or both are."""
    values = [value for value in node.inputs if value is not None and value.const_value is None]
    return values[0] if len(node.inputs) == 2 and len(values) == 1 else None


def _made_by(spec: OutputSpec, model: Model, kinds: tuple[str, ...]) -> bool:
    node = _maker(spec, model)
    return node is not None and node.op_type in kinds


def _maker(spec: OutputSpec, model: Model) -> Any:
    """The node that an output's numbers come from; None where that is not known, as of a torch network."""
    if not model.is_onnx:
        return None
    given = next((value for value in model.onnx.graph.outputs if value.name == spec.name), None)
    found = _source(given)
    return None if found is None else found.producer()


def _source(value: Any) -> Any:
    """Where numbers come from, through what hands them on."""
    while value is not None and (node := value.producer()) is not None and node.op_type in _ALONG:
        value = node.inputs[0]
    return value


def _is_float(spec: OutputSpec) -> bool:
    return "float" in spec.dtype
