"""Recurrent layers as one operation while a network is traced.

`torch.export` fixes the number of steps of nn.LSTM, nn.GRU and nn.RNN, and unrolls the loop of our own layers. While it
runs, their forward is an operation of ours that knows nothing but the shapes that come out, so that the time stays
free, and carries the layer's name, by which the lifter puts the layer itself back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from models.errors import LiftError
from models.recurrent import PeepholeLSTM, ResetFirstGRU, SigmoidRNN

TWO_STATES = (nn.LSTM, PeepholeLSTM)  # h, what is said, and c, what is kept
KINDS = (*TWO_STATES, nn.GRU, ResetFirstGRU, nn.RNN, SigmoidRNN)


@torch.library.custom_op("compress::recurrent", mutates_args=())
def recurrent(
    x: Tensor,
    state: list[Tensor],
    layer: str,
    states: int,
    hidden: int,
    out: int,
    depth: int,
    ways: int,
    batch_first: bool,
) -> list[Tensor]:
    """The sequence and the last states of a layer that is put back before anything is computed."""
    raise RuntimeError(f"recurrent layer '{layer}' was not put back")


@recurrent.register_fake
def _(
    x: Tensor,
    state: list[Tensor],
    layer: str,
    states: int,
    hidden: int,
    out: int,
    depth: int,
    ways: int,
    batch_first: bool,
) -> list[Tensor]:
    batch = [] if x.dim() == 2 else [x.shape[0 if batch_first else 1]]
    sequence = x.new_empty([*x.shape[:-1], ways * out])
    last = x.new_empty([ways * depth, *batch, out])
    return [sequence, last] if states == 1 else [sequence, last, x.new_empty([ways * depth, *batch, hidden])]


@contextmanager
def leaves(names: Mapping[nn.Module, str]) -> Iterator[None]:
    """Meanwhile, the recurrent layers named here are one operation each; others fail as `torch.export` lets them."""
    # where a module has two names torch traces stand-ins, which share the attributes of what they stand for
    known = {id(vars(layer)): name for layer, name in names.items()}

    def forward(self: Any, input: Any, hx: Any = None) -> Any:
        name = known[id(vars(self))]
        if isinstance(input, PackedSequence):
            raise LiftError(
                f"lift: layer '{name}' is given a PackedSequence, whose lengths are hidden in the data. "
                "Give it the padded batch; mask or index its output where lengths differ.",
                layer=name,
                operation="PackedSequence",
            )
        states = 2 if isinstance(self, TWO_STATES) else 1
        given = [] if hx is None else list(hx) if states == 2 else [hx]
        out = self.proj_size or self.hidden_size
        depth, ways = self.num_layers, 2 if self.bidirectional else 1
        found = recurrent(input, given, name, states, self.hidden_size, out, depth, ways, self.batch_first)
        return found[0], tuple(found[1:]) if states == 2 else found[1]

    before = {kind: kind.forward for kind in KINDS}
    try:
        for kind in KINDS:
            kind.forward = forward  # type: ignore[method-assign, assignment]
        yield
    finally:
        for kind in KINDS:
            kind.forward = before[kind]  # type: ignore[method-assign, assignment]
