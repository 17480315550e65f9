"""What a teacher attends to between its layers, beside what it answers: attention transfer.

The map of a layer is the sum over its channels of the squared values, one number a place (a pixel, a time step, a
token). It has no channels, so that a network of fewer channels is compared with its teacher without any projection.

Source: Zagoruyko & Komodakis 2017 (arXiv:1612.03928) sec. 3.1, F_sum^2, and eq. 2 with its distance squared. They
take the last layer of every resolution; so do we, by the places of the layers that both networks have. Left out are
the network's output, which is taught by itself, and layer normalization, after which every place has the same sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from models.errors import UsageError

_CHANNELS_SECOND = (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.GroupNorm)
_CHANNELS_LAST = (nn.Linear, nn.RNNBase, nn.Embedding, nn.MultiheadAttention)


def attention_map(value: torch.Tensor, axis: int) -> torch.Tensor:
    """(N, places), each row of length 1; `value` is (N, ...) with its channels along the axis."""
    return F.normalize(value.float().square().sum(axis).flatten(1), dim=1)


def apart(student: Mapping[str, torch.Tensor], teacher: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The squared distance between two maps, 0 to 2, the mean over rows, the sum over layers."""
    return torch.stack([(mine - teacher[name]).square().sum(1).mean() for name, mine in student.items()]).sum()


@contextmanager
def watched(network: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, torch.Tensor]]:
    """Meanwhile the network leaves the maps of these layers in the dict that this gives, anew in each call."""
    maps: dict[str, torch.Tensor] = {}

    def watch(name: str, axis: int) -> Any:
        def look(layer: nn.Module, given: Any, value: Any) -> None:
            maps[name] = attention_map(_first(value), axis)

        return network.get_submodule(name).register_forward_hook(look)

    hooks = [watch(name, _axis(network.get_submodule(name)) or 0) for name in layers]
    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()


def layers_to_watch(student: nn.Module, teacher: nn.Module, inputs: Sequence[torch.Tensor]) -> tuple[str, ...]:
    """The last layer at each arrangement of places, among those that both networks call under one name.

    Args:
        student: in any mode, only read.
        teacher: likewise.
        inputs: one batch.

    Raises:
        UsageError: they have no such layer in common.
    """
    mine, theirs = (_places(network, inputs) for network in (student, teacher))
    last = {places: name for name, places in mine.items() if theirs.get(name) == places}
    if not last:
        raise UsageError(
            f"recovery: features are asked of a teacher that has no layer under a name and at places of the student's "
            f"({', '.join(list(mine)[:4]) or 'which has none with places'}). Set features to 0."
        )
    return tuple(last.values())


def _places(network: nn.Module, inputs: Sequence[torch.Tensor]) -> dict[str, tuple[int, ...]]:
    """Layer -> the shape of its values without batch and channels, in the order of the calls."""
    found: dict[str, tuple[int, ...]] = {}
    values: dict[str, torch.Tensor] = {}
    names = {layer: name for name, layer in network.named_modules() if _axis(layer) is not None}

    def look(layer: nn.Module, given: Any, value: Any) -> None:
        value, axis = _first(value), _axis(layer)
        if isinstance(value, torch.Tensor) and value.ndim >= 3 and len(value) == len(inputs[0]) and axis is not None:
            shape = list(value.shape[1:])
            del shape[axis - 1 if axis > 0 else axis]
            if any(size > 1 for size in shape):
                found.pop(names[layer], None)
                found[names[layer]], values[names[layer]] = tuple(shape), value

    hooks = [layer.register_forward_hook(look) for layer in names]
    modes = {module: module.training for module in network.modules()}
    try:
        with torch.no_grad():
            given = network.eval()(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    outputs = [id(output) for output in (given if isinstance(given, tuple | list) else (given,))]
    return {name: shape for name, shape in found.items() if id(values[name]) not in outputs}


def _axis(layer: nn.Module) -> int | None:
    """Where the channels of a layer's values are; None for a layer without weights, or with its time first."""
    if isinstance(layer, _CHANNELS_SECOND):
        return 1
    if not isinstance(layer, _CHANNELS_LAST) or getattr(layer, "batch_first", True) is False:
        return None
    return -1


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, tuple | list) else value
