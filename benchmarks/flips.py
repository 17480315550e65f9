"""The inputs whose decision flipped: what one would look at first when a score has moved."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.records import Model, Runner, Split, Task


@dataclass(frozen=True, kw_only=True)
class Flip:
    """One input that the two models decide differently; picture is a PNG as a data address, or ""."""

    index: int
    label: str
    before: str
    after: str
    picture: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Flips:
    """How many decisions differ, in which direction, and the first of them to look at."""

    decisions: int
    flipped: int
    mended: int  # wrong before, right after
    spoilt: int  # right before, wrong after
    shown: tuple[Flip, ...]


def find_flips(
    task: Task, model: Model, before: Runner, after: Runner, *, split: Split = "test", limit: int = 24
) -> Flips | None:
    """Compare decisions (the largest along the last axis of the first output) row by row; None where a task has none.

    A row is one sample; for a sequence of decisions each position counts, and the text up to it is shown.
    """
    if not task.labels:
        return None
    name, labels = model.outputs[0].name, task.labels
    decisions = flipped = mended = spoilt = 0
    shown: list[Flip] = []
    for inputs, target in getattr(task, split):
        chosen = [np.asarray(run(inputs)[name]).argmax(-1) for run in (before, after)]
        truth = np.asarray(target)
        different = chosen[0] != chosen[1]
        mended += int((different & (chosen[1] == truth)).sum())
        spoilt += int((different & (chosen[0] == truth)).sum())
        for place in np.argwhere(different)[: limit - len(shown)]:
            at = tuple(place)
            words = [_named(labels, int(value[at])) for value in (truth, *chosen)]
            row = {key: value[at[0]] for key, value in inputs.items()}
            picture, text = _shown(row, labels, at[1:])
            index = decisions + int(np.ravel_multi_index(at, different.shape))
            shown.append(Flip(index=index, label=words[0], before=words[1], after=words[2], picture=picture, text=text))
        decisions += different.size
        flipped += int(different.sum())
    return Flips(decisions=decisions, flipped=flipped, mended=mended, spoilt=spoilt, shown=tuple(shown))


def _named(labels: tuple[str, ...], index: int) -> str:
    return labels[index] if 0 <= index < len(labels) else str(index)


def _shown(
    row: Mapping[str, np.ndarray[Any, Any]], labels: tuple[str, ...], position: tuple[int, ...]
) -> tuple[str, str]:
    value = next(iter(row.values()))
    if np.issubdtype(value.dtype, np.integer):
        end = position[0] + 1 if position else len(value)
        return "", "".join(_named(labels, int(token)) for token in value.ravel()[max(0, end - 40) : end])
    return picture_of(value), ""


def picture_of(value: np.ndarray[Any, Any]) -> str:
    """A PNG data address of one input: (3, H, W) in colour, all else as a grey map with time or rows across."""
    from PIL import Image

    value = np.squeeze(np.asarray(value, np.float32))
    if value.ndim == 1 and int(np.sqrt(value.size)) ** 2 == value.size:
        value = value.reshape(int(np.sqrt(value.size)), -1)
    if value.ndim == 3 and value.shape[0] == 3:
        value = value.transpose(1, 2, 0)
    elif value.ndim != 2:
        value = value.reshape(value.shape[0], -1) if value.ndim > 2 else np.atleast_2d(value)
    if value.ndim == 2 and value.shape[0] > 2 * value.shape[1]:
        value = value.T  # frames run across, as on every spectrogram
    low, high = float(value.min()), float(value.max())
    pixels = ((value - low) / (high - low or 1.0) * 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
