"""The weights of a GRU or RNN as the products of a loop in int8 read them: cut into gates, biases where they belong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from compress.quantization.int8 import bias_names, least_scale, weight_grid
from compress.quantization.onnx_edit import Editor
from compress.quantization.onnx_weights import array
from compress.quantization.recurrent_steps import Matrix
from compress.quantization.schemes import Scheme
from export.reading import attribute

Array = np.ndarray[Any, Any]

W, R, B = 1, 2, 3  # inputs of the operators


@dataclass(frozen=True)
class Layer:
    """A GRU or RNN whose weights and bias are constants.

    Args:
        node: the layer.
        constants: of the graph that holds its weights.
        scheme: of the device.
        per_channel: a weight scale for each row, and not one for a whole matrix.
    """

    node: ir.Node
    constants: Editor
    scheme: Scheme
    per_channel: bool

    @property
    def hidden(self) -> int:
        """How many numbers the state has."""
        return int(array(self.node.inputs[R]).shape[-1])  # type: ignore[arg-type]

    @property
    def late(self) -> bool:
        """Whether it is a GRU whose reset gate acts on the product with the state, and not on the state."""
        return self.node.op_type == "GRU" and bool(attribute(self.node, "linear_before_reset", 0))

    def of_input(self, direction: int) -> list[Matrix]:
        """What multiplies the input, with all of the bias that no reset gate acts on."""
        first, second = self._biases(direction)
        biases = self._cut(first + second)
        if self.late:
            biases[-1] = self._cut(first)[-1]
        return [
            self._matrix(f"{self._name(W)}_{direction}{i}", rows, biases[i])
            for i, rows in enumerate(self._cut(self._rows(W, direction)))
        ]

    def of_state(self, direction: int, state_scale: Array | None) -> list[Matrix]:
        """What multiplies the state, with the bias that the reset gate acts on; in int32 for a state of fixed scale."""
        late = self._cut(self._biases(direction)[1])[-1] if self.late else None
        cut = self._cut(self._rows(R, direction))
        return [
            self._matrix(f"{self._name(R)}_{direction}{i}", rows, late if i == len(cut) - 1 else None, state_scale)
            for i, rows in enumerate(cut)
        ]

    def _cut(self, numbers: Array) -> list[Array]:
        """Rows of a GRU: those of the gates z and r, which are one product, and those of the new state."""
        return [numbers] if self.node.op_type == "RNN" else [numbers[: 2 * self.hidden], numbers[2 * self.hidden :]]

    def _rows(self, place: int, direction: int) -> Array:
        value = self.node.inputs[place]
        assert value is not None
        rows: Array = array(value)[direction]
        return rows

    def _biases(self, direction: int) -> tuple[Array, Array]:
        """That of the input, and that of the state."""
        rows = len(self._rows(R, direction))
        given = self.node.inputs[B] if len(self.node.inputs) > B else None
        both = np.zeros(2 * rows, np.float32) if given is None else array(given)[direction]
        return both[:rows], both[rows:]

    def _name(self, place: int) -> str:
        value = self.node.inputs[place]
        return (value.name if value is not None else None) or "weight"

    def _matrix(self, name: str, rows: Array, bias: Array | None, state_scale: Array | None = None) -> Matrix:
        fixed = bias is not None and state_scale is not None
        least = least_scale(bias, state_scale) if fixed else 0.0  # type: ignore[arg-type]
        axes, fit = (0,) if self.per_channel else (), self.scheme.pairs_fit
        grid = weight_grid(rows, axes, pairs_fit=fit, in_order=rows, least=least)
        scale = grid.scale.reshape(-1 if self.per_channel else ())
        if fixed:
            bias = bias_names(bias, scale * state_scale)  # type: ignore[arg-type, operator]
        share = self.constants.shared
        return Matrix(
            share(f"{name}_q", np.ascontiguousarray(grid.quantize(rows).T)),
            share(f"{name}_scale", scale),
            share(f"{name}_zero", grid.zero.reshape(scale.shape)),
            None if bias is None else share(f"{name}_bias", bias),
        )
