"""Runners for scores: whoever hands them the batches of a split need neither carry states nor cut batches to fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from export.session import runner_for
from export.stream import Going
from export.whole_samples import are_whole, joined
from models.records import Arrays, Model, Runner

Array = np.ndarray[Any, Any]


def stepped(model: Model) -> Runner:
    """A runner whose states go on from call to call where the arrays do not hold them; else the usual one.

    A model of several forms has its states in one of them, which is stepped by who knows the order.
    """
    run = runner_for(model)
    streams = not model.forms and any(spec.state_of for spec in model.inputs)
    return Going(run, model.inputs, model.outputs) if streams else run


def any_batch(model: Model) -> Runner:
    """A runner for batches of any size, also where the model fixes its own: then the rows come in as many parts."""
    run, rows = stepped(model), fixed_rows(model)
    if rows is None or isinstance(run, Going):  # the rows of a stream are its steps
        return run

    def in_parts(arrays: Arrays) -> Arrays:
        data = {spec.name: np.asarray(arrays[spec.name]) for spec in model.inputs if spec.name in arrays}
        if are_whole(data, model.inputs):
            return run(arrays)
        lengths = {len(array) for array in data.values() if array.ndim}
        total = lengths.pop() if len(lengths) == 1 else 0
        if total in (0, rows):
            return run(arrays)  # it says what does not fit
        parts = [run(_rows_from(data, start, rows)) for start in range(0, total, rows)]
        return {name: _joined([np.asarray(part[name]) for part in parts], rows, total) for name in parts[0]}

    return in_parts


def fixed_rows(model: Model) -> int | None:
    """How many rows all inputs fix; None where one leaves them free."""
    firsts = {spec.dims[0] if spec.dims else None for spec in model.inputs if not spec.is_one_number}
    first = firsts.pop() if len(firsts) == 1 else None
    return first if isinstance(first, int) else None


def in_rows(arrays: Arrays, rows: int) -> Iterator[Arrays]:
    """The arrays so many rows at a time, without a rest; as they are where they are fewer."""
    data = {name: np.asarray(array) for name, array in arrays.items()}
    total = max((len(array) for array in data.values() if array.ndim), default=0)
    if total <= rows:
        yield arrays
        return
    for start in range(0, total - rows + 1, rows):
        yield _rows_from(data, start, rows)


def _joined(parts: Sequence[Array], rows: int, total: int) -> Array:
    """One array of all parts.

    Of a number for each of them, a row of numbers. A list, whose length is not that of the rows, is longer; what has
    another shape in each part is filled up behind, floats with NaN.
    """
    if not parts[0].ndim:
        return np.stack(parts)
    whole = joined(parts)
    return whole[:total] if all(len(part) == rows for part in parts) else whole


def _rows_from(arrays: Mapping[str, Array], start: int, rows: int) -> Arrays:
    """So many rows from there on; behind the end the last one comes again."""
    return {
        name: array[np.minimum(np.arange(start, start + rows), len(array) - 1)] if array.ndim else array
        for name, array in arrays.items()
    }
