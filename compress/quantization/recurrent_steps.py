"""One step of a GRU or RNN in int8: few nodes, for each costs half a microsecond at each step.

A step gives the new state, and the parts that the sequence of outputs is finished from once for all steps: a tensor
that is both the state and a row of the outputs would have to be copied at each step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import onnx_ir as ir

from compress.quantization.onnx_edit import Editor

Array = np.ndarray[Any, Any]
CONTRIB = "com.microsoft"
Values = Sequence[ir.Value]


@dataclass(frozen=True)
class Matrix:
    """A matrix (in, out) in int8 as the integer products read it, with the bias that is added to the product."""

    names: ir.Value
    scale: ir.Value
    zero: ir.Value
    bias: ir.Value | None = None


class Rounding(Protocol):
    """How the state becomes integers, and what multiplies it."""

    def rounded(self, edit: Editor, state: ir.Value) -> ir.Value:
        """What the products read."""

    def product(self, edit: Editor, rounded: ir.Value, matrix: Matrix, name: str) -> ir.Value:
        """State times matrix, plus bias, in float."""


@dataclass(frozen=True)
class Fixed:
    """The state lies in [-1, 1]: one scale for all steps, and each row of a batch is rounded for itself.

    Args:
        scale: in the graph.
        zero: in the graph.
        numbers: of the scale.
    """

    scale: ir.Value
    zero: ir.Value
    numbers: Array

    def rounded(self, edit: Editor, state: ir.Value) -> ir.Value:
        """The state in eight bits."""
        return edit.node("QuantizeLinear", [state, self.scale, self.zero], output="rounded")

    def product(self, edit: Editor, rounded: ir.Value, matrix: Matrix, name: str) -> ir.Value:
        """Its bias is in int32 at the scale of the products."""
        inputs = [rounded, self.scale, self.zero, matrix.names, matrix.scale, matrix.zero, matrix.bias]
        return edit.node("QGemm", inputs, output=name, domain=CONTRIB)


@dataclass(frozen=True)
class Moving:
    """The state may be anything: the range of each step is taken as it comes."""

    def rounded(self, edit: Editor, state: ir.Value) -> ir.Value:
        """The state as it is; the product rounds it."""
        return state

    def product(self, edit: Editor, rounded: ir.Value, matrix: Matrix, name: str) -> ir.Value:
        """Its bias is in float."""
        inputs = [rounded, matrix.names, matrix.scale, matrix.zero, matrix.bias]
        return edit.node("DynamicQuantizeMatMul", inputs, output=name, domain=CONTRIB)


def gru_step(
    edit: Editor,
    state: ir.Value,
    given: Values,
    matrices: Sequence[Matrix],
    rounding: Rounding,
    *,
    late: bool,
    opset: int,
) -> tuple[ir.Value, Values]:
    """A GRU's step, h' = n + z (h - n); its parts are z (h - n) and n, and outputs their sum.

    Args:
        edit: of the body.
        state: h, (N, hidden).
        given: by the input, for the gates z and r, (N, 2 hidden), and for n, (N, hidden).
        matrices: of the state, for z and r, and for n.
        rounding: of the state.
        late: the reset gate acts on the product with the state (linear_before_reset=1), and not on the state.
        opset: of the graph.
    """
    rounded = rounding.rounded(edit, state)
    gates = edit.node("Add", [rounding.product(edit, rounded, matrices[0], "gates"), given[0]], output="gates_sum")
    split = {"axis": 1, **({"num_outputs": 2} if opset >= 18 else {})}
    z, r = edit.nodes("Split", [edit.node("Sigmoid", [gates], output="zr")], split, outputs=["z", "r"])
    if late:
        again = edit.node("Mul", [r, rounding.product(edit, rounded, matrices[1], "new")], output="reset")
    else:
        reset = rounding.rounded(edit, edit.node("Mul", [r, state], output="reset"))
        again = rounding.product(edit, reset, matrices[1], "new")
    n = edit.node("Tanh", [edit.node("Add", [again, given[1]], output="new_sum")], output="n")
    kept = edit.node("Mul", [z, edit.node("Sub", [state, n], output="apart")], output="kept")
    return edit.node("Add", [kept, n], output="next"), (kept, n)


def rnn_step(
    edit: Editor, state: ir.Value, given: Values, matrices: Sequence[Matrix], rounding: Rounding, *, activation: str
) -> tuple[ir.Value, Values]:
    """A plain RNN's step, h' = activation(given + R h); its part is the sum in the brackets."""
    again = rounding.product(edit, rounding.rounded(edit, state), matrices[0], "again")
    total = edit.node("Add", [again, given[0]], output="sum")
    return edit.node(activation, [total], output="next"), (total,)
