"""What labels mean beside what a network gives: which of its outputs they are about, and which task that makes.

Read off the arrays themselves, of the labels and of what the network says to the first rows, since a file's dimensions
may be letters. Labels that no output answers are refused, unless a metric of the user's own scores them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from compress.choices import decides, states, vocabularies
from compress.label_tasks import ByElement, Places, Unfit
from compress.own_tasks import Regression
from export.stepped import any_batch
from models.batches import ArrayBatches
from models.errors import DataError
from models.records import Arrays, Model, Task
from models.tasks import IGNORED, Classification, NextToken

Array = np.ndarray[Any, Any]
Make = Callable[..., Task]
SHOWN = 16  # rows that the network is shown
_FEWER = 5  # of them again, to tell an output of as many rows from a list that happens to be as long
_VOID = (255, -1)  # what segmentation data holds at places that do not count, beside IGNORED
_ONE = 1e-3  # shares of one whole add up to 1 within this


@dataclass(frozen=True)
class Meaning:
    """Labels as the task takes them, and how to make it of a name and three splits."""

    target: Array
    make: Make

    def task(self, source: str, splits: Sequence[ArrayBatches]) -> Task:
        """Of splits whose targets are this one's."""
        train, validation, test = splits
        return self.make(name=source, train=train, validation=validation, test=test)


