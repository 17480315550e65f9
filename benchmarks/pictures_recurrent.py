"""Pictures of the recurrent classifiers: what they make of a word or a gesture while it is still coming."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from export.session import runner_for
from export.wrap import from_entry
from models import find
from models.records import Runner
from models.tasks import Array

SHOWN = 4


def digits_as_they_come(name: str, path: Path) -> None:
    """Four test recordings: the frames, and the probability of each digit after so many of them."""
    entry, runner = find(name), runner_for(from_entry(find(name)))
    split: Any = entry.task().test
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    for place, digit in enumerate((0, 3, 6, 7)):
        row = int(np.flatnonzero(split.target == digit)[0])
        frames = split.inputs["x"][[row], : split.lengths[row]]
        top, bottom = figure.add_subplot(2, SHOWN, place + 1), figure.add_subplot(2, SHOWN, place + 1 + SHOWN)
        top.imshow(frames[0].T, aspect="auto", origin="lower", cmap="viridis", extent=(0, frames.shape[1], 0, 10))
        top.set_title(f"“{entry.labels[digit]}”", fontsize=10)
        top.set_ylabel("coefficient" if not place else "")
        _curves(bottom, after_each(runner, frames), entry.labels, digit)
        bottom.set_xlabel("frames heard")
        bottom.set_ylabel("probability" if not place else "")
    figure.savefig(path, dpi=80)


def gestures_as_they_come(name: str, path: Path) -> None:
    """A test window of each gesture: the way of the fingertip, and the probability of each gesture after each point."""
    entry, runner = find(name), runner_for(from_entry(find(name)))
    split: Any = entry.task().test
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    for kind, label in enumerate(entry.labels):
        rows = np.flatnonzero(split.target == kind)
        way = split.inputs["x"][[rows[len(rows) // 2]]]
        top, bottom = figure.add_subplot(2, SHOWN, kind + 1), figure.add_subplot(2, SHOWN, kind + 1 + SHOWN)
        top.plot(way[0, :, 0], -way[0, :, 1], color="#a0a8b0", linewidth=1)  # pictures have their y downwards
        top.scatter(way[0, :, 0], -way[0, :, 1], c=np.arange(way.shape[1]), cmap="viridis", s=18, zorder=2)
        top.set_xlim(-2.5, 2.5)
        top.set_ylim(-2.5, 2.5)
        top.set_title(label, fontsize=10)
        _curves(bottom, after_each(runner, way), entry.labels, kind)
        bottom.set_xlabel("points seen")
        bottom.set_ylabel("probability" if not kind else "")
    figure.savefig(path, dpi=80)


def after_each(runner: Runner, frames: Array) -> Array:
    """(1, T, features) -> (T, classes): the probabilities after one frame, after two, and so on."""
    logits = [next(iter(runner({"x": frames[:, :heard]}).values()))[0] for heard in range(1, frames.shape[1] + 1)]
    powers = np.exp(np.stack(logits) - np.max(logits, axis=1, keepdims=True))
    probabilities: Array = powers / powers.sum(1, keepdims=True)
    return probabilities


def _curves(axes: Axes, probabilities: Array, labels: tuple[str, ...], right: int) -> None:
    heard = np.arange(1, len(probabilities) + 1)
    shown = probabilities.max(0).argsort()[::-1][:4]  # the others never come into it
    others = iter(("#e08030", "#3fa060", "#9070c0", "#808890"))
    for kind in shown:
        colour, width = ("#2f7fe0", 2.0) if kind == right else (next(others), 1.0)
        axes.plot(heard, probabilities[:, kind], label=labels[kind], color=colour, linewidth=width)
    axes.set_ylim(0, 1.02)
    axes.legend(fontsize=7, loc="center right")
