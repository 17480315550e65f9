"""A batch that a file fixes, mostly to 1, made free where the network treats each row by itself.

Files made for a device often fix it, and nothing can be trained in batches of one. Whether the rows stay apart is not
read from the graph but seen: two batches at once must give what each gives alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from export.batch_axis import Axes, batch_axes, numbers
from export.cleaned import cleaned
from export.constants import stored
from export.reading import is_, numbers_of
from export.session import runner_for
from export.stepped import fixed_rows
from models.records import InputSpec, Model, OutputSpec, example, sizes_of

Array = np.ndarray[Any, Any]
Spec = TypeVar("Spec", InputSpec, OutputSpec)


def free_batch(model: Model) -> Model:
    """The model with a letter where all its inputs and outputs fix the same number of rows; itself where it cannot be.

    Shapes that a Reshape holds as constants, and zeros that a recurrent layer begins with, are written so that they
    hold for any number of rows. Streaming models and those of several forms stay as they are.
    """
    rows = _fixed_rows(model)
    if rows is None:
        return model
    taken = {d for specs in (model.inputs, model.outputs) for spec in specs for d in spec.dims}
    letter = next(name for name in ("N", "batch", "rows") if name not in taken)
    freed = replace(
        model,
        inputs=tuple(_with_rows(spec, letter) for spec in model.inputs),
        outputs=tuple(_with_rows(spec, letter) for spec in model.outputs),
        typical={**model.typical, letter: rows},
    )
    if model.is_onnx:
        freed = replace(freed, network=_freed_graph(model.onnx, rows, letter))
    return freed if _keeps_rows_apart(model, freed, rows) else model


def fixed_as(model: Model, like: Model) -> Model:
    """The model with the numbers that `like` has where it has a letter for its rows, in inputs and outputs."""
    rows = _fixed_rows(like)
    if rows is None:
        return model
    known = {spec.name for specs in (like.inputs, like.outputs) for spec in specs}
    return replace(
        model,
        inputs=tuple(_with_rows(spec, rows) if spec.name in known else spec for spec in model.inputs),
        outputs=tuple(_with_rows(spec, rows) if spec.name in known else spec for spec in model.outputs),
    )


def _fixed_rows(model: Model) -> int | None:
    """How many rows all inputs and outputs fix; None where one does not, or carries a state."""
    rows = fixed_rows(model)
    streams = model.forms or any(spec.state_of for spec in model.inputs)
    return None if streams or any(spec.dims[:1] != (rows,) for spec in model.outputs) else rows


def _with_rows(spec: Spec, rows: int | str) -> Spec:
    return replace(spec, dims=(rows, *spec.dims[1:]))


def _freed_graph(network: ir.Model, rows: int, letter: str) -> ir.Model:
    made = cleaned(network)
    ShapeInferencePass()(made)
    axes = batch_axes(made.graph)
    for node in list(made.graph):
        if is_(node, "Reshape"):
            _free_reshape(node, axes)
        elif is_(node, "Concat"):
            _repeat_constants(node, axes, rows)
        elif is_(node, "LSTM", "GRU", "RNN"):
            _begin_with_nothing(node)
    for node in made.graph.all_nodes():
        for value in node.outputs:
            value.shape = None
    for value in (*made.graph.inputs, *made.graph.outputs):
        value.shape = ir.Shape([letter, *list(value.shape or [rows])[1:]])
    return made


def _free_reshape(node: ir.Node, axes: Axes) -> None:
    """Where a shape is constant, the axis that holds the rows takes what is left."""
    result, dims = node.outputs[0], numbers(node.outputs[0])
    if result in axes and dims is not None and numbers_of(node.inputs[1]) is not None:
        dims[axes[result].axis] = -1
        node.replace_input_with(1, _constant(node, "rows", dims))


def _begin_with_nothing(node: ir.Node) -> None:
    """Zeros as initial states are what a recurrent layer begins with anyway."""
    for place in (5, 6):  # initial_h and initial_c
        start = numbers_of(node.inputs[place]) if len(node.inputs) > place else None
        if start is not None and not start.any():
            node.replace_input_with(place, None)


def _repeat_constants(node: ir.Node, axes: Axes, rows: int) -> None:
    """A constant that is put beside the rows, such as the token of a class, is so for each row."""
    axis = axes[node.outputs[0]].axis if node.outputs[0] in axes else None
    beside = next((value for value in node.inputs if value in axes), None)
    if axis is None or beside is None or node.attributes["axis"].as_int() % len(node.outputs[0].shape or [0]) == axis:
        return
    for place, value in enumerate(node.inputs):
        array = numbers_of(value)
        if array is None or value is None or array.shape[axis] != rows:
            continue
        ones = [1] * array.ndim
        shape, index = ir.node("Shape", [beside]), _constant(node, f"axis{place}", [axis])
        count = ir.node("Gather", [shape.outputs[0], index])
        around = [
            _constant(node, f"{side}{place}", part) for side, part in (("b", ones[:axis]), ("a", ones[axis + 1 :]))
        ]
        wanted = ir.node("Concat", [around[0], count.outputs[0], around[1]], {"axis": 0})
        repeated = ir.node("Expand", [value, wanted.outputs[0]])
        assert node.graph is not None
        node.graph.insert_before(node, [shape, count, wanted, repeated])
        node.replace_input_with(place, repeated.outputs[0])


def _constant(node: ir.Node, what: str, numbers: Sequence[int]) -> ir.Value:
    return stored(node.graph, f"{node.outputs[0].name}_{what}", np.asarray(numbers, np.int64))


def _keeps_rows_apart(fixed: Model, freed: Model, rows: int) -> bool:
    """Whether two batches at once give what the original gives for each alone."""
    first, second = (example(fixed.inputs, sizes_of(fixed), seed=seed) for seed in (1, 2))
    both = {name: np.concatenate([first[name], second[name]]) for name in first}
    try:
        alone = [runner_for(fixed)(given) for given in (first, second)]
        together = runner_for(freed)(both)
        return all(_same(together[name], [one[name] for one in alone], 2 * rows) for name in together)
    except Exception:  # whatever it was, the network does not take more rows
        return False


def _same(found: Array, parts: Sequence[Array], rows: int) -> bool:
    expected = np.concatenate(parts)
    if found.shape != expected.shape or len(found) != rows:
        return False
    return bool(np.allclose(found, expected, rtol=1e-3, atol=1e-4 * max(1e-6, float(np.abs(expected).max(initial=0)))))
