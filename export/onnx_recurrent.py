"""ONNX's LSTM, GRU and RNN as nn.LSTM, nn.GRU and nn.RNN: gates, states and directions as torch has them.

An LSTM with peepholes, a GRU that resets first and an RNN with a sigmoid, which torch has not, become our own layers
(`models/recurrent.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, nn

from export.onnx_builder import Builder, Run, constant
from export.onnx_values import Call, Host, tensor
from models.recurrent import PeepholeLSTM, ResetFirstGRU, SigmoidRNN

# torch's gates by their places in ONNX: i, f, g, o in i, o, f, c; r, z, n in z, r, h
_ORDER = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
_PLAIN = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}


def recurrent(build: Builder, node: ir.Node, call: Call) -> Run:
    """One level in one or both directions.

    Raises:
        LiftError: it is of a kind that neither torch has nor we: other activations, clipping, lengths, a coupled gate;
            peepholes, an early reset or a sigmoid in both directions.
    """
    inputs = [*node.inputs, *[None] * (8 - len(node.inputs))]
    _, w, r, b, lengths, _, _, peepholes = inputs
    for_input, for_state, biases, seen = constant(w), constant(r), constant(b), constant(peepholes)
    computed = any(one is not None and array is None for one, array in ((b, biases), (peepholes, seen)))
    if for_input is None or for_state is None or computed:
        raise call.refuse("has weights that are computed")
    squash = _refuse_what_torch_has_not(call, lengths, peepholes)
    direction = call.get("direction", "forward")
    both = direction == "bidirectional"

    def make() -> nn.Module:
        kind, more = _kind(call, squash, both, peepholes is not None)
        layer = kind(for_input.shape[2], for_state.shape[2], bias=b is not None, **more)
        with torch.no_grad():
            if seen is not None:
                for name, array in zip(("ci", "co", "cf"), np.split(seen[0], 3), strict=True):
                    getattr(layer, f"weight_{name}").copy_(torch.from_numpy(array.copy()))
            for way, suffix in enumerate(("", "_reverse")[: 1 + both]):
                for name, array in _torch_weights(call.op, way, for_input, for_state, biases):
                    getattr(layer, f"{name}_l0{suffix}").copy_(torch.from_numpy(array))
        return layer

    layer: Any = build.layer(node, (w, r, b, peepholes), make, (direction, squash, _resets_first(call)))

    def run(call: Call, x: Any, *rest: Any) -> Any:
        x = tensor(x)
        steps_first = x.transpose(0, 1) if call.get("layout", 0) else x
        if direction == "reverse":
            steps_first = steps_first.flip(0)
        initial = [tensor(s) for s in rest[4:6] if s is not None]
        if call.get("layout", 0):
            initial = [s.transpose(0, 1) for s in initial]
        hx = None if not initial else tuple(_complete(initial)) if call.op == "LSTM" else initial[0]
        found, last = layer(steps_first, hx) if hx is not None else layer(steps_first)
        found = found.flip(0) if direction == "reverse" else found
        # (steps, batch, ways * hidden) -> (steps, ways, batch, hidden)
        found = found.unflatten(-1, (2, -1)).transpose(1, 2) if both else found.unsqueeze(1)
        ends = list(last) if isinstance(last, tuple) else [last]
        if call.get("layout", 0):
            found, ends = found.permute(2, 0, 1, 3), [e.transpose(0, 1) for e in ends]
        return (found, *ends)

    return run


def _kind(call: Call, squash: str, both: bool, peepholes: bool) -> tuple[Callable[..., nn.Module], dict[str, Any]]:
    """The class of layer, and what its constructor takes beside sizes and bias."""
    if peepholes or squash == "sigmoid":
        return PeepholeLSTM if peepholes else SigmoidRNN, {}
    if _resets_first(call):
        return ResetFirstGRU, {}
    kinds: dict[str, Callable[..., nn.Module]] = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}
    return kinds[call.op], {"bidirectional": both} | ({"nonlinearity": squash} if call.op == "RNN" else {})


def _resets_first(call: Call) -> bool:
    return call.op == "GRU" and not call.get("linear_before_reset", 0)


def _complete(states: list[Tensor]) -> list[Tensor]:
    return states if len(states) == 2 else [states[0], torch.zeros_like(states[0])]


def _torch_weights(op: str, way: int, w: Host, r: Host, b: Host | None) -> list[tuple[str, Host]]:
    found = [("weight_ih", _reordered(op, w[way])), ("weight_hh", _reordered(op, r[way]))]
    if b is not None:
        first, second = np.split(b[way], 2)
        found += [("bias_ih", _reordered(op, first)), ("bias_hh", _reordered(op, second))]
    return found


def _reordered(op: str, array: Host) -> Host:
    gates = np.split(array, len(_ORDER[op]))
    return np.ascontiguousarray(np.concatenate([gates[place] for place in _ORDER[op]]))


def _refuse_what_torch_has_not(call: Call, lengths: ir.Value | None, peepholes: ir.Value | None) -> str:
    ways = 2 if call.get("direction", "forward") == "bidirectional" else 1
    squash = [str(name) for name in call.get("activations") or _PLAIN[call.op] * ways]
    kinds = {"tanh": _PLAIN[call.op]} | ({"relu": ["Relu"], "sigmoid": ["Sigmoid"]} if call.op == "RNN" else {})
    found = next((name for name, plain in kinds.items() if squash == plain * ways), None)
    reasons = {
        f"squashes by {squash}": found is None,
        "squashes by a sigmoid in both directions": found == "sigmoid" and ways == 2,
        "clips its cells": call.get("clip") is not None,
        "has peepholes in both directions": peepholes is not None and ways == 2,
        "takes the lengths of its sequences": lengths is not None,
        "couples its gates (input_forget)": bool(call.get("input_forget", 0)),
        "resets its state before the product (linear_before_reset=0) in both directions": ways == 2
        and _resets_first(call),
    }
    for reason, holds in reasons.items():
        if holds:
            raise call.refuse(f"{reason}, which no layer here has")
    assert found is not None
    return found
