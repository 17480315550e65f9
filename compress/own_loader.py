"""A user's own loader, `pkg.module:loader`: whatever it yields is read once and split by the seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from compress.own_arrays import task_of
from export.foreign import called, calling
from models.errors import DataError
from models.records import Model, Task

Array = np.ndarray[Any, Any]


def loader_task(reference: str, model: Model | None, *, seed: int = 0, batch_size: int = 64) -> Task:
    """The task of a loader: an iterable of batches, or a callable that gives one.

    A batch is (inputs, target) or inputs alone; inputs are an array or tensor, several of them in the order of the
    model's inputs, or a dict by their names.

    Raises:
        DataError: it yields nothing, or what is not understood.
        CompressError: it raised.
    """
    loader = called(reference, option="--data")
    if isinstance(loader, Mapping) or not isinstance(loader, Iterable):
        raise DataError(
            f"--data {reference!r} gives a {type(loader).__name__}; wanted batches: an iterable of (inputs, target)."
        )
    rows = _Rows(reference)
    names = [s.name for s in model.inputs if s.state_of is None] if model is not None else []
    with calling(f"--data {reference!r}"):
        for batch in loader:
            inputs, target = _parted(batch, len(names), reference)
            rows.add({**_named(inputs, names), **({} if target is None else {"y": target})})
    arrays = rows.arrays()
    target = arrays.pop("y", None)
    return task_of(arrays, target, model, source=reference, seed=seed, batch_size=batch_size)


class _Rows:
    """Batches put together, so that a stream that runs once can be read again and in any order."""

    def __init__(self, reference: str) -> None:
        self.reference = reference
        self.batches: dict[str, list[Array]] = {}

    def add(self, arrays: Mapping[str, Array]) -> None:
        """One batch more; raises DataError where its rows are of another shape or type than before."""
        for name, array in arrays.items():
            kept = self.batches.setdefault(name, [])
            first = kept[0] if kept else array
            if array.ndim == 0 or (array.dtype, array.shape[1:]) != (first.dtype, first.shape[1:]):
                was, now = (f"{a.dtype}{list(a.shape[1:])}" for a in (first, array))
                raise DataError(
                    f"--data {self.reference!r}: rows of {name!r} were {was}, and then {now}. "
                    "Rows of differing length need a task of your own: --task pkg.module:factory."
                )
            kept.append(array)

    def arrays(self) -> dict[str, Array]:
        """All that was added."""
        if not self.batches:
            raise DataError(f"--data {self.reference!r} has no rows: it yields no batch. Was its generator used up?")
        return {name: np.concatenate(kept) for name, kept in self.batches.items()}


def _parted(batch: Any, inputs: int, reference: str) -> tuple[Any, Array | None]:
    if isinstance(batch, Mapping):
        rest = dict(batch)
        target = rest.pop("y", None)
        return rest, None if target is None else _array(target, reference)
    if not isinstance(batch, tuple | list):
        return batch, None
    if len(batch) == 1:
        return batch[0], None
    if len(batch) == 2 and isinstance(batch[0], Mapping | tuple | list):
        return batch[0], _array(batch[1], reference)
    if len(batch) == inputs > 1:
        return list(batch), None
    return list(batch[:-1]), _array(batch[-1], reference)


def _named(inputs: Any, names: list[str]) -> dict[str, Array]:
    if isinstance(inputs, Mapping):
        return {str(name): _array(array, str(name)) for name, array in inputs.items()}
    listed = inputs if isinstance(inputs, tuple | list) else [inputs]
    names = names if len(names) == len(listed) else ["x"] if len(listed) == 1 else [f"x{i}" for i in range(len(listed))]
    return {name: _array(array, name) for name, array in zip(names, listed, strict=True)}


def _array(value: Any, where: str) -> Array:
    value = value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
    if value.dtype.hasobject:
        raise DataError(f"{where}: a batch holds {value.dtype}; wanted numbers in arrays or tensors.")
    return np.asarray(value)
