"""GRU and RNN in int8: ONNX Runtime has no such kernel, so each becomes a loop of its integer products.

    X ── DynamicQuantizeMatMul ── Scan: QuantizeLinear, QGemm, gates ── Y, Y_h

What the input gives to the gates is one integer product for all steps, outside the loop. The loop is a Scan, whose cost
is that of the nodes in it: unrolled it was no faster. `benchmarks/recurrent_int8.py` says from which size on it pays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from compress.quantization.int8 import activation_grid
from compress.quantization.onnx_edit import Editor
from compress.quantization.onnx_weights import Weight, array, is_weight
from compress.quantization.recurrent_steps import CONTRIB, Fixed, Moving, Rounding, Values, gru_step, rnn_step
from compress.quantization.recurrent_weights import B, Layer
from compress.quantization.schemes import Scheme
from export.naming import layer_of
from export.reading import attribute

LOOPS = ("GRU", "RNN")
_OPSET = 13  # before it, Unsqueeze was written differently
_BOUNDS = {"Tanh": (-1.0, 1.0), "Sigmoid": (0.0, 1.0)}  # of the states that an activation gives
_LENGTHS, _INITIAL = 4, 5  # inputs of the operators


def loop_refusal(node: ir.Node, weights: Sequence[Weight], opset: int) -> str | None:
    """Why a GRU or RNN becomes no loop in int8, or None where it does."""
    if opset < _OPSET:
        return f"the graph is of opset {opset}, and a loop in int8 is written from opset {_OPSET} on"
    if len(weights) < 2:
        return "only one of its two weights is a constant"
    if attribute(node, "layout", 0):
        return "it takes its input batch first (layout=1), which a loop in int8 does not"
    if attribute(node, "clip", 0.0):
        return "it clips its sums, which a loop in int8 does not"
    bias = _given(node, B)
    if bias is not None and not is_weight(bias):
        return "its bias is no constant"
    if bias is not None and not np.isfinite(array(bias)).all():
        return "its bias holds NaN or infinity"
    if node.op_type == "GRU" and set(_activations(node)) - {("Sigmoid", "Tanh")}:
        return "its activations are others than Sigmoid and Tanh"
    if node.op_type == "RNN" and set(_activations(node)) - {("Tanh",), ("Sigmoid",), ("Relu",)}:
        return "its activation is none of Tanh, Sigmoid and Relu"
    return None


def write_loop(
    node: ir.Node, constants: Editor, edit: Editor, scheme: Scheme, *, opset: int, per_channel: bool = True
) -> None:
    """Put the loop in the place of a node that is not refused; its outputs keep their names.

    Args:
        node: a GRU or RNN.
        constants: of the graph that holds its weights.
        edit: of the graph that holds the node.
        scheme: of the device.
        opset: of the graph.
        per_channel: a weight scale for each row, and not one for a whole matrix.
    """
    writer = _Writer(node, Layer(node, constants, scheme, per_channel), edit, opset)
    ways = {"reverse": (True,), "bidirectional": (False, True)}.get(attribute(node, "direction", "forward"), (False,))
    pairs = [writer.direction(i, backward) for i, backward in enumerate(ways)]
    made = {
        place: writer.joined([pair[place] for pair in pairs], axis)
        for place, axis in ((0, 1), (1, 0))
        if _is_read(node, place)
    }
    old = [node.outputs[place] for place in made]
    scan = pairs[0][1].producer()
    ir.convenience.replace_nodes_and_values(node.graph, node, [node], [], old, list(made.values()))  # type: ignore[arg-type]
    assert scan is not None
    scan.name = node.name


@dataclass(frozen=True)
class _Writer:
    """Writes the nodes of one layer in front of it."""

    node: ir.Node
    layer: Layer
    edit: Editor
    opset: int

    def direction(self, index: int, backward: bool) -> tuple[ir.Value, ir.Value]:
        """The outputs of all steps (T, N, hidden), and the last state (N, hidden), the only one if no other is read."""
        x, lengths = self.node.inputs[0], _given(self.node, _LENGTHS)
        assert x is not None
        turned = backward and lengths is not None  # each sequence for itself, and back again
        if turned:
            x = self._turned(x)
        given = [
            self._op("DynamicQuantizeMatMul", [x, m.names, m.scale, m.zero, m.bias], "given", domain=CONTRIB)
            for m in self.layer.of_input(index)
        ]
        parts, last = self._scan(index, self._initial(index, x), given, backward=backward and not turned)
        if lengths is not None and not self._starts_at_zero():  # of a sequence without a step the operators give zeros
            last = self._op("Where", [self._any_step(), last, self._zero()], "last")
        if not parts:
            return last, last
        sequence = self._op(_activations(self.node)[index][0] if len(parts) == 1 else "Add", parts, "sequence")
        if lengths is not None:
            sequence = self._op("Where", [self._running(x), sequence, self._zero()], "cut")
        return (self._turned(sequence) if turned else sequence), last

    def joined(self, ways: Values, axis: int) -> ir.Value:
        """With an axis for the directions, as the operators give it."""
        axes = self._numbers("rnn_axis", [axis])
        parts = [self._op("Unsqueeze", [way, axes], "way") for way in ways]
        return parts[0] if len(parts) == 1 else self._op("Concat", parts, "ways", {"axis": axis})

    def _scan(self, index: int, state: ir.Value, given: Values, *, backward: bool) -> tuple[Values, ir.Value]:
        """The parts of each step's output, none where nobody reads it, and the last state."""
        running = [] if _given(self.node, _LENGTHS) is None else [self._running(given[0])]
        body = self.edit.body(["state", *["given" for _ in given], *["running" for _ in running]])
        before, *read = body.graph.inputs
        new, parts = self._step(index, body, before, read[: len(given)])
        if running:
            read[-1].dtype = ir.DataType.BOOL
            new = body.node("Where", [read[-1], new, before], output="held")
        parts = parts if _is_read(self.node, 0) else ()
        for value in (new, *parts):  # the runtime runs no Scan of a rank that nobody knows, and x may have one
            value.dtype, value.shape = ir.DataType.FLOAT, ir.Shape([None, self.layer.hidden])
        body.graph.outputs.extend([new, *parts])
        ways = {"scan_input_directions": [1] * len(read)} if backward else {}
        if backward and parts:
            ways["scan_output_directions"] = [1] * len(parts)
        last, *rows = self.edit.nodes(
            "Scan",
            [state, *given, *running],
            {"body": body.graph, "num_scan_inputs": len(read), **ways},
            outputs=["last", *["part" for _ in parts]],
            before=self.node,
            name=self._called("Scan"),
        )
        return rows, last

    def _step(self, index: int, body: Editor, state: ir.Value, given: Values) -> tuple[ir.Value, Values]:
        kinds = _activations(self.node)[index]
        rounding = self._rounding(_BOUNDS.get(kinds[-1]))
        matrices = self.layer.of_state(index, rounding.numbers if isinstance(rounding, Fixed) else None)
        if self.node.op_type == "RNN":
            return rnn_step(body, state, given, matrices, rounding, activation=kinds[0])
        return gru_step(body, state, given, matrices, rounding, late=self.layer.late, opset=self.opset)

    def _rounding(self, bounds: tuple[float, float] | None) -> Rounding:
        """By a fixed scale, if the state starts at zero and never leaves the bounds."""
        if bounds is None or not self._starts_at_zero():
            return Moving()
        grid, share = activation_grid(*bounds, "u8"), self.layer.constants.shared
        return Fixed(share("state_scale", grid.scale), share("state_zero", grid.zero), grid.scale)

    def _starts_at_zero(self) -> bool:
        given = _given(self.node, _INITIAL)
        return given is None or (given.const_value is not None and is_weight(given) and not array(given).any())

    def _initial(self, index: int, x: ir.Value) -> ir.Value:
        given = _given(self.node, _INITIAL)
        if given is not None:
            return self._op("Gather", [given, self._numbers("rnn_way", index)], "first", {"axis": 0})
        batch = self._op("Gather", [self._op("Shape", [x], "shape"), self._numbers("rnn_batch", [1])], "batch")
        shape = self._op("Concat", [batch, self._numbers("rnn_hidden", [self.layer.hidden])], "wide", {"axis": 0})
        return self._op("ConstantOfShape", [shape], "first")  # zeros in float32, if not said otherwise

    def _running(self, x: ir.Value) -> ir.Value:
        """Whether a step is in its sequence; (T, N, 1)."""
        steps = self._op("Gather", [self._op("Shape", [x], "shape"), self._numbers("rnn_way", 0)], "steps")
        zero, one = self._numbers("rnn_way", 0), self._numbers("rnn_one", 1)
        step = self._op(
            "Unsqueeze", [self._op("Range", [zero, steps, one], "step"), self._numbers("rnn_12", [1, 2])], "t"
        )
        return self._op("Less", [step, self._length_of_each()], "running")

    def _any_step(self) -> ir.Value:
        """Whether a sequence has one; (N, 1)."""
        return self._op("Less", [self._numbers("rnn_way", 0), self._length_of_each()], "any")

    def _length_of_each(self) -> ir.Value:
        """(N, 1)."""
        return self._op("Unsqueeze", [self._lengths(), self._numbers("rnn_axis", [1])], "n")

    def _zero(self) -> ir.Value:
        return self.layer.constants.shared("rnn_zero", np.zeros((), np.float32))

    def _turned(self, x: ir.Value) -> ir.Value:
        """Each sequence from its last step to its first."""
        return self._op("ReverseSequence", [x, self._lengths()], "turned", {"time_axis": 0, "batch_axis": 1})

    def _lengths(self) -> ir.Value:
        return self._op("Cast", [_given(self.node, _LENGTHS)], "lengths", {"to": int(ir.DataType.INT64)})

    def _numbers(self, name: str, numbers: int | list[int]) -> ir.Value:
        return self.edit.shared(name, np.array(numbers, np.int64))

    def _called(self, kind: str) -> str:
        return f"{layer_of(self.node)}/{kind}"

    def _op(
        self,
        kind: str,
        inputs: Sequence[ir.Value | None],
        output: str,
        attributes: dict[str, Any] | None = None,
        *,
        domain: str = "",
    ) -> ir.Value:
        name = self._called(kind)
        return self.edit.node(kind, inputs, attributes, output=output, before=self.node, domain=domain, name=name)


def _given(node: ir.Node, place: int) -> ir.Value | None:
    return node.inputs[place] if len(node.inputs) > place else None


def _is_read(node: ir.Node, place: int) -> bool:
    value = node.outputs[place] if len(node.outputs) > place else None
    return value is not None and (bool(value.uses()) or value.is_graph_output())


def _activations(node: ir.Node) -> list[tuple[str, ...]]:
    """Of each direction."""
    size = 2 if node.op_type == "GRU" else 1
    plain = ("Sigmoid", "Tanh")[-size:]
    names = tuple(attribute(node, "activations", ()))
    found = [names[i : i + size] for i in range(0, len(names), size)]
    return found or [plain, plain]
