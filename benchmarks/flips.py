"""The inputs whose decision flipped: what one would look at first when a score has moved."""

from __future__ import annotations

import base64
import io
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.records import Model, Runner, Split, Task

_SOUND_SIZE = (98, 50)  # pixels: two a frame of one second
_LARGEST = 160


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


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A flip before its picture is drawn; `position` is that within a sequence, or ()."""

    index: int
    values: tuple[int, int, int]  # the truth, before, after
    row: Mapping[str, np.ndarray[Any, Any]]
    position: tuple[int, ...]


def find_flips(
    task: Task, model: Model, before: Runner, after: Runner, *, split: Split = "test", limit: int = 24
) -> Flips | None:
    """Compare decisions (the largest along the last axis of the first output) row by row.

    A row is one sample; for a sequence of decisions each position counts, and the text up to it is shown. Positions
    whose target is negative are no decisions. Those that are shown come from as many classes as there are, drawn
    evenly from each (a reservoir; Vitter 1985).

    Returns:
        None where the task has no classes, or the output does not decide between them: then nothing is claimed.
    """
    name, labels = model.outputs[0].name, task.labels
    decisions = flipped = mended = spoilt = 0
    found: dict[int, list[_Found]] = {}
    seen: Counter[int] = Counter()
    rng = np.random.default_rng(0)
    for inputs, target in getattr(task, split):
        scores = [np.asarray(run(inputs)[name]) for run in (before, after)]
        truth = np.asarray(target)
        if len(labels) < 2 or any(s.shape != (*truth.shape, len(labels)) for s in scores):
            return None
        chosen = [s.argmax(-1) for s in scores]
        counts = truth >= 0
        different = (chosen[0] != chosen[1]) & counts
        mended += int((different & (chosen[1] == truth)).sum())
        spoilt += int((different & (chosen[0] == truth)).sum())
        for place in np.argwhere(different):
            at = tuple(int(i) for i in place)
            kind = int(truth[at])
            seen[kind] += 1
            kept = found.setdefault(kind, [])
            slot = len(kept) if len(kept) < limit else int(rng.integers(seen[kind]))
            if slot >= limit:
                continue
            index = decisions + int(counts[: at[0]].sum() + counts[at[0]].ravel()[: _flat(at, truth.shape)].sum())
            row = {key: np.array(value[at[0]]) for key, value in inputs.items()}
            values = (kind, int(chosen[0][at]), int(chosen[1][at]))
            kept[slot : slot + 1] = [_Found(index=index, values=values, row=row, position=at[1:])]
        decisions += int(counts.sum())
        flipped += int(different.sum())
    shown = sorted(_from_every(found.values(), limit), key=lambda flip: flip.index)
    return Flips(
        decisions=decisions,
        flipped=flipped,
        mended=mended,
        spoilt=spoilt,
        shown=tuple(_drawn(flip, model, labels) for flip in shown),
    )


def _flat(at: tuple[int, ...], shape: tuple[int, ...]) -> int:
    """The place of a position within its row, all axes but the first counted as one."""
    return int(np.ravel_multi_index(at[1:], shape[1:])) if len(at) > 1 else 0


def _from_every(kinds: Iterable[Sequence[_Found]], limit: int) -> list[_Found]:
    """One of each kind, then a second of each, until there are enough."""
    rounds = itertools.zip_longest(*kinds)
    return [flip for turn in rounds for flip in turn if flip is not None][:limit]


def _visible(label: str) -> str:
    return {" ": "␣", "\n": "↵", "\t": "⇥", "": "∅"}.get(label, label)


def _drawn(flip: _Found, model: Model, labels: tuple[str, ...]) -> Flip:
    value, picture, text = next(iter(flip.row.values())), "", ""
    if not np.issubdtype(value.dtype, np.integer):
        sound = model.preprocess is not None and model.preprocess.mfcc is not None
        picture = picture_of(value, sound=sound)
    elif flip.position:  # a token decides for the next one: the labels are the vocabulary
        end = flip.position[0] + 1
        tokens = value.ravel()[max(0, end - 40) : end]
        words = (labels[token] if 0 <= token < len(labels) else f"<{token}>" for token in map(int, tokens))
        text = "".join(words).replace("\n", "↵")
    else:
        text = " ".join(map(str, value.ravel()[:20])) + (" …" if value.size > 20 else "")
    truth, before, after = (_visible(labels[value]) for value in flip.values)
    return Flip(index=flip.index, label=truth, before=before, after=after, picture=picture, text=text)


def picture_of(value: np.ndarray[Any, Any], *, sound: bool = False) -> str:
    """A PNG data address of one input.

    (3, H, W) is in colour, all else a grey map. Sound is (frames, coefficients): its frames run across, stretched to
    one width, as on every spectrogram.
    """
    from PIL import Image

    value = np.squeeze(np.nan_to_num(np.asarray(value, np.float32)))
    if value.ndim == 1 and int(np.sqrt(value.size)) ** 2 == value.size:
        value = value.reshape(int(np.sqrt(value.size)), -1)
    if value.ndim == 3 and value.shape[0] == 3:
        value = value.transpose(1, 2, 0)
    elif value.ndim != 2:
        value = value.reshape(value.shape[0], -1) if value.ndim > 2 else np.atleast_2d(value)
    low, high = float(value.min()), float(value.max())
    pixels = ((value - low) / (high - low or 1.0) * 255).astype(np.uint8)
    image = Image.fromarray(pixels.T if sound and pixels.ndim == 2 else pixels)
    if sound:
        image = image.resize(_SOUND_SIZE, Image.Resampling.NEAREST)
    elif max(image.size) > _LARGEST:
        image.thumbnail((_LARGEST, _LARGEST))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
