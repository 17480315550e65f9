"""What two runtimes of one model are compared on: the user's data, the model's sample, or arrays made for it. No torch.

A stranger's network may take no picture below some size, or a sampling rate that is one of two: arrays are made until
one runs, and where none does the user is asked for data.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from export.session import runner_for
from export.stepped import fixed_rows
from export.stream import growing, initial_state
from export.whole_samples import are_whole, each_sample
from models.errors import CompressError, DataError
from models.records import Arrays, Form, InputSpec, Model, Runner, example, sizes_of

_ROWS = 3  # of the user's batch: enough to see that rows are kept apart
_LENGTHS = (32, 64, 128, 224, 256, 320, 512, 640)  # of each free dimension, tried where the usual 16 is too short
_LONGER = (1024, 1536, 4096, 16000)  # for sound, which has few dimensions
_WHOLE = (16000, 8000, 1, 4)  # for whole numbers alone: a sampling rate, a number of steps


def batches_for(model: Model, *, form: str | None = None, given: Sequence[Arrays] = ()) -> Iterator[dict[str, Any]]:
    """What to compare a form on: data given, the model's sample where it has one, else random arrays of several sizes.

    The first letter of a model is taken to be the batch (1, 2, 3 and 5); the others are as usual, doubled, halved and
    a little longer. A state that grows is empty at first. Sizes that the model itself does not take are left out.

    Raises:
        DataError: the model runs on none of them.
    """
    part = model if form is None else model.forms[form]
    fed = [spec for spec in part.inputs if spec.state_of is None]
    runner = runner_for(model, form=form)
    if form is None and given and are_whole(given[0], part.inputs):
        yield from itertools.islice(each_sample(given[0], part.inputs), _ROWS)
        return
    if form is None and given:
        yield from _rows_of(runner, part, _fitting(model, given[0]))
        return
    if form is None and model.sample is not None and set(model.sample) >= {spec.name for spec in fed}:
        yield _fitting(model, {s.name: np.asarray(model.sample[s.name]) for s in part.inputs if s.name in model.sample})
        return
    empty = dict.fromkeys(growing(part.inputs, part.outputs), 0)
    sizes, *others = trial_sizes(model)
    first = example(part.inputs, {**sizes, **empty})
    if (why := _refusal(runner, first)) is not None:
        yield _first_that_runs(runner, model, part, sizes, why)
        return
    yield first
    for i, sizes in enumerate(others, 1):
        batch = example(part.inputs, sizes, seed=i)
        if _refusal(runner, batch) is None:
            yield batch


def runnable(model: Model) -> Model:
    """An ONNX model with sizes for its letters, and numbers beside its rows, at which its main form runs.

    The usual ones where it runs at them, else longer ones. The letter of a state that grows has no size: it is empty at
    first, and then as long as what came before.

    Raises:
        DataError: it runs at none of them.
    """
    empty = growing(model.inputs, model.outputs)
    usual = sizes_of(model)
    runner = runner_for(model)
    why = _refusal(runner, example(model.inputs, {**usual, **dict.fromkeys(empty, 0)}))
    if why is None:
        return model
    found = _first_that_runs(runner, model, model, usual, why)
    shapes = ((spec, np.shape(found[spec.name])) for spec in model.inputs)
    sizes = {d: n for spec, shape in shapes for d, n in zip(spec.dims, shape, strict=True) if isinstance(d, str)}
    typical = {letter: size for letter, size in sizes.items() if letter not in empty and size != usual[letter]}
    return replace(with_usual(model, found), typical={**typical, **model.typical})


def with_usual(model: Model, batch: Arrays) -> Model:
    """The model with the whole numbers beside the rows of a batch as what they usually are."""
    if all(len(spec.dims) < 2 for spec in model.inputs):
        return model  # a single token, say, is no number beside something

    def told(spec: InputSpec) -> InputSpec:
        array = np.asarray(batch.get(spec.name, ()))
        whole = array.size == 1 and array.dtype.kind in "iu"
        return replace(spec, usual=int(array.flat[0])) if whole and spec.is_one_number else spec

    return replace(model, inputs=tuple(map(told, model.inputs)))


def _fitting(model: Model, batch: Arrays) -> dict[str, Any]:
    """The first rows of a batch, as many as the model takes that fixes their number; else all."""
    rows, arrays = fixed_rows(model), {name: np.asarray(array) for name, array in batch.items()}
    return arrays if rows is None else {name: array[:rows] for name, array in arrays.items()}


def trial_sizes(model: Model) -> list[dict[str, int]]:
    """Sizes of the letters to try a model at, the usual ones first; each once."""
    usual = sizes_of(model)
    if not usual:
        return [{}]
    batch, *others = usual
    tried = []
    trials: tuple[tuple[int, Callable[[int], int]], ...] = (
        (1, lambda t: t),
        (2, lambda t: 2 * t),
        (5, lambda t: max(t // 2, 1)),
        (3, lambda t: t + 3),
    )
    for n, change in trials:
        sizes = {batch: n if usual[batch] == 1 else change(usual[batch])} | {k: change(usual[k]) for k in others}
        if sizes not in tried:
            tried.append(sizes)
    return tried


def _rows_of(runner: Runner, part: Model | Form, batch: Arrays) -> Iterator[dict[str, Any]]:
    """The first row of a batch and the first three, where the rows may be fewer; else the batch. States begin.

    Raises:
        DataError: the model does not run on it.
    """
    whole = {name: np.asarray(array) for name, array in batch.items()}
    runs_alone = False
    first = {spec.dims[0] if spec.dims else None for spec in part.inputs if spec.name in whole}
    if len(first) == 1 and isinstance(next(iter(first)), str):
        whole = {name: array[:_ROWS] for name, array in whole.items()}
        one = _begun(part, {name: array[:1] for name, array in whole.items()})
        if runs_alone := _refusal(runner, one) is None:
            yield one
    whole = _begun(part, whole)
    if (why := _refusal(runner, whole)) is not None:
        if runs_alone:
            letter = next(iter(first))
            raise DataError(
                f"the network runs on one sample and not on {_ROWS}, though its file calls the batch {letter!r} free: "
                f"{why}. Say so in the file, then try again: python -m onnxruntime.tools.make_dynamic_shape_fixed "
                f"--dim_param {letter} --dim_value 1 IN.onnx OUT.onnx"
            )
        shapes = ", ".join(f"{name!r} {list(array.shape)}" for name, array in whole.items())
        raise DataError(f"the network does not run on the data ({shapes}): {why}. Give data that it takes.")
    yield whole


def _begun(part: Model | Form, arrays: Arrays) -> dict[str, Any]:
    return {**initial_state(part.inputs, arrays, part.outputs), **arrays}


def _first_that_runs(
    runner: Runner, model: Model, part: Model | Form, sizes: dict[str, int], why: str
) -> dict[str, Any]:
    """An example of other lengths, or with other whole numbers, on which the model runs.

    Raises:
        DataError: there is none.
    """
    batch, grow = next(iter(sizes), None), growing(part.inputs, part.outputs)
    free = [letter for letter in sizes if (letter != batch or model.typical.get(letter)) and letter not in grow]
    flat = all(len(spec.dims) <= 3 for spec in part.inputs)
    whole = [spec.name for spec in part.inputs if np.issubdtype(np.dtype(spec.dtype), np.integer)]
    lengths = (None, *(_LENGTHS + (_LONGER if flat else ()) if free else ()))
    # a state whose length nobody knows may be empty at first, or one like any other
    for length, remembered in itertools.product(lengths, (0, 1) if grow else (0,)):
        longer = dict.fromkeys(grow, remembered) | ({} if length is None else dict.fromkeys(free, length))
        tried = example(part.inputs, {**sizes, **longer})
        for number in (None, *(_WHOLE if whole else ())):
            new = {name: np.full_like(tried[name], number) for name in whole if number is not None}
            if _refusal(runner, {**tried, **new}) is None:
                return {**tried, **new}
    raise DataError(
        f"model {model.name!r} runs on no example that was made for it, so nothing can be checked: {why}. "
        "Give --data with arrays that it takes, one per input, named as the inputs."
    )


def _refusal(runner: Runner, batch: Arrays) -> str | None:
    """What the runtime says against a batch, in one line."""
    try:
        runner(batch)
    except CompressError as error:
        return str(error).rstrip(".")
    except Exception as error:
        text = (str(error).splitlines() or [type(error).__name__])[0]
        return (text.partition(" : ")[2].partition(" : ")[2] or text).rstrip(".")
    return None
