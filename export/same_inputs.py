"""What models that are compared are run on: one length for all, and the same numbers. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from models.records import Arrays, InputSpec, Model, sizes_of

Place = tuple[str, int]  # an input's name and one of its axes: letters are each model's own


def known_lengths(models: Sequence[Model]) -> dict[Place, int]:
    """The usual length of each input's free axes, by the first model that has one.

    A file of ours knows the lengths of its data, and one as somebody wrote it none. What no model knows is as the first
    of them would have it by itself, so that one of a fixed batch, whose letters count from another, follows.
    """
    known: dict[Place, int] = {}
    for model in models:
        for place, letter in _free(model):
            if letter in model.typical:
                known.setdefault(place, model.typical[letter])
    for model in models[:1]:
        sizes = sizes_of(model)
        for place, letter in _free(model):
            known.setdefault(place, sizes[letter])
    return known


def usual_sizes(model: Model, known: Mapping[Place, int]) -> dict[str, int]:
    """The known lengths by the letters of this model; where inputs disagree, the first of them has its way."""
    sizes: dict[str, int] = {}
    for place, letter in _free(model):
        if place in known:
            sizes.setdefault(letter, known[place])
    return sizes


def same_numbers(models: Sequence[Model]) -> list[Model]:
    """The models with the numbers beside their rows, such as a sampling rate, that any of them knows."""
    known = {spec.name: spec.usual for model in models for spec in model.inputs if spec.usual is not None}

    def told(spec: InputSpec) -> InputSpec:
        unknown = spec.is_one_number and spec.usual is None
        return replace(spec, usual=known[spec.name]) if unknown and spec.name in known else spec

    return [replace(model, inputs=tuple(map(told, model.inputs))) for model in models]


def same_arrays(models: Sequence[Model], arrays: Sequence[Arrays]) -> list[Arrays]:
    """Each model's arrays, those of the first wherever name, type and shape are the same; states stay its own."""
    first = {(spec.name, spec.dtype): arrays[0][spec.name] for spec in models[0].inputs}
    return [_shared(model, own, first) for model, own in zip(models, arrays, strict=True)]


def _shared(model: Model, own: Arrays, first: Mapping[tuple[str, str], np.ndarray[Any, Any]]) -> Arrays:
    inputs = dict(own)
    for spec in model.inputs:
        other = first.get((spec.name, spec.dtype))
        if spec.state_of is None and other is not None and other.shape == inputs[spec.name].shape:
            inputs[spec.name] = other
    return inputs


def _free(model: Model) -> Iterator[tuple[Place, str]]:
    for spec in model.inputs:
        for axis, letter in enumerate(spec.dims):
            if isinstance(letter, str):
                yield (spec.name, axis), letter
