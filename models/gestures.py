"""Hand gestures: where the tip of a finger was in 16 pictures on end, four classes.

The rows are windows that slide over some long recordings, so neighbours share up to 15 of their 16 points. A row drawn
by chance for a test has its neighbours in training; what is held out here are whole blocks: of each gesture's rows, in
the order they were recorded, the last fifth is the test and the tenth before it validation, and the 15 rows before
either, which may share a point with it, are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from models.batches import ArrayBatches
from models.datasets import DataSet, archive_members, read_bytes
from models.errors import DataError
from models.records import InputSpec, Preprocess, Split
from models.tasks import Array, Classification

LABELS = ("stop", "clockwise", "counterclockwise", "move")
STEPS = 16
# a point is how far the tip is from where it was in the first picture, in widths and heights of the picture
PREPROCESS = Preprocess(scale=(10.0, 10.0))
LICENCE = "Apache-2.0: trained on the point history of hand-gesture-recognition-using-mediapipe (Kazuhito Takahashi)"


def _convert(archive: Path, folder: Path) -> None:
    for path, content in archive_members(archive, "model", ".csv"):
        if path == ("point_history_classifier", "point_history.csv"):
            (folder / "point_history.csv").write_bytes(content)


HAND_GESTURE = DataSet(
    name="hand_gesture",
    sha256={"point_history.csv": "13a9881cd5e047bd1e8317e217ad70eebf09d8635fe9b34c2f4385d016f22b0c"},
    address="https://github.com/Kazuhito00/hand-gesture-recognition-using-mediapipe/archive/19311a68b16b42d3ee89e505e3f185693dbd7147.zip",
    convert=_convert,
    licence="Apache-2.0, Kazuhito Takahashi",
)


@cache
def histories() -> tuple[Array, Array]:
    """All rows in the order of the file: (rows, 16, 2) as the network takes them, and class numbers."""
    try:
        lines = [line for line in read_bytes(HAND_GESTURE, "point_history.csv").decode("ascii").splitlines() if line]
        table = np.loadtxt(lines, delimiter=",", ndmin=2) if lines else np.empty((0, 0))
    except ValueError as error:
        raise DataError(f"data 'hand_gesture': point_history.csv is no table of numbers: {error}") from error
    if table.shape[1] != 1 + 2 * STEPS:
        raise DataError(
            f"data 'hand_gesture': point_history.csv is a table of shape {table.shape}; each row needs a class and "
            f"{STEPS} points, {1 + 2 * STEPS} numbers. Delete it, and it is fetched again from {HAND_GESTURE.address}."
        )
    points = (table[:, 1:].reshape(-1, STEPS, 2) * PREPROCESS.scale).astype(np.float32)
    points.setflags(write=False)
    return points, table[:, 0].astype(np.int64)


def blocks(gesture: Array) -> dict[Split, Array]:
    """Which rows are of which split, no two of which share a point; `gesture` holds the class of each row in order."""
    found: dict[Split, list[Array]] = {"train": [], "validation": [], "test": []}
    for kind in np.unique(gesture):
        rows = np.flatnonzero(gesture == kind)
        first, second = len(rows) * 7 // 10, len(rows) * 8 // 10
        found["train"].append(rows[: first - STEPS + 1])
        found["validation"].append(rows[first : second - STEPS + 1])
        found["test"].append(rows[second:])
    return {split: np.concatenate(parts) for split, parts in found.items()}


def by_chance(gesture: Array, seed: int = 0) -> dict[Split, Array]:
    """The same shares drawn by chance, as the literature does; the test then shares its points with the training."""
    order = np.random.default_rng(seed).permutation(len(gesture))
    first, second = len(order) * 7 // 10, len(order) * 8 // 10
    return {"train": order[:first], "validation": order[first:second], "test": order[second:]}


def task(
    *,
    batch_size: int = 64,
    inputs: Sequence[InputSpec] = (),
    divide: Callable[[Array], Mapping[Split, Array]] = blocks,
) -> Classification:
    """Name the gesture from (N, 16, 2) points."""
    name = inputs[0].name if inputs else "x"
    points, gesture = histories()
    rows = divide(gesture)

    def split(which: Split) -> ArrayBatches:
        chosen = rows[which]
        return ArrayBatches(
            inputs={name: points[chosen]}, target=gesture[chosen], batch_size=batch_size, augment={name: vary}
        )

    return Classification(
        name="hand_gesture", labels=LABELS, train=split("train"), validation=split("validation"), test=split("test")
    )


def vary(batch: Array, rng: np.random.Generator) -> Array:
    """Points (N, T, 2) turned by up to half a radian, drawn larger or smaller, and shaken; the first one stays at 0."""
    rows = (len(batch), 1)
    angle, size = rng.uniform(-0.5, 0.5, rows), np.exp(rng.uniform(-0.4, 0.4, rows))
    x, y = batch[..., 0], batch[..., 1]
    turned = np.stack([np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y], axis=-1)
    shaken = size[..., None] * turned + 0.02 * rng.standard_normal(batch.shape)
    varied: Array = (shaken - shaken[:, :1]).astype(np.float32)
    return varied
