"""What is calibrated with: samples from wherever there are some, cut into pieces that a model takes, kept once each.

A few megabytes of them stay in memory and the rest on disk, so that the data may be of any length.
"""

from __future__ import annotations

import hashlib
import itertools
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from compress.base import Context
from export.whole_samples import are_whole, each_sample
from models.errors import DataError
from models.records import Arrays, InputSpec, Model, Task

Array = np.ndarray[Any, Any]

ROWS = 32  # samples a run: enough to be quick, few enough that all tensors of a run fit into memory together
ENOUGH = 32  # samples; with fewer, more than one new input in ENOUGH leaves the range of a tensor
_IN_MEMORY = 32 * 2**20  # bytes


class Joined(Sequence[Arrays]):
    """Two sequences of batches, one behind the other; a batch that lies on disk is read when it is asked for.

    For a model with states each of its `parts` is a sequence that begins anew.
    """

    def __init__(self, first: Sequence[Arrays], second: Sequence[Arrays]) -> None:
        self.parts = first, second

    def __len__(self) -> int:
        """The number of batches."""
        return sum(map(len, self.parts))

    @overload
    def __getitem__(self, index: int) -> Arrays: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Arrays]: ...
    def __getitem__(self, index: int | slice) -> Arrays | Sequence[Arrays]:
        """One batch, or a list of several."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        first, second = self.parts
        place = index % len(self)
        return first[place] if place < len(first) else second[place - len(first)]


class Kept(Sequence[Arrays]):
    """Batches in the order in which they came: the first of them in memory, what follows in a folder of its own.

    A part of it shares that folder, which goes with the last of them.
    """

    def __init__(self, in_memory: int = _IN_MEMORY) -> None:
        self._batches: list[Arrays | tuple[list[str], Path]] = []
        self._rows: list[int] = []
        self._room = in_memory
        self._folder: Path | None = None
        self._owner: Kept | None = None  # of the folder, where it is another

    @property
    def samples(self) -> int:
        """How many there are in all batches."""
        return sum(self._rows)

    def append(self, batch: Arrays) -> None:
        """Keep one more."""
        size = sum(array.nbytes for array in batch.values())
        self._rows.append(rows(batch))
        self._room -= size
        self._batches.append(batch if self._room >= 0 else (list(batch), self._written(batch)))

    def _written(self, batch: Arrays) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="compress-calibration-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        path = self._folder / f"{len(self._batches)}.npz"
        with path.open("wb") as file:
            np.savez(file, *batch.values())  # without names: an input may have any
        return path

    def __len__(self) -> int:
        """The number of batches."""
        return len(self._batches)

    @overload
    def __getitem__(self, index: int) -> Arrays: ...
    @overload
    def __getitem__(self, index: slice) -> Kept: ...
    def __getitem__(self, index: int | slice) -> Arrays | Kept:
        """One batch, read anew where it lies on disk; or a part that shares the folder."""
        if isinstance(index, slice):
            part = Kept()
            part._batches, part._rows = self._batches[index], self._rows[index]
            part._owner = self if self._owner is None else self._owner
            return part
        there = self._batches[index]
        if not isinstance(there, tuple):
            return there
        names, path = there
        with np.load(path, allow_pickle=False) as file:
            return {name: file[stored] for name, stored in zip(names, file.files, strict=True)}


def gather(
    model: Model, context: Context, samples: int, *, in_memory: int = _IN_MEMORY
) -> tuple[Sequence[Arrays], Sequence[Arrays]]:
    """Samples to calibrate with, and others, a quarter as many, to judge on; both fit the model's inputs.

    They are the first of the context's calibration data, else of the task's training data without its labels, else of
    the sample that the model carries. Where there are too few, the last fifth is held out; a single one serves both.
    What goes beyond `in_memory` bytes lies on disk.

    Raises:
        DataError: an array is missing, does not fit, or holds NaN or infinity.
    """
    wanted = samples + max(1, samples // 4)
    taken = Kept(in_memory)
    for batch in _source(model, context):
        for piece in _kept_pieces(batch, model, taken.samples):
            fits = may_cut(model) or are_whole(piece, model.inputs)
            taken.append(cut(piece, slice(0, wanted)) if fits else piece)
            wanted -= rows(piece)
            if wanted <= 0:
                return _split(taken, samples, model)
    return _split(taken, samples, model)


def validation_of(model: Model, task: Task, samples: int, most_bytes: int = _IN_MEMORY) -> Sequence[Arrays]:
    """Samples of the validation split without labels, so many or so large at most; they fit the model's inputs.

    They end with what does not fit, such as a last batch that is too small.
    """
    taken, room = Kept(), most_bytes
    if samples <= 0:
        return taken
    for batch, _ in task.validation:
        try:
            parts = list(_kept_pieces(batch, model, taken.samples))
        except DataError:
            return taken
        for piece in parts:
            fits = may_cut(model) or are_whole(piece, model.inputs)
            part = cut(piece, slice(0, samples - taken.samples)) if fits else piece
            room -= sum(array.nbytes for array in part.values())
            if room < 0:
                return taken
            taken.append(part)
            if taken.samples >= samples:
                return taken
    return taken


def _kept_pieces(batch: Arrays, model: Model, first: int) -> Iterator[Arrays]:
    """The batch in parts, checked; samples that are whole inputs stay stacked, so that they are told from rows."""
    if not are_whole(batch, model.inputs):
        yield from pieces(batch, model.inputs, first=first)
        return
    for sample in pieces(batch, model.inputs, first=first):
        yield {name: array[None] for name, array in sample.items()}


def count(batches: Sequence[Arrays]) -> int:
    """How many samples there are."""
    return batches.samples if isinstance(batches, Kept) else sum(map(rows, batches))


def rows(batch: Arrays) -> int:
    """How many samples a batch has: the longest first dimension, else one."""
    return max((len(array) for array in batch.values() if array.ndim), default=1)


def first_of(batches: Sequence[Arrays], samples: int) -> list[Arrays]:
    """As many batches from the start as hold so many samples; whole ones."""
    before = itertools.accumulate(map(rows, batches), initial=0)
    return [batch for batch, done in zip(batches, before, strict=False) if done < samples]


def distinct(batches: Sequence[Arrays]) -> int:
    """How many samples differ from all before them."""
    return len(set(_digests(batches)))


def all_alike(batches: Sequence[Arrays]) -> str:
    """That the data are one sample over and over, or ""."""
    digests = _digests(batches)
    first = next(digests, b"")
    if count(batches) < 2 or any(digest != first for digest in digests):
        return ""
    return (
        f"all {count(batches)} samples to calibrate with are the same: ranges and agreement hold for that one alone. "
        "Give data as the network will meet them"
    )


def _digests(batches: Sequence[Arrays]) -> Iterator[bytes]:
    """What tells a sample from others, one by one."""
    for batch in batches:
        total = rows(batch)
        arrays = [array if len(array) == total else array[None] for array in batch.values() if array.ndim]
        for row in range(total):
            parts = (np.ascontiguousarray(array[min(row, len(array) - 1)]).tobytes() for array in arrays)
            yield hashlib.sha256(b"".join(parts)).digest()


def too_few(samples: int, given: int = 0) -> str:
    """What is risked with so few different samples, of so many given, or "" where they are enough.

    Of n + 1 samples drawn alike each is as likely to be the largest, so the next one passes what n have shown with
    probability 1 / (n + 1) at either end of each tensor.
    """
    if samples >= ENOUGH:
        return ""
    again = f" (of {given}, the others come again)" if given > samples else ""
    return (
        f"calibrated with {samples} sample{'' if samples == 1 else 's'}{again}: an input in {samples + 1} will leave "
        f"the range of a tensor at one of its ends, and is clipped there. Give at least {ENOUGH}, better some hundreds"
    )


def pieces(batch: Arrays, inputs: Sequence[InputSpec], *, first: int = 0) -> Iterator[dict[str, Array]]:
    """A batch in parts of at most 32 samples, or of the size that the model fixes; whole inputs one by one.

    Args:
        batch: named arrays; further ones are left out.
        inputs: of the model.
        first: the number of the batch's first sample, for messages.

    Raises:
        DataError: an input is missing, has another rank, holds NaN or infinity, or has fewer rows than a fixed batch.
    """
    if are_whole(batch, inputs):
        for number, sample in enumerate(each_sample(batch, inputs)):
            yield {spec.name: _fit(sample, spec, first + number) for spec in inputs}
        return
    data = {spec.name: _fit(batch, spec, first) for spec in inputs if spec.state_of is None or spec.name in batch}
    step = shared_rows(data, inputs)
    if step is None:
        yield data
        return
    total = rows(data)
    if step and total < step:
        raise DataError(
            f"quantize: the model takes {step} samples at a time, and a calibration batch has {total}. "
            f"Give batches of {step} or more."
        )
    for start in range(0, total - total % step if step else total, step or ROWS):  # a rest is less than a batch
        yield cut(data, slice(start, start + (step or ROWS)))


def shared_rows(data: Arrays, inputs: Sequence[InputSpec]) -> int | None:
    """The batch that the model fixes, 0 where it takes any; None where the inputs do not share one and stay whole."""
    sizes = {array.shape[0] for array in data.values() if array.ndim}
    firsts = {spec.dims[0] for spec in inputs if spec.dims and spec.name in data}
    if len(sizes) != 1 or len(firsts) != 1 or not all(array.ndim for array in data.values()):
        return None
    (one,) = firsts
    return one if isinstance(one, int) else 0


def _fit(batch: Arrays, spec: InputSpec, first: int) -> Array:
    if spec.name not in batch:
        raise DataError(
            f"quantize: the calibration data has no array for the input {spec.name!r}; it has "
            f"{', '.join(sorted(batch))}. Name the arrays as the model's inputs."
        )
    array = np.asarray(batch[spec.name])
    fits = array.ndim == len(spec.dims) and all(
        isinstance(want, str) or have == want or axis == 0
        for axis, (have, want) in enumerate(zip(array.shape, spec.dims, strict=False))
    )
    if not fits:
        raise DataError(
            f"quantize: the input {spec.name!r} takes {_dims(spec.dims)}, "
            f"and the calibration data has {_dims(array.shape)}."
        )
    if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise DataError(
            f"quantize: the calibration data holds {array[where]} in {spec.name!r} at {list(where)}, "
            f"sample {first + (where[0] if where else 0) + 1}. Clean the data: no range can be taken from it."
        )
    return array.astype(spec.dtype, copy=False)


def _dims(dims: Sequence[int | str]) -> str:
    return "[" + ",".join(str(d) for d in dims) + "]"


def _source(model: Model, context: Context) -> Iterator[Arrays]:
    given = iter(context.calibration)
    first = next(given, None)
    if first is not None:
        yield first
        yield from given
    elif context.task is not None:
        yield from (inputs for inputs, _ in context.task.train)
    elif model.sample is not None:
        yield model.sample


def may_cut(model: Model) -> bool:
    """Whether a batch may become smaller: its first dimension is one letter, shared by all inputs."""
    first = {spec.dims[0] if spec.dims else None for spec in model.inputs}
    return len(first) == 1 and isinstance(next(iter(first)), str)


def cut(batch: Arrays, part: slice) -> dict[str, Array]:
    """So many samples of a batch whose arrays all count them."""
    return {name: array[part] for name, array in batch.items()}


def _split(batches: Kept, samples: int, model: Model) -> tuple[Sequence[Arrays], Sequence[Arrays]]:
    """The first samples, and what follows them; whole batches, unless there is but one that may be cut."""
    total = batches.samples
    keep = min(samples, max(1, total - max(1, total // 5)))
    if len(batches) == 1 and total > 1:
        (only,) = batches
        if may_cut(model) or are_whole(only, model.inputs):
            return [cut(only, slice(0, keep))], [cut(only, slice(keep, None))]
    first = done = 0
    for size in batches._rows:
        if first and done + size > keep:
            break
        first, done = first + 1, done + size
    seen = batches[:first]
    return seen, batches[first:] or seen
