"""The recurrent layers that the comparison is of: random weights, spread as training leaves them, one layer a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from models.records import Arrays, InputSpec, Model, OutputSpec

Array = np.ndarray[Any, Any]

GATES = {"GRU": 3, "RNN": 1, "LSTM": 4}


def layer(kind: str, hidden: int, *, seed: int = 0) -> Model:
    """A layer of one direction that reads as many numbers as its state has; GRU as torch has it."""
    rng, rows = np.random.default_rng(seed), GATES[kind] * hidden
    shapes = {"rnn.W": (1, rows, hidden), "rnn.R": (1, rows, hidden), "rnn.B": (1, 2 * rows)}
    numbers = {
        name: (rng.standard_normal(shape) / np.sqrt(hidden)).astype(np.float32) for name, shape in shapes.items()
    }
    return of_weights(kind, numbers)


def of_weights(kind: str, numbers: dict[str, Array]) -> Model:
    """A layer of these weights."""
    hidden = numbers["rnn.R"].shape[-1]
    more: dict[str, Any] = {"linear_before_reset": 1} if kind == "GRU" else {}
    node = helper.make_node(kind, ["x", *numbers], ["y"], name="rnn", hidden_size=hidden, **more)
    graph = helper.make_graph(
        [node],
        kind,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["T", "N", hidden])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["T", 1, "N", hidden])],
        [numpy_helper.from_array(array, name) for name, array in numbers.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return Model(
        ir.from_proto(proto),
        (InputSpec(name="x", dtype="float32", dims=("T", "N", hidden)),),
        (OutputSpec(name="y", dtype="float32", dims=("T", 1, "N", hidden)),),
        name=f"{kind.lower()}-{hidden}",
    )


def inputs(hidden: int, *, steps: int, batch: int, seed: int = 1) -> Arrays:
    """Numbers of the normal distribution."""
    return {"x": np.random.default_rng(seed).standard_normal((steps, batch, hidden)).astype(np.float32)}


def numbers_of(model: Model) -> dict[str, Array]:
    """The weights of a layer."""
    return {
        name: value.const_value.numpy()
        for name, value in model.onnx.graph.initializers.items()
        if value.const_value is not None
    }


def lstm_with_rounded_state(numbers: dict[str, Array], x: Array, levels: int = 255) -> Array:
    """An LSTM in numpy whose state is rounded in front of the product at each step, with the range of that step.

    Args:
        numbers: W, R and B, gates in ONNX's order.
        x: (T, N, in).
        levels: names that the range is cut into.

    Returns:
        y: (T, 1, N, hidden).
    """
    weight, again = numbers["rnn.W"][0].astype(np.float64), numbers["rnn.R"][0].astype(np.float64)
    bias = numbers["rnn.B"][0].astype(np.float64).reshape(2, -1).sum(0)
    state = cell = np.zeros((x.shape[1], again.shape[1]))
    rows = []
    for step in x.astype(np.float64):
        i, o, f, c = np.split(step @ weight.T + rounded(state, levels) @ again.T + bias, 4, axis=1)
        cell = _sigmoid(f) * cell + _sigmoid(i) * np.tanh(c)
        state = _sigmoid(o) * np.tanh(cell)
        rows.append(state)
    return np.stack(rows)[:, None].astype(np.float32)


def rounded(numbers: Array, levels: int = 255) -> Array:
    """Each number as its range, widened to hold zero and cut into levels, names it."""
    step = (max(numbers.max(), 0.0) - min(numbers.min(), 0.0)) / levels
    return numbers if step == 0 else np.rint(numbers / step) * step


def _sigmoid(x: Array) -> Array:
    made: Array = 1 / (1 + np.exp(-x))
    return made
