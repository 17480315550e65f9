"""How large the gradient of the loss is at each time step of a recurrent layer: does it vanish, does it explode?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from models.records import Arrays, Entry, Task
from models.recurrent import PeepholeLSTM, ResetFirstGRU, SigmoidRNN

from .feed import tensor, tensors
from .step import named


def norms_over_time(network: nn.Module, entry: Entry, task: Task) -> tuple[float, ...]:
    """The norm of the loss's gradient with respect to the hidden state after each step, on the first training batch.

    Each is the mean over rows of |dE/dh_t|, E being the row's own loss and h_t all that step t hands on: the way to
    the loss through the later steps and through the output are both in it. Where the network answers at every step,
    only the last answer's error is sent back; otherwise the nearer errors would hide what comes from afar. Of a layer
    with several levels h is the last level's; of an LSTM it is h, not c.

    Args:
        network: only read; it takes the entry's inputs by position.
        entry: its signature says which axis is the time.
        task: its train split and its loss are used.

    Returns:
        A norm a step of the first recurrent layer; nothing where there is none, or it reads both ways.
    """
    layer = first_recurrent(network)
    if layer is None:
        return ()
    arrays, target = next(iter(task.train))
    given = [tensor(arrays[spec.name], "cpu") for spec in entry.inputs]
    with torch.enable_grad(), one_step_at_a_time(layer) as states:
        outputs = named(network(*given), [spec.name for spec in entry.outputs])
        loss = task.loss(_last_answers(outputs, entry, arrays), tensors(target, "cpu"))
        loss.backward()  # type: ignore[no-untyped-call]
    network.zero_grad(set_to_none=True)
    # the loss is a mean over rows, so each row's own gradient is as many times larger
    rows = len(given[0])
    return tuple(0.0 if h.grad is None else float(rows * h.grad[-1].norm(dim=1).mean()) for h in states)


def first_recurrent(network: nn.Module) -> Any:
    """The first recurrent layer that reads one way, or None."""
    for module in network.modules():
        if isinstance(module, nn.RNNBase | SigmoidRNN | ResetFirstGRU | PeepholeLSTM):
            return None if module.bidirectional else module
    return None


@contextmanager
def one_step_at_a_time(layer: Any) -> Iterator[list[Tensor]]:
    """Meanwhile the layer runs step by step; gives its hidden states (levels, N, hidden), as they come.

    What it returns is made of these very states, so that their gradients hold every way to the loss.
    """
    forward = layer.forward
    states: list[Tensor] = []

    def stepped(input: Tensor, hx: Any = None) -> tuple[Tensor, Any]:
        time = 1 if layer.batch_first else 0
        began = len(states)
        for step in input.split(1, time):
            _, hx = forward(step, hx)
            h = hx[0] if isinstance(hx, tuple) else hx
            h.retain_grad()
            states.append(h)
        return torch.stack([h[-1] for h in states[began:]], time), hx

    layer.forward = stepped  # on the instance, before the method of its class
    try:
        yield states
    finally:
        del layer.forward


def _last_answers(outputs: Mapping[str, Tensor], entry: Entry, arrays: Arrays) -> dict[str, Tensor]:
    """The outputs; those with a time axis give a gradient at their last step alone."""
    times = {spec.dims[1] for spec in entry.inputs if len(spec.dims) > 1 and isinstance(spec.dims[1], str)}
    along = {spec.name for spec in entry.outputs if len(spec.dims) > 1 and spec.dims[1] in times}
    return {
        name: torch.cat([value[:, :-1].detach(), value[:, -1:]], 1) if name in along else value
        for name, value in outputs.items()
    }
