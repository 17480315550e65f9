"""Recurrent layers, torch's and our own, as ONNX's own operators, with free time, and not unrolled.

While the network is traced each layer is one operation (see `recurrent_leaf.py`); here that operation becomes one ONNX
node a layer and its gates are put in ONNX's order: torch has r, z, n and i, f, g, o, ONNX z, r, h and i, o, f, c.
ONNX's LSTM always has a forget gate; of one that has none it is held open by its bias. And it has no projection: what
comes back through R and the projection P comes back through R P alone, so the units themselves are the state, and P is
applied to what is given out. A state that is given is first made one of units, by P's pseudo-inverse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from onnxscript import opset18
from torch import nn

from export.recurrent_leaf import KINDS, TWO_STATES, leaves
from models.recurrent import PeepholeLSTM, ResetFirstGRU, SigmoidRNN

op: Any = opset18  # by its annotations no result of one operator may go into another
_OPERATOR = dict.fromkeys((nn.LSTM, PeepholeLSTM), "LSTM") | dict.fromkeys((nn.GRU, ResetFirstGRU), "GRU")
_OPERATOR |= dict.fromkeys((nn.RNN, SigmoidRNN), "RNN")
_ORDER = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}  # ONNX's gates, by their places in torch
_OPEN = 100.0  # whose sigmoid is 1 in single precision
_Array = np.ndarray[Any, Any]
Table = dict[Callable[..., Any], Callable[..., Any]]


@contextmanager
def translated(module: nn.Module) -> Iterator[Table]:
    """Meanwhile the module's recurrent layers trace as one operation each; gives its entry for the exporter's table."""
    layers: dict[str, Any] = {name: part for name, part in module.named_modules() if isinstance(part, KINDS)}

    def recurrent(x: Any, state: Sequence[Any], layer: str, *_: Any, **__: Any) -> Any:
        return _translate(layers[layer], x, state)

    with leaves({part: name for name, part in layers.items()}):
        yield {torch.ops.compress.recurrent.default: recurrent} if layers else {}


def _translate(layer: Any, x: Any, state: Sequence[Any]) -> list[Any]:
    """The nodes of all levels of a layer: [sequence, last hidden states] and for an LSTM the last cell states."""
    batched = len(x.shape) == 3
    steps_first = _turned(x, layer, batched)
    if not batched:
        state = [op.Unsqueeze(s, op.Constant(value_ints=[1])) for s in state]
    ways = 2 if layer.bidirectional else 1
    last: list[list[Any]] = [[] for _ in range(2 if isinstance(layer, TWO_STATES) else 1)]
    for level in range(layer.num_layers):
        initial = [_rows(s, level * ways, ways, layer.num_layers) for s in state]
        sequence, *states = _level(layer, steps_first, level, initial)
        steps_first = _joined(sequence, ways)
        for found, value in zip(last, states, strict=True):
            found.append(value)
    ends = [found[0] if len(found) == 1 else op.Concat(*found, axis=0) for found in last]
    if not batched:
        one = op.Constant(value_ints=[1])
        return [op.Squeeze(steps_first, one), *(op.Squeeze(value, one) for value in ends)]
    return [op.Transpose(steps_first, perm=[1, 0, 2]) if layer.batch_first else steps_first, *ends]


def _turned(x: Any, layer: Any, batched: bool) -> Any:
    if not batched:
        return op.Unsqueeze(x, op.Constant(value_ints=[1]))
    return op.Transpose(x, perm=[1, 0, 2]) if layer.batch_first else x


def _rows(value: Any, start: int, count: int, levels: int) -> Any:
    """One level's part of the states, (levels * ways, batch, hidden)."""
    if levels == 1:
        return value
    return op.Slice(value, _ints(start), _ints(start + count), _ints(0))


def _joined(sequence: Any, ways: int) -> Any:
    """(steps, ways, batch, hidden) as torch has it: (steps, batch, ways * hidden)."""
    if ways == 1:
        return op.Squeeze(sequence, _ints(1))
    return op.Reshape(op.Transpose(sequence, perm=[0, 2, 1, 3]), op.Constant(value_ints=[0, 0, -1]))


