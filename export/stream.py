"""Arrays held to a model's inputs, and streaming models stepped through their states. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from models.errors import CompressError, DataError
from models.records import Arrays, InputSpec, OutputSpec, Runner


def check_arrays(inputs: Iterable[InputSpec], arrays: Arrays, who: str = "") -> None:
    """Hold arrays to the inputs' names, types and dimensions; one letter has one size in all of them.

    Raises:
        DataError: naming the first that does not fit.
    """
    inputs = tuple(inputs)
    model = f"model {who!r}" if who else "the model"
    sizes: dict[str, tuple[int, str]] = {}
    for spec in inputs:
        if spec.name not in arrays:
            given = ", ".join(repr(n) for n in arrays) or "nothing"
            raise DataError(f"{model} takes an input {spec.name!r}, and the data hold {given}.")
        array = arrays[spec.name]
        says = f"{model} takes {spec.name!r} as {spec.dtype}[{','.join(map(str, spec.dims))}], and the data hold "
        if str(array.dtype) != spec.dtype:
            raise DataError(f"{says}{array.dtype}{list(array.shape)}. Convert them: array.astype({spec.dtype!r}).")
        if array.ndim != len(spec.dims):
            raise DataError(f"{says}an array of shape {list(array.shape)}.")
        for dim, size in zip(spec.dims, array.shape, strict=True):
            if isinstance(dim, int) and dim != size:
                raise DataError(f"{says}an array of shape {list(array.shape)}.")
            if isinstance(dim, str) and sizes.setdefault(dim, (size, spec.name))[0] != size:
                first, other = sizes[dim]
                raise DataError(
                    f"{says}an array of shape {list(array.shape)}: {dim!r} is {first} in {other!r} already."
                )
    for name in arrays:
        if name not in {spec.name for spec in inputs}:
            raise DataError(f"{model} takes no input {name!r}; it takes {', '.join(repr(s.name) for s in inputs)}.")


def stream(
    runner: Runner, inputs: Iterable[InputSpec], batches: Iterable[Arrays], outputs: Iterable[OutputSpec] = ()
) -> Iterator[Arrays]:
    """Step a streaming model over a sequence: each step's outputs feed the states that name them; see `Memory`.

    A model without states is run batch by batch.
    """
    memory = Memory(inputs, outputs)
    for batch in batches:
        yield memory.step(runner, batch)[1]


class Memory:
    """The states of a streaming model between steps, where the arrays of a step do not hold them.

    A step that holds a state sets it, so a new sequence begins with it. Before the first step a state is what
    `initial_state` says. It begins anew where the arrays ask for states of another size, after `forget`, and where the
    model does not take the step with all that it has grown to remember: a cache is longer than its positions.
    """

    def __init__(self, inputs: Iterable[InputSpec], outputs: Iterable[OutputSpec]) -> None:
        self._inputs, self._outputs = tuple(inputs), tuple(outputs)
        self.forget()

    def forget(self) -> None:
        """Begin anew at the next step."""
        self._state: dict[str, np.ndarray[Any, Any]] = {}

    def step(self, run: Runner, arrays: Arrays) -> tuple[dict[str, np.ndarray[Any, Any]], Arrays]:
        """One step; all inputs that it was made with, and what the runner gave, states among it.

        Raises:
            CompressError: the runner's, where the model does not take the step with states at their beginning either.
        """
        begun = {**initial_state(self._inputs, arrays, self._outputs), **arrays}
        fed = begun
        if self._state and all(_goes_on(kept, begun[name]) for name, kept in self._state.items()):
            fed = {**self._state, **arrays}
        try:
            made = run(fed)
        except CompressError:
            if all(fed[name].shape == begun[name].shape for name in self._state):
                raise
            fed, made = begun, run(begun)
        self._state = {s.name: np.asarray(made[s.state_of]) for s in self._inputs if s.state_of is not None}
        return fed, made


class Going:
    """A runner of a streaming model that keeps its states from call to call; see `Memory`."""

    def __init__(self, run: Runner, inputs: Iterable[InputSpec], outputs: Iterable[OutputSpec]) -> None:
        self._run, self._memory = run, Memory(inputs, outputs)

    def restart(self) -> None:
        """Forget the states."""
        self._memory.forget()

    def __call__(self, arrays: Arrays) -> Arrays:
        """One step."""
        return self._memory.step(self._run, arrays)[1]


def _goes_on(kept: np.ndarray[Any, Any], begun: np.ndarray[Any, Any]) -> bool:
    """Whether a state has the size that one at its beginning would have; a length that grows is 0 there."""
    return all(want in (0, have) for have, want in zip(kept.shape, begun.shape, strict=True))


def initial_state(
    inputs: Iterable[InputSpec],
    batch: Arrays,
    outputs: Iterable[OutputSpec] = (),
    *,
    lengths: Mapping[str, int] | None = None,
) -> dict[str, np.ndarray[Any, Any]]:
    """What each state is before the first step: its initial value, as large as the batch says.

    A length that grows (see `growing`) is 0: nothing is remembered yet. Any other letter that is not in the batch is 1.

    Args:
        inputs: of the form.
        batch: named arrays of the first step.
        outputs: of the form, where they are known.
        lengths: by letter, in the place of those of a length that grows.
    """
    inputs = tuple(inputs)
    sizes = dict(lengths if lengths is not None else dict.fromkeys(growing(inputs, outputs), 0)) | {
        dim: size
        for spec in inputs
        if spec.name in batch
        for dim, size in zip(spec.dims, batch[spec.name].shape, strict=False)
        if isinstance(dim, str)
    }
    return {
        spec.name: np.full([sizes.get(d, 1) if isinstance(d, str) else d for d in spec.dims], spec.initial, spec.dtype)
        for spec in inputs
        if spec.state_of is not None
    }


def growing(inputs: Iterable[InputSpec], outputs: Iterable[OutputSpec] = ()) -> frozenset[str]:
    """The letters of lengths that grow step by step, as those of a cache of keys and values do.

    Such a letter is found in states alone. Where the outputs are known, the state comes out with another length than it
    went in with; where not, their first letter is the batch.
    """
    inputs, given = tuple(inputs), {spec.name: spec.dims for spec in outputs}
    plain = {d for spec in inputs if spec.state_of is None for d in spec.dims}
    found = set()
    for spec in inputs:
        if spec.state_of is None:
            continue
        after = given.get(spec.state_of, (None,) * len(spec.dims))
        for position, (before, now) in enumerate(zip(spec.dims, after, strict=False)):
            may = position or spec.state_of in given
            if may and isinstance(before, str) and before not in plain and now != before:
                found.add(before)
    return frozenset(found)
