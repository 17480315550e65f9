"""A user's arrays: held to what the model takes, split by the seed, and made the task that their labels call for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from compress.agreement import answers
from compress.choices import decides
from compress.labelled import SHOWN, meaning
from compress.own_tasks import InputBatches, Unlabelled
from export.states import likely_states
from export.stepped import any_batch, fixed_rows
from export.whole_samples import are_whole
from models.batches import ArrayBatches
from models.errors import DataError
from models.records import Arrays, InputSpec, Model, OutputSpec, Runner, Task

Array = np.ndarray[Any, Any]
Prepare = Mapping[str, Callable[[Array], Array]]
SHARES = (0.7, 0.15)  # of train and validation; test is the rest
FEWEST_ROWS = 3  # one for each split


def task_of(
    arrays: Arrays,
    target: Array | None,
    model: Model | None,
    *,
    source: str,
    seed: int = 0,
    batch_size: int = 64,
    labels: tuple[str, ...] = (),
    prepare: Callable[[Array], Array] | None = None,
) -> Task:
    """The task that these arrays make for the model.

    What targets mean follows from the outputs that the model gives (`labelled.py`); without targets the task is to
    agree with the model itself.

    Args:
        arrays: one per input, named as the inputs; a single one may have any name. A number, or an array of just the
            shape that an input without a free dimension takes, is the same for all rows.
        target: one row for each row of the arrays, or None.
        model: what it is for; None where the arrays shall only show their shapes. One that streams takes the rows as
            steps of one sequence, in their order.
        source: the file or the name, for messages.
        seed: of the split.
        batch_size: rows a batch.
        labels: class names, where the data has them.
        prepare: from what is stored to what the network takes, batch by batch.

    Raises:
        DataError: names, shapes, types or numbers of rows do not fit, or a label is out of range.
    """
    arrays = dict(arrays) if model is None else fitted(arrays, model, source, checked=prepare is None)
    once = [] if model is None else [s.name for s in model.inputs if _is_given_once(s, arrays)]
    shared = {name: arrays.pop(name) for name in once}
    if model is not None and not arrays:
        raise DataError(_unfed(model, source))
    rows = _rows(arrays, target, source)
    _refuse_nan(arrays, source)
    streams = model is not None and any(spec.state_of for spec in model.inputs)
    order = np.arange(rows) if streams else np.random.default_rng(seed).permutation(rows)
    names = labels or (model.labels if model is not None else ())
    shown = _shown(arrays, shared, prepare, 1 if streams else SHOWN)
    meant = None if target is None else meaning(_checked(target, source), model, shown, names, source)
    target = None if meant is None else meant.target
    cuts = np.clip(np.cumsum([rows * share for share in SHARES]).astype(int), [1, 2], [rows - 2, rows - 1])
    splits = [
        _batches(arrays, target, order[part], 1 if streams else batch_size, prepare, shared, ordered=streams)
        for part in _parts(rows, cuts)
    ]
    return _unlabelled(source, splits, model, names) if meant is None else meant.task(source, splits)


def fitted(arrays: Arrays, model: Model, source: str, *, checked: bool = True) -> dict[str, Array]:
    """The arrays under the names of the model's inputs, in its types.

    Args:
        arrays: as the user named them; a single one may have any name.
        model: whose inputs they are for; its states need none, and begin anew in each row that gives them.
        source: the file or the name, for messages.
        checked: hold shapes and types to the model's; images that are prepared later are not yet what it takes.

    Raises:
        DataError: an array is missing, too many, or of a shape or type the model does not take.
    """
    wanted = {spec.name: spec for spec in model.inputs if spec.state_of is None}
    if not wanted:
        return {}
    arrays = {name: array for name, array in arrays.items() if not _is_where_it_begins(name, array, model, source)}
    if len(wanted) == 1 and len(arrays) == 1:
        arrays = {next(iter(wanted)): next(iter(arrays.values()))}
    known = {spec.name for spec in model.inputs}
    missing, extra = [n for n in wanted if n not in arrays], [n for n in arrays if n not in known]
    if missing or extra:
        has = ", ".join(f"{name}{list(a.shape)}" for name, a in arrays.items())
        takes = ", ".join(f"{spec.name}:{spec.dtype}{_dims(spec)}" for spec in wanted.values())
        hint = " ".join(f"--state {pair}" for pair in likely_states(model, missing)) if not extra else ""
        do = f"Where a step takes it of the step before, say {hint}" if hint else "Name the arrays alike"
        do += f"; labels are called {'labels' if 'y' in known else 'y'!r}" if extra else ""
        raise DataError(f"data {source!r} has {has or 'no array'}, and the model takes {takes}. {do}.")
    if not checked:
        return dict(arrays)
    sizes: dict[str, int] = {}
    whole = are_whole(arrays, model.inputs)
    wanted |= {spec.name: spec for spec in model.inputs if spec.name in arrays}
    return {name: _fit(arrays[name], spec, source, sizes, whole=whole) for name, spec in wanted.items()}


def _is_where_it_begins(name: str, array: Array, model: Model, source: str) -> bool:
    """Whether an array is of a state, without rows, and says only what the state begins with anyway.

    Raises:
        DataError: it is of a state, and says something else, or a row of it is not one of a state's batches.
    """
    spec = next((spec for spec in model.inputs if spec.name == name and spec.state_of is not None), None)
    if spec is None:
        return False
    leading = {other.dims[0] for other in model.inputs if other.state_of is None and other.dims}
    if array.ndim == len(spec.dims) and spec.dims[:1] == tuple(leading) and len(array) != 1:
        return False
    if np.all(array == spec.initial):
        return True
    raise DataError(
        f"data {source!r}: array {name!r} is {array.dtype}{list(array.shape)}, and it is a state, which begins as "
        f"{spec.initial:g} and then is what {spec.state_of!r} was. Leave it out; or give a row of it for each row of "
        "the rest, where its first dimension is the batch, and each of them begins with that."
    )


def _fit(array: Array, spec: InputSpec, source: str, sizes: dict[str, int], *, whole: bool) -> Array:
    """One array in the input's type; letters are noted in `sizes`, and must agree from array to array.

    A row has all dimensions of the input but the first; a sample that is a `whole` input has that too.
    """
    dims = spec.dims if whole else spec.dims[1:]
    fits = array.ndim == len(spec.dims) + whole and all(
        sizes.setdefault(dim, size) == size if isinstance(dim, str) else dim == size
        for dim, size in zip(dims, array.shape[1:], strict=True)
    )
    if not fits:
        raise DataError(
            f"data {source!r}: array {spec.name!r} is {array.dtype}{list(array.shape)}, and the model's "
            f"{spec.name!r} takes {spec.dtype}{_dims(spec)}.{_cause(array, spec)}"
        )
    wanted = np.dtype(spec.dtype)
    if array.dtype == wanted:
        return array
    same_kind = array.dtype.kind == wanted.kind == "f" or (array.dtype.kind in "iu" and wanted.kind in "iu")
    if not same_kind or (wanted.kind in "iu" and _overflows(array, wanted)):
        raise DataError(
            f"data {source!r}: array {spec.name!r} is {array.dtype}, and the model's {spec.name!r} takes "
            f"{spec.dtype}. Convert it as in training (scaling included), and save it again."
        )
    return array.astype(wanted)


def _is_given_once(spec: InputSpec, arrays: Arrays) -> bool:
    """Whether an array is what the input takes as a whole, and no rows: a number, or one of a shape without letters."""
    if spec.name not in arrays or any(isinstance(dim, str) for dim in spec.dims):
        return False
    array = arrays[spec.name]
    most = max((len(other) for name, other in arrays.items() if name != spec.name and other.ndim), default=0)
    return array.shape == spec.dims and (array.ndim == 0 or len(array) < most)


def _overflows(array: Array, wanted: np.dtype[Any]) -> bool:
    info = np.iinfo(wanted)
    return bool(array.size) and (int(array.min()) < info.min or int(array.max()) > info.max)


def _cause(array: Array, spec: InputSpec) -> str:
    if not spec.dims:
        return " It is one number for all samples: save it as that, np.int64(16000)."
    if array.ndim == len(spec.dims) - 1:
        return " Is the first dimension, one row a sample, missing, or the channel?"
    if array.ndim == len(spec.dims) == 4 and (array.shape[3], *array.shape[1:3]) == spec.dims[1:]:
        return " The channels come last in the data and first in the model: transpose it by (0, 3, 1, 2)."
    return ""


def _dims(spec: InputSpec) -> str:
    return f"[{','.join(map(str, spec.dims))}]"


def _unfed(model: Model, source: str) -> str:
    states = ", ".join(f"{spec.name}={spec.state_of}" for spec in model.inputs if spec.state_of)
    why = f"of its inputs, {states} are states; leave out the --state of the one that takes data" if states else ""
    why = why or "what it takes is the same for all rows"
    return f"data {source!r}: no input of the model is left that the rows could feed: {why}."


def _rows(arrays: Arrays, target: Array | None, source: str) -> int:
    counts = {name: len(a) if a.ndim else 0 for name, a in arrays.items()}
    if target is not None:
        counts["y"] = len(target) if target.ndim else 0
    if not counts or min(counts.values()) == 0:
        has = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise DataError(f"data {source!r} has no rows: {has or 'it holds no array'}.")
    if len(set(counts.values())) > 1:
        raise DataError(f"data {source!r}: the arrays have different numbers of rows: {counts}.")
    rows = next(iter(counts.values()))
    if rows < FEWEST_ROWS:
        raise DataError(f"data {source!r} has {rows} rows, and at least {FEWEST_ROWS} are needed, one for each split.")
    return rows


def _refuse_nan(arrays: Arrays, source: str) -> None:
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            row = int(np.argwhere(~np.isfinite(array))[0, 0])
            raise DataError(
                f"data {source!r}: array {name!r} holds NaN or infinity, first in row {row}. Clean it, or leave it out."
            )


def _checked(target: Array, source: str) -> Array:
    if target.dtype.kind not in "fiub":
        raise DataError(f"data {source!r}: the labels y are {target.dtype}; wanted whole numbers, or floats.")
    if target.dtype.kind == "f":
        _refuse_nan({"y": target}, source)
    return target


def _shown(arrays: Arrays, shared: Arrays, prepare: Callable[[Array], Array] | None, rows: int) -> Arrays:
    """The first rows as the network takes them."""
    few = {name: array[:rows] for name, array in arrays.items()}
    return {**(few if prepare is None else {name: prepare(array) for name, array in few.items()}), **shared}


def _parts(rows: int, cuts: Array) -> list[slice]:
    first, second = (int(cut) for cut in cuts)
    return [slice(0, first), slice(first, second), slice(second, rows)]


def _batches(
    arrays: Arrays,
    target: Array | None,
    rows: Array,
    size: int,
    prepare: Callable[[Array], Array] | None,
    shared: Arrays,
    *,
    ordered: bool,
) -> ArrayBatches:
    return ArrayBatches(
        inputs={name: array[rows] for name, array in arrays.items()},
        target=np.zeros(len(rows), np.int64) if target is None else target[rows],
        batch_size=size,
        prepare=None if prepare is None else dict.fromkeys(arrays, prepare),
        shared=shared,
        ordered=ordered,
    )


def _unlabelled(source: str, splits: list[ArrayBatches], model: Model | None, labels: tuple[str, ...]) -> Task:
    reference: Runner = dict
    told: tuple[OutputSpec, ...] = ()
    if model is not None:
        reference, told = any_batch(replace(model, forms={})), answers(model)
        if rows := fixed_rows(model):  # each call by itself: a detector's lists are of a picture
            splits = [split.with_batch_size(rows) for split in splits]
    train, validation, test = splits
    return Unlabelled(
        name=source,
        labels=labels,
        train=InputBatches(train),
        validation=InputBatches(validation),
        test=InputBatches(test),
        reference=reference,
        answers=tuple(spec.name for spec in told),
        choices=tuple(spec.name for spec in told if model is not None and decides(spec, model)),
    )