@dataclass(frozen=True)
class _Asked:
    """The labels, and the network's answers that have a row for each of theirs."""

    target: Array
    model: Model
    outputs: Mapping[str, Array]
    labels: tuple[str, ...]

    @property
    def inner(self) -> tuple[int, ...]:
        shape: tuple[int, ...] = self.target.shape[1:]
        return shape

    def floats(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Outputs of floats and the shape of their rows."""
        return ((name, array.shape[1:]) for name, array in self.outputs.items() if array.dtype.kind == "f")

    def alike(self, kinds: str = "f") -> list[str]:
        """Outputs of such types that have a number for each of the labels; dimensions of one do not count."""
        own = {name: array.shape[1:] for name, array in self.outputs.items() if array.dtype.kind in kinds}
        return [name for name, inner in own.items() if _without_ones(inner) == _without_ones(self.inner)]


def meaning(target: Array, model: Model | None, shown: Arrays, labels: tuple[str, ...], source: str) -> Meaning:
    """The first of these that fits: a class for each row, each token, each place; yes or no; a value to come near.

    Args:
        target: (rows, ...), whole numbers, truth values or floats without NaN.
        model: None where nobody knows it yet; then the dimensions of the labels alone decide.
        shown: some rows as the network takes them.
        labels: names of the classes, where the data has them.
        source: for messages.

    Raises:
        DataError: labels of a class that the network does not have.
    """
    target = target.reshape(len(target)) if target.ndim == 2 and target.shape[1] == 1 else target
    outputs = None if model is None else _outputs(model, shown)
    if model is None or outputs is None:
        return _by_dimensions(target, labels)
    asked = _Asked(target, model, outputs, labels)
    found = _of_floats(asked) if target.dtype.kind == "f" else _of_whole(asked, source)
    return found or Meaning(target, partial(Unfit, why=_unfit(asked, source), labels=labels))


def _outputs(model: Model, shown: Arrays) -> dict[str, Array] | None:
    """What the network says to the rows, of outputs that have as many as it is shown; None where it does not run."""
    rows = max((len(array) for array in shown.values() if np.ndim(array)), default=1)
    few = {name: array[:_FEWER] if np.ndim(array) and len(array) == rows else array for name, array in shown.items()}
    try:
        made, less = (any_batch(replace(model, forms={}))(given) for given in (shown, few))
    except Exception:  # of the user's own network; where it has to run it says what is wrong
        return None
    kept = {name: np.asarray(array) for name, array in made.items() if name not in states(model)}
    counts = {name: (array.shape[:1], np.shape(less[name])[:1]) for name, array in kept.items()}
    return {name: array for name, array in kept.items() if counts[name] == ((rows,), (min(rows, _FEWER),))}


def _by_dimensions(target: Array, labels: tuple[str, ...]) -> Meaning:
    if target.dtype.kind == "f":
        return Meaning(target, Regression)
    return Meaning(target.astype(np.int64), partial(NextToken if target.ndim == 2 else Classification, labels=labels))


def _of_floats(asked: _Asked) -> Meaning | None:
    target = asked.target
    if np.array_equal(target, np.round(target)) and (found := _classes(asked, strict=True)):
        return found
    if len(np.unique(target)) == 2 and (found := _one_hot(asked) or _yes_or_no(asked)):
        return found
    same = [name for name, inner in asked.floats() if inner == asked.inner]
    if _are_shares(target) and same and asked.outputs[same[0]].ndim == 2 and _decides(asked, same[0]):
        return _classification(asked, same[0], target.argmax(1))
    same += asked.alike()
    return Meaning(target, partial(Regression, output=same[0])) if same else None


def _of_whole(asked: _Asked, source: str) -> Meaning | None:
    if not asked.inner and (found := _classes(asked, strict=False)):
        return found
    for find in (_one_hot, _yes_or_no, _tokens_or_places, _whole_outputs, _counts):
        if (made := find(asked)) is not None:
            return made
    _refuse_unknown_class(asked, source)
    return None


def _classes(asked: _Asked, *, strict: bool) -> Meaning | None:
    """A class for each row, beside an output with a number for each; `strict`: only one that surely decides."""
    target = asked.target
    if asked.inner or target.min() < 0:
        return None
    count = int(target.max()) + 1
    wide = [name for name, inner in asked.floats() if len(_without_ones(inner)) == 1 and inner[-1] >= max(2, count)]
    wide = [name for name in wide if not strict or _decides(asked, name)]
    if not wide:
        return None

    def rank(name: str) -> tuple[bool, ...]:
        width = asked.outputs[name].shape[-1]
        return width != len(asked.labels or asked.model.labels), not _decides(asked, name), width != count

    return _classification(asked, min(wide, key=rank), target.astype(np.int64))


def _classification(asked: _Asked, name: str, target: Array) -> Meaning:
    return Meaning(target, partial(Classification, output=name, labels=asked.labels))


def _one_hot(asked: _Asked) -> Meaning | None:
    same = [name for name, inner in asked.floats() if inner == asked.inner and len(inner) == 1]
    if not same or not _are_flags(asked.target) or not (asked.target.sum(1) == 1).all():
        return None
    return _classification(asked, same[0], asked.target.argmax(1))


def _yes_or_no(asked: _Asked) -> Meaning | None:
    """Flags beside an output with a number for each: probabilities, where all of them can be, else logits."""
    same = asked.alike()
    target = asked.target > 0 if set(np.unique(asked.target)) == {-1, 1} else asked.target
    if not same or not _are_flags(target):
        return None
    array = asked.outputs[same[0]]
    threshold = 0.5 if array.size and array.min() >= 0 and array.max() <= 1 else 0.0
    return Meaning(target.astype(np.int64), partial(ByElement, output=same[0], threshold=threshold))


def _tokens_or_places(asked: _Asked) -> Meaning | None:
    """A class for each token or place, beside an output that has one more dimension for the classes."""
    if not asked.inner:
        return None
    for name, inner in asked.floats():
        for axis, places in ((-1, inner[:-1]), (1, inner[1:])):
            classes = inner[axis if axis < 0 else 0] if inner else 0
            if places != asked.inner or classes < 2:
                continue
            target = _without_void(asked.target, classes)
            if target is None:
                continue
            if axis == -1 and len(places) == 1 and _are_words(asked.model, classes):
                return Meaning(target, partial(NextToken, output=name, labels=asked.labels))
            kind = partial(Places, output=name, axis=axis, classes=classes, maps=len(places) > 1, labels=asked.labels)
            return Meaning(target, kind)
    return None


def _are_words(model: Model, classes: int) -> bool:
    """Whether classes are words that the network reads too: it says the next one, and is no tagger."""
    words = vocabularies(model)
    return any("int" in spec.dtype for spec in model.inputs) and (not words or classes in words)


def _without_void(target: Array, classes: int) -> Array | None:
    """Whole numbers below the classes, those that do not count as IGNORED; None where there are others."""
    target = np.where(np.isin(target, [void for void in _VOID if not 0 <= void < classes]), IGNORED, target)
    counting = target[target != IGNORED]
    fits = counting.size and 0 <= counting.min() and counting.max() < classes
    return target.astype(np.int64) if fits else None


def _whole_outputs(asked: _Asked) -> Meaning | None:
    """The network gives the decisions themselves."""
    same = asked.alike("iub")
    target = asked.target.astype(np.int64)
    return Meaning(target, partial(ByElement, output=same[0], threshold=None)) if same else None


def _counts(asked: _Asked) -> Meaning | None:
    """Whole numbers that are values, as ages are."""
    same = asked.alike()
    target = asked.target.astype(np.float64)
    return Meaning(target, partial(Regression, output=same[0])) if same else None


def _refuse_unknown_class(asked: _Asked, source: str) -> None:
    wide = [name for name, inner in asked.floats() if len(_without_ones(inner)) == 1 and inner[-1] > 1]
    name = next((name for name in wide if _decides(asked, name)), wide[0] if wide else None)
    if name is None or asked.inner:
        return
    count = asked.outputs[name].shape[-1]
    raise DataError(
        f"data {source!r}: labels y run from {asked.target.min()} to {asked.target.max()}, and the model tells {count} "
        f"classes apart, 0 to {count - 1}."
    )


def _decides(asked: _Asked, name: str) -> bool:
    return any(spec.name == name and decides(spec, asked.model) for spec in asked.model.outputs)


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


def _are_flags(target: Array) -> bool:
    return bool(target.dtype.kind == "b" or np.isin(target, (0, 1)).all())


def _are_shares(target: Array) -> bool:
    """Whether rows are shares of one whole: soft labels."""
    return target.ndim == 2 and bool((target >= 0).all() and (np.abs(target.sum(1) - 1) < _ONE).all())


def _unfit(asked: _Asked, source: str) -> str:
    gives = ", ".join(f"{name} {array.dtype}[{_dims(array)}]" for name, array in asked.outputs.items())
    return (
        f"data {source!r}: the labels y are {asked.target.dtype}[{_dims(asked.target)}], and no output of the model "
        f"answers them; it gives {gives or 'nothing with a row for each'}. Give --metric pkg.module:function, which is "
        "given outputs and labels, or leave y out: then agreement with the original decides."
    )


def _dims(array: Array) -> str:
    return ",".join(["N", *map(str, array.shape[1:])])
