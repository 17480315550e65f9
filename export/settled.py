"""Which lengths of a foreign network's states grow from step to step: seen by running it. Imports no torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from export.session import runner_for
from export.stream import growing, initial_state
from models.errors import CompressError
from models.records import Arrays, InputSpec, Model, Runner


def settled(model: Model, batch: Arrays) -> Model:
    """The model with the lengths of its states told apart: a cache grows with each step, other states stay as they are.

    A nameless dimension does not say which it is, and an output may call the same length by another name. So the model
    is run with nothing remembered, or where it does not run so, with one of it. What comes out no longer than it went
    in stays: it is as long as the batch where the model runs so on two rows, else one.

    Args:
        model: whose states are told.
        batch: arrays of its other inputs that it takes.
    """
    unsure = growing(model.inputs, model.outputs)
    if not unsure:
        return model
    run, leading = runner_for(model), _leading(model)
    one = _rows(model, batch, leading, 1)
    length, made = 0, _tried(run, model, one, dict.fromkeys(unsure, 0))
    if made is None:
        length, made = 1, _tried(run, model, one, dict.fromkeys(unsure, 1))
    if made is None:
        return model  # whoever runs it says what is wrong
    stays = {letter for letter in unsure if _length_after(model, made, letter) <= length}
    two = None if leading is None else _rows(model, batch, leading, 2)
    as_rows = two is not None and _tried(run, model, two, {**dict.fromkeys(unsure, length), **dict.fromkeys(stays, 2)})
    inputs = [_with(spec, stays, leading if leading and as_rows else 1) for spec in model.inputs]
    return replace(model, inputs=tuple(inputs))


def _leading(model: Model) -> str | None:
    """The letter of the rows; None where their number is fixed."""
    firsts = [spec.dims[0] for spec in model.inputs if spec.state_of is None and spec.dims]
    return firsts[0] if firsts and isinstance(firsts[0], str) else None


def _rows(model: Model, batch: Arrays, leading: str | None, count: int) -> dict[str, np.ndarray[Any, Any]]:
    """The batch with its first row so many times; as it is where rows are fixed."""
    of_rows = {spec.name for spec in model.inputs if spec.dims and spec.dims[0] == leading}
    return {
        name: np.repeat(np.asarray(array)[:1], count, axis=0) if name in of_rows else np.asarray(array)
        for name, array in batch.items()
    }


def _tried(run: Runner, model: Model, batch: Arrays, lengths: Mapping[str, int]) -> Arrays | None:
    """What the model gives with states of these lengths; None where it does not run."""
    begun = initial_state(model.inputs, batch, lengths=lengths)
    try:
        return run({**begun, **batch})
    except CompressError:
        return None


def _length_after(model: Model, made: Arrays, letter: str) -> int:
    """How long a length of the states is after a step."""
    lengths = [
        np.asarray(made[spec.state_of]).shape[position]
        for spec in model.inputs
        if spec.state_of is not None and spec.state_of in made
        for position, dim in enumerate(spec.dims)
        if dim == letter and position < np.asarray(made[spec.state_of]).ndim
    ]
    return max(lengths, default=0)


def _with(spec: InputSpec, stays: Collection[str], dim: str | int) -> InputSpec:
    if spec.state_of is None:
        return spec
    return replace(spec, dims=tuple(dim if each in stays else each for each in spec.dims))
