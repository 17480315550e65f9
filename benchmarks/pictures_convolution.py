"""Pictures of the convolutional models: what they read, and what they make of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from safetensors.torch import load_model
from torch import nn

from export.session import runner_for
from export.wrap import from_entry
from models import WEIGHTS, cifar, find
from models.records import Entry, Task
from models.residual import Block


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


def feature_maps(name: str, path: Path) -> None:
    """One photograph of the test set, and the channels of each stage that tell most about where something is."""
    entry, shown = find(name), 8
    network = _trained(entry)
    inputs, target = next(iter(entry.task(batch_size=12).test))
    stages: list[np.ndarray] = []  # type: ignore[type-arg]
    with torch.no_grad():
        x = torch.from_numpy(np.ascontiguousarray(inputs["x"][:1]))
        for layer in network.features:
            if isinstance(layer, nn.MaxPool2d | nn.AdaptiveAvgPool2d):
                stages.append(x[0].numpy())
            x = layer(x)
        said = network.head(x.flatten(1)).softmax(1)[0]
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    axes = figure.add_subplot(len(stages), shown + 1, 1)
    axes.imshow(_pixels(inputs["x"][:1])[0], interpolation="nearest")
    axes.set_title(f"is: {entry.labels[target[0]]}", fontsize=9)
    axes.set_xlabel(f"{entry.labels[int(said.argmax())]} {float(said.max()):.0%}", fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])
    for row, maps in enumerate(stages):
        for place, channel in enumerate(maps.std((1, 2)).argsort()[::-1][:shown]):
            axes = figure.add_subplot(len(stages), shown + 1, row * (shown + 1) + place + 2)
            axes.imshow(maps[channel], cmap="viridis", interpolation="nearest")
            axes.set_axis_off()
            axes.set_title(f"stage {row + 1}, {channel + 1}", fontsize=7)
    figure.savefig(path, dpi=80)


def block_responses(name: str, path: Path) -> None:
    """How much each residual block adds: the deviation of what comes by the shortcut, and of what is added to it.

    Source: He et al. 2015 (arXiv:1512.03385) fig. 7, there of all layers.
    """
    entry = find(name)
    network = _trained(entry)
    blocks = [block for block in network.modules() if isinstance(block, Block)]
    kept: list[float] = []
    added: list[float] = []
    for block in blocks:
        block.shortcut.register_forward_hook(lambda layer, given, found: kept.append(float(found.std())))
        block.norm2.register_forward_hook(lambda layer, given, found: added.append(float(found.std())))
    inputs, _ = next(iter(entry.task(batch_size=500).test))
    with torch.no_grad():
        network(torch.from_numpy(np.ascontiguousarray(inputs["x"])))
    figure = Figure(figsize=(7, 3), layout="constrained")
    axes, places = figure.add_subplot(), np.arange(len(blocks))
    axes.bar(places - 0.2, kept, 0.4, label="by the shortcut", color="#a0a8b0")
    axes.bar(places + 0.2, added, 0.4, label="added by the two convolutions", color="#2f7fe0")
    names = [where for where, module in network.named_modules() if isinstance(module, Block)]
    axes.set_xticks(places, [f"stage {where[5]}\nblock {int(where[7:]) + 1}" for where in names], fontsize=8)
    axes.set_ylabel("standard deviation")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=9)
    figure.savefig(path, dpi=80)


def _trained(entry: Entry) -> Any:
    """The reference module itself, with its committed weights: its layers can be looked into by their names."""
    network = entry.build()
    load_model(network, str(WEIGHTS / f"{entry.name}.safetensors"))
    return network


def _pixels(batch: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """(N, 3, H, W) of any scale -> (N, H, W, 3) in 0..1, each picture to its own range."""
    low, high = batch.min((1, 2, 3), keepdims=True), batch.max((1, 2, 3), keepdims=True)
    found: np.ndarray = ((batch - low) / (high - low)).transpose(0, 2, 3, 1)  # type: ignore[type-arg]
    return found


def _probabilities(logits: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    raised = np.exp(logits - logits.max(-1, keepdims=True))
    found: np.ndarray = raised / raised.sum(-1, keepdims=True)  # type: ignore[type-arg]
    return found
