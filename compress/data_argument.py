"""What a DATA argument may be: a named set, a file of arrays, a folder of images, or a user's own loader or task."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from compress.label_tasks import Unfit
from compress.own_arrays import task_of
from compress.own_tasks import measured
from export.foreign import called, named
from models import DATA, find_task
from models.batches import ArrayBatches
from models.errors import DataError, UsageError, did_you_mean
from models.records import Arrays, Model, Preprocess, Task

DIGITS = "digits"  # inside scikit-learn
_PARTS = ("train", "validation", "test", "loss", "score")


def is_named(data: str) -> bool:
    """Whether DATA is the name of a set, and no file or code of the user's."""
    return data in DATA or data == DIGITS


def task_for(
    data: str,
    model: Model | None = None,
    *,
    seed: int = 0,
    batch_size: int = 64,
    metric: str | None = None,
    preprocess: Preprocess | None = None,
) -> Task:
    """The task that a DATA argument makes for a model.

    Args:
        data: the name of a set, `.npz`, `.npy`, a folder of images, or `pkg.module:loader`.
        model: what it is for; None where the data shall only show what a foreign network takes.
        seed: of the split, where the data has none of its own.
        batch_size: rows a batch.
        metric: `pkg.module:function`, in place of the score that the labels call for.
        preprocess: of images, where the model does not say.

    Raises:
        DataError: it is missing, broken, or does not fit the model.
        UsageError: there is no set of that name.
    """
    if model is not None and preprocess is not None:
        model = replace(model, preprocess=preprocess)
    task = _found(data, model, seed, batch_size, preprocess)
    if model is not None:
        _check(task, model, data)
    if metric is None and isinstance(task, Unfit):
        raise DataError(task.why)
    return task if metric is None else measured(task, named(metric, option="--metric"), metric)


def task_from_factory(reference: str) -> Task:
    """The task that `pkg.module:factory` makes.

    Raises:
        UsageError: there is no such thing, or what it gives is no task.
        CompressError: the factory raised.
    """
    made = called(reference, option="--task")
    lacks = [part for part in _PARTS if not hasattr(made, part)]
    if lacks:
        raise UsageError(
            f"--task {reference!r} gives a {type(made).__name__} without {', '.join(lacks)}. A task has "
            "train, validation and test, each re-iterable as (inputs, target), loss(outputs, target) and "
            "score(runner, split)."
        )
    task: Task = made
    return task


def calibration_from(task: Task, *, seed: int = 0) -> Iterable[Arrays]:
    """The inputs of the train split, re-iterable, in an order drawn by the seed and not augmented."""
    return _Inputs(task, seed)


@dataclass(frozen=True)
class _Inputs:
    task: Task
    seed: int

    def __iter__(self) -> Iterator[Arrays]:
        train: Any = getattr(self.task.train, "batches", self.task.train)
        # sets are often kept class by class, and the first samples must not all be of one
        batches = replace(train, augment=None).epoch(0, self.seed) if isinstance(train, ArrayBatches) else train
        for batch in batches:
            yield batch[0]


def parse_preprocess(text: str) -> Preprocess:
    """`resize=32x32,layout=NCHW,mean=124:116:104,scale=0.017` as a record: a pixel p becomes (p - mean) * scale.

    Raises:
        UsageError: it is not written like that.
    """
    fields: dict[str, Any] = {}
    for pair in text.split(","):
        key, _, value = pair.partition("=")
        try:
            if key == "resize":
                height, _, width = value.partition("x")
                fields[key] = (int(height), int(width))
            elif key == "layout" and value in ("NCHW", "NHWC"):
                fields[key] = value
            elif key in ("mean", "scale"):
                fields[key] = tuple(float(part) for part in value.split(":"))
            else:
                raise ValueError
        except ValueError:
            raise UsageError(
                f"--preprocess: {pair!r} is none of resize=HEIGHTxWIDTH, layout=NCHW or NHWC, mean=A:B:C, scale=A:B:C, "
                "joined by commas."
            ) from None
    return Preprocess(**fields)


def _found(data: str, model: Model | None, seed: int, batch_size: int, preprocess: Preprocess | None) -> Task:
    path = Path(data)
    if data in DATA:
        return find_task(data, batch_size=batch_size, inputs=model.inputs if model is not None else ())
    if data == DIGITS:
        return _digits(model, seed, batch_size)
    if path.suffix in (".npz", ".npy"):
        arrays = _read(path)
        target = arrays.pop(_labels_name(model), None)
        return task_of(arrays, target, model, source=data, seed=seed, batch_size=batch_size)
    if path.is_dir():
        from compress.images import image_task

        return image_task(path, model, seed=seed, batch_size=batch_size, preprocess=preprocess)
    if ":" in data:
        from compress.own_loader import loader_task

        return loader_task(data, model, seed=seed, batch_size=batch_size)
    if path.exists():
        raise DataError(f"data {data!r} is none of .npz, .npy, a folder of images or pkg.module:loader.")
    names = [*DATA, DIGITS]
    near = did_you_mean(data, names) or f" Sets are {', '.join(names)}."
    raise UsageError(
        f"no data set, file or folder named {data!r}.{near} Else give .npz, .npy, a folder or pkg.module:loader."
    )


def _labels_name(model: Model | None) -> str:
    """Labels are called `y`; beside a network whose input is called so, `labels`."""
    return "labels" if model is not None and any(spec.name == "y" for spec in model.inputs) else "y"


def _read(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    if not path.is_file():
        beside = [p.name for p in path.parent.glob("*.np[yz]")] if path.parent.is_dir() else []
        raise DataError(f"data: there is no file {str(path)!r}.{did_you_mean(path.name, beside)}")
    try:
        found = np.load(path, allow_pickle=False)
        arrays = {"x": found} if isinstance(found, np.ndarray) else {name: found[name] for name in found.files}
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"data {str(path)!r} is empty, cut off or damaged. Save it again with numpy.savez.") from error
    except ValueError as error:
        kind = "holds Python objects, which are never opened" if "allow_pickle" in str(error) else "is no numpy file"
        raise DataError(
            f"data {str(path)!r} {kind}. Save plain arrays with numpy.savez(path, x=..., y=...)."
        ) from error
    return arrays


def _digits(model: Model | None, seed: int, batch_size: int) -> Task:
    """1,797 digits of 8x8 in [0, 1], as images (N, 1, 8, 8) or as rows (N, 64), as the model takes them."""
    from sklearn.datasets import load_digits

    images, target = load_digits(return_X_y=True)
    flat = model is not None and len(model.inputs[0].dims) == 2
    x = (images / 16).astype(np.float32)
    arrays: Mapping[str, Any] = {"x": x if flat else x.reshape(-1, 1, 8, 8)}
    labels = tuple(str(digit) for digit in range(10))
    return task_of(arrays, target, model, source=DIGITS, seed=seed, batch_size=batch_size, labels=labels)


def _check(task: Task, model: Model, data: str) -> None:
    """Hold the first batch to what the model takes; what the user gave as arrays was held to it already."""
    from compress.own_arrays import fitted

    for inputs, _ in task.train:
        fitted(inputs, model, data)
        return
    raise DataError(f"data {data!r} has no rows.")