def _level(layer: Any, x: Any, level: int, initial: list[Any]) -> tuple[Any, ...]:
    kind = next(name for cls, name in _OPERATOR.items() if isinstance(layer, cls))
    w, r, b = (op.Constant(value=ir.tensor(array)) for array in onnx_weights(layer, level))
    ways = "bidirectional" if layer.bidirectional else "forward"
    common = {"hidden_size": layer.hidden_size, "direction": ways}
    if isinstance(layer, PeepholeLSTM):
        return tuple(op.LSTM(x, w, r, b, None, *(initial or (None, None)), _peepholes(layer), **common))
    if getattr(layer, "proj_size", 0):
        return _projected(layer, level, x, (w, r, b), initial, common)
    if kind == "LSTM":
        return tuple(op.LSTM(x, w, r, b, None, *initial, **common))
    if kind == "GRU":
        late = int(not isinstance(layer, ResetFirstGRU))
        return tuple(op.GRU(x, w, r, b, None, *initial, linear_before_reset=late, **common))
    squash = "Sigmoid" if isinstance(layer, SigmoidRNN) else {"tanh": "Tanh", "relu": "Relu"}[layer.nonlinearity]
    return tuple(op.RNN(x, w, r, b, None, *initial, activations=[squash] * (1 + layer.bidirectional), **common))


def _projected(
    layer: Any, level: int, x: Any, weights: Sequence[Any], initial: Sequence[Any], common: dict[str, Any]
) -> tuple[Any, ...]:
    """An LSTM over its units, and its projection behind it: P of each way is (proj, hidden)."""
    ways = ("", "_reverse")[: 2 if layer.bidirectional else 1]
    p = np.stack([_numbers(getattr(layer, f"weight_hr_l{level}{way}")) for way in ways])
    out = op.Constant(value=ir.tensor(np.ascontiguousarray(p.swapaxes(1, 2))))
    if initial:
        back = np.ascontiguousarray(np.linalg.pinv(p).swapaxes(1, 2))
        initial = [op.MatMul(initial[0], op.Constant(value=ir.tensor(back))), initial[1]]
    sequence, h, c = op.LSTM(x, *weights, None, *initial, **common)
    return op.MatMul(sequence, out), op.MatMul(h, out), c


def onnx_weights(layer: Any, level: int) -> tuple[_Array, _Array, _Array]:
    """One level's weights in ONNX's order.

    W is (ways, gates * hidden, in), R (ways, gates * hidden, hidden), B (ways, 2 * gates * hidden).
    """
    kind = next(name for cls, name in _OPERATOR.items() if isinstance(layer, cls))
    found: list[list[_Array]] = [[], [], []]
    for way in ("", "_reverse")[: 2 if layer.bidirectional else 1]:
        weights = [_numbers(getattr(layer, f"weight_{part}_l{level}{way}")) for part in ("ih", "hh")]
        if getattr(layer, "proj_size", 0):
            weights[1] = weights[1] @ _numbers(getattr(layer, f"weight_hr_l{level}{way}"))
        own = [getattr(layer, f"bias_{part}_l{level}{way}", None) for part in ("ih", "hh")]
        biases = [np.zeros(len(weights[0]), weights[0].dtype) if one is None else _numbers(one) for one in own]
        if isinstance(layer, PeepholeLSTM) and not layer.forget_gate:
            weights, biases = [_opened(w, 0.0) for w in weights], [_opened(biases[0], _OPEN), _opened(biases[1], 0.0)]
        w, r, *halves = (_reordered(one, kind) for one in (*weights, *biases))
        for stack, part in zip(found, (w, r, np.concatenate(halves)), strict=True):
            stack.append(part)
    w, r, b = (np.stack(parts) for parts in found)
    return w, r, b


def _peepholes(layer: PeepholeLSTM) -> Any:
    """(1, 3 * hidden): of the input, the output and the forget gate."""
    i, o = _numbers(layer.weight_ci), _numbers(layer.weight_co)
    f = np.zeros_like(i) if layer.weight_cf is None else _numbers(layer.weight_cf)
    return op.Constant(value=ir.tensor(np.concatenate([i, o, f])[None]))


def _opened(rows: _Array, value: float) -> _Array:
    """Rows of the gates i, g, o with those of a forget gate among them, all of one value."""
    i, g, o = np.split(rows, 3)
    return np.concatenate([i, np.full_like(i, value), g, o])


def _numbers(tensor: torch.Tensor) -> _Array:
    return tensor.detach().cpu().numpy()


def _reordered(weight: _Array, kind: str) -> _Array:
    gates = np.split(weight, len(_ORDER[kind]))
    return np.concatenate([gates[place] for place in _ORDER[kind]])


def _ints(*values: int) -> Any:
    return op.Constant(value_ints=list(values))
