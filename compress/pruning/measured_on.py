"""The data that an importance measures on: some batches of the train split with their targets, or of calibration."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from compress.base import Context
from compress.training.feed import Feed, Tensors, tensor
from export.lifted import device_of
from export.stream import initial_state
from models.errors import UsageError
from models.records import Model

BATCHES = 64  # some thousand samples in batches of the usual sizes


def batches(model: Model, context: Context, importance: str) -> Iterator[tuple[Tensors, Any]]:
    """Up to BATCHES batches of one epoch, as the seed shuffles it: all inputs in order, and the target or None.

    The random numbers of the caller are drawn from where a loader shuffles by them: seed them around it.

    Raises:
        UsageError: there is no data.
        DataError: it does not hold what the model takes.
    """
    data: Iterable[Any] | None = context.task.train if context.task is not None else None
    if data is None and next(iter(context.calibration), None) is not None:
        data = context.calibration
    if data is None:
        raise UsageError(
            f"prune: importance {importance!r} is measured on data, and there is none. Name some with --data, or take "
            "an importance that reads the weights alone: l2, l1, bn-scale."
        )
    device = str(device_of(model.module))
    fed = [spec.name for spec in model.inputs if spec.state_of is None]
    feed = Feed(data, fed, seed=context.seed, device=device, alone=True)
    for inputs, target in itertools.islice(feed, BATCHES):
        if feed.epoch:
            return
        yield _complete(model, inputs, device), target


def _complete(model: Model, inputs: Tensors, device: str) -> Tensors:
    """The inputs in the model's order, states at their start."""
    if len(inputs) == len(model.inputs):
        return inputs
    first = initial_state(model.inputs, {name: value.cpu().numpy() for name, value in inputs.items()}, model.outputs)
    return {s.name: inputs[s.name] if s.name in inputs else tensor(first[s.name], device) for s in model.inputs}
