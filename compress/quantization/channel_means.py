"""The mean of each channel of what layers give, over data of any length."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from compress.quantization.calibration import runs
from models.records import Arrays, Model

Array = np.ndarray[Any, Any]
Dims = tuple[int, ...]  # of a result from its channels on: (C,) where they come last, (C, 1, 1) before two dimensions


class ChannelSums:
    """Sums over all but the channels, and of how many numbers each is made.

    Args:
        layers: name -> dimensions of what it gives from the channels on, those after them as 1.
    """

    def __init__(self, layers: Mapping[str, Dims]) -> None:
        self._layers = layers
        self._totals = {name: np.zeros(dims[0]) for name, dims in layers.items()}
        self._counts = dict.fromkeys(layers, 0)

    def add(self, name: str, array: Array) -> None:
        """What a layer gave in one run."""
        dims = self._layers[name]
        channels = array.ndim - len(dims)
        others = tuple(axis for axis in range(array.ndim) if axis != channels)
        self._totals[name] += array.sum(axis=others, dtype=np.float64)
        self._counts[name] += array.size // dims[0]

    @property
    def means(self) -> dict[str, Array]:
        """By layer, (C,) each; none of a layer that gave nothing."""
        return {name: total / self._counts[name] for name, total in self._totals.items() if self._counts[name]}


def channel_means(
    model: Model, layers: Mapping[str, Dims], batches: Iterable[Arrays]
) -> tuple[dict[str, Array], list[Arrays]]:
    """What the main graph's layers give on average, and the inputs of each run, states among them.

    Args:
        model: ONNX; a streaming one is stepped through its states.
        layers: name of a node -> dimensions of its result from the channels on, those after them as 1.
        batches: named inputs; a run takes as many rows as keep what is looked at small.

    Returns:
        (C,) by the name of the node; the runs.
    """
    given = {node.name: node.outputs[0].name or "" for node in model.onnx.graph if node.name in layers}
    inputs, sums = [spec.name for spec in model.inputs], ChannelSums(layers)
    fed: list[Arrays] = []
    for tensors, _ in runs(model, given.values(), batches):
        for name, output in given.items():
            sums.add(name or "", tensors[output])
        fed.append({name: tensors[name] for name in inputs})
    return sums.means, fed
