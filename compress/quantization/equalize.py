"""Equalization: a channel of a tensor is made smaller and all that reads it larger, so that one grid fits all channels.

Eight bits are spread over the widest channel of a tensor; what lies in a narrow one falls between the names. Channel i
of a tensor at a junction may be divided by any s_i > 0, the readers' weights taking s_i, and the network computes what
it did. With r_i the reach of the channel on calibration data, and w_i that of the readers' weights on it,

    s_i = sqrt(r_i / w_i)

gives both the reach sqrt(r_i w_i), whose square no s_i changes: neither is made worse than the other.

Source: pairs of layers, also through depthwise ones, Nagel et al. 2019 (arXiv:1906.04721) sec. 4.1; there r_i is of the
giver's weights, which have a scale for each channel here, so that what was seen stands in its place, as in Xiao et al.
2022 (arXiv:2211.10438) sec. 4, alpha 0.5.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from compress.quantization.calibration import runs
from compress.quantization.junctions import Junction, Part, junctions
from compress.quantization.onnx_weights import array
from models.records import Arrays, Model

Array = np.ndarray[Any, Any]
Name = tuple[str, ...]  # of a junction

_ROUNDS = 50
_SETTLED = 1.001  # a factor so near to one changes nothing that eight bits could tell


def rescaled(model: Model, by: Mapping[Name, Array]) -> Model:
    """The model with the channels of its junctions divided, in all forms; it computes what it did."""

    def divided(network: Any) -> ir.Model:
        made: ir.Model = network.clone()
        for junction in junctions(made.graph):
            if junction.name in by:
                _rescale(junction, by[junction.name])
        return made

    forms = {name: replace(form, network=divided(form.network)) for name, form in model.forms.items()}
    return replace(model, network=divided(model.network), forms=forms)


def shared_junctions(model: Model) -> list[Junction]:
    """Those of the main graph that each further one has too, or has nothing of."""
    kept = junctions(model.onnx.graph)
    graphs: list[ir.Graph] = [form.network.graph for form in model.forms.values()]
    for graph in graphs:
        there = {junction.name for junction in junctions(graph)}
        kept = [j for j in kept if j.name in there or not any(name in graph.initializers for name in j.name)]
    return kept


def channel_reaches(model: Model, found: Sequence[Junction], batches: Iterable[Arrays]) -> dict[Name, Array]:
    """The largest magnitude in each channel of each junction's tensor, on data; (C,) each."""
    names = [junction.tensor.name or "" for junction in found]
    reaches: dict[Name, Array] = {}
    for tensors, _ in runs(model, names, batches):
        for junction, name in zip(found, names, strict=True):
            here = _reach(tensors[name], junction.axis)
            reaches[junction.name] = np.maximum(reaches.get(junction.name, 0.0), here)
    return reaches


def factors(found: Sequence[Junction], reaches: Mapping[Name, Array]) -> dict[Name, Array]:
    """What to divide each channel by, (C,) each; repeated until none changes, for a weight may lie at two junctions.

    Args:
        found: of one graph.
        reaches: of their channels, before.
    """
    numbers = {part.value: array(part.value).astype(np.float64) for j in found for part in (*j.gives, *j.reads)}
    made = {junction.name: np.ones(len(reaches[junction.name])) for junction in found}
    for _ in range(_ROUNDS):
        most = 1.0
        for junction in found:
            heard = np.max([_reach(numbers[part.value], part.axis) for part in junction.reads], axis=0)
            step = _balance(reaches[junction.name] / made[junction.name], heard)
            for part, by in _by(junction, step):
                numbers[part.value] = numbers[part.value] * by
            made[junction.name] = made[junction.name] * step
            most = max(most, float(step.max()), float((1 / step).max()))
        if most <= _SETTLED:
            break
    return made


def _balance(reach: Array, heard: Array) -> Array:
    """The s with reach / s = heard * s; 1 where a channel is dead or nobody hears it."""
    alive = (reach > 0) & (heard > 0)
    return np.sqrt(np.where(alive, reach, 1.0) / np.where(alive, heard, 1.0))


def _rescale(junction: Junction, by: Array) -> None:
    for part, factor in _by(junction, by):
        made = (array(part.value).astype(np.float64) * factor).astype(np.float32)
        part.value.const_value = ir.tensor(made, name=part.value.name)


def _by(junction: Junction, by: Array) -> Iterable[tuple[Part, Array]]:
    """Each constant, and what it is multiplied with."""
    for part, factor in (*((p, 1 / by) for p in junction.gives), *((p, by) for p in junction.reads)):
        yield part, factor.reshape([-1 if axis == part.axis else 1 for axis in range(array(part.value).ndim)])


def _reach(numbers: Array, axis: int) -> Array:
    """The largest magnitude at each index along an axis."""
    rows = np.moveaxis(numbers, axis, 0)
    reach: Array = np.abs(rows.reshape(len(rows), -1)).max(axis=1, initial=0.0).astype(np.float64)
    return reach
