"""Pictures of the convolutional models: what they read, and what they make of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from export.session import runner_for
from export.wrap import from_entry
from models import cifar, find
from models.records import Task


def spoken_digits(name: str, path: Path) -> None:
    """The first recording of the test set and the three hardest: features, and the probability of every digit."""
    entry = find(name)
    inputs, target = next(iter(entry.task(batch_size=600).test))
    probabilities = _probabilities(runner_for(from_entry(entry))(inputs)["logits"])
    hardest = probabilities[np.arange(len(target)), target].argsort()[:3]
    chosen = [0, *hardest.tolist()]
    figure = Figure(figsize=(9, 4), layout="constrained")
    for place, row in enumerate(chosen):
        features, scores = inputs["x"][row], probabilities[row]
        top, bottom = figure.add_subplot(2, 4, place + 1), figure.add_subplot(2, 4, place + 5)
        top.imshow(features.reshape(-1, features.shape[-1]).T, aspect="auto", origin="lower", cmap="viridis")
        top.set_title(f"“{entry.labels[target[row]]}”", fontsize=10)
        top.set_xlabel("frame")
        top.set_ylabel("coefficient" if not place else "")
        bottom.bar(range(10), scores, color="#2f7fe0")
        bottom.set_xticks(range(10), [str(digit) for digit in range(10)])
        bottom.set_ylim(0, 1)
        bottom.set_ylabel("probability" if not place else "")
    figure.savefig(path, dpi=80)


def photographs(name: str, path: Path) -> None:
    """Twelve photographs of the test set, what the model takes them for, and how sure it is."""
    entry = find(name)
    task: Task = entry.task(batch_size=12)
    inputs, target = next(iter(task.test))
    scores = _probabilities(runner_for(from_entry(entry))(inputs)["logits"])
    pictures = _pixels(next(iter(inputs.values())))
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for place, (picture, row, label) in enumerate(zip(pictures, scores, target, strict=True)):
        axes = figure.add_subplot(2, 6, place + 1)
        axes.imshow(picture, interpolation="nearest")
        axes.set_axis_off()
        said = cifar.LABELS[row.argmax()]
        right = row.argmax() == label
        text = f"{said} {row.max():.0%}" + ("" if right else f"\n(is: {cifar.LABELS[label]})")
        axes.set_title(text, fontsize=9, color="black" if right else "#b03020")
    figure.savefig(path, dpi=80)


def _pixels(batch: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """(N, 3, H, W) of any scale -> (N, H, W, 3) in 0..1, each picture to its own range."""
    low, high = batch.min((1, 2, 3), keepdims=True), batch.max((1, 2, 3), keepdims=True)
    found: np.ndarray = ((batch - low) / (high - low)).transpose(0, 2, 3, 1)  # type: ignore[type-arg]
    return found


def _probabilities(logits: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    raised = np.exp(logits - logits.max(-1, keepdims=True))
    found: np.ndarray = raised / raised.sum(-1, keepdims=True)  # type: ignore[type-arg]
    return found
