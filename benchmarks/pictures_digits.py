"""Pictures of digits: drawn again, drawn from noise, and the walk between two of them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from safetensors.torch import load_file

from benchmarks.left_out_digit import RESULT as LEFT_OUT
from models import WEIGHTS, find
from models.datasets import read_arrays
from models.mnist import ANOMALY, MNIST, pixels
from models.tasks import Array

COLUMNS = 14
PAIRS = ((3, 8), (4, 9), (1, 7))  # a walk from the first to the second


def generated(name: str, path: Path) -> None:
    """Test images drawn again, new ones from N(0, 1), walks between two codes and along one number of the code."""
    network, images, labels = _network(name), *_test()
    rng = np.random.default_rng(0)
    first = [int(np.flatnonzero(labels == digit)[place]) for place in (0, 1) for digit in range(10)][:COLUMNS]
    mean, log_variance = _arrays(network.encode(torch.from_numpy(images)))
    noise = rng.standard_normal((4 * COLUMNS, mean.shape[1])).astype(np.float32)
    again = mean[first] + np.exp(0.5 * log_variance[first]) * noise[:COLUMNS]
    rows: list[tuple[str, Array]] = [("test images", images[first]), ("drawn again", _drawn(network, again))]
    new = _drawn(network, noise[COLUMNS:])
    rows += [("new: z ~ N(0, 1)" if i == 1 else "", new[i * COLUMNS : (i + 1) * COLUMNS]) for i in range(3)]
    share = np.linspace(0, 1, COLUMNS, dtype=np.float32)[:, None]
    for start, end in PAIRS:
        a, b = (mean[np.flatnonzero(labels == digit)[2]] for digit in (start, end))
        rows.append((f"walk from {start} to {end}", _drawn(network, (1 - share) * a + share * b)))
    divergence = (mean**2 + np.exp(log_variance) - 1 - log_variance).mean(0)
    start = mean[np.flatnonzero(labels == 0)[2]]
    for dimension in np.argsort(-divergence)[:2]:
        codes = np.repeat(start[None], COLUMNS, 0)
        codes[:, dimension] = np.linspace(-3, 3, COLUMNS)
        rows.append((f"z[{dimension}]: -3 to 3", _drawn(network, codes)))
    figure = Figure(figsize=(9, 6.2), layout="constrained")
    for axes, (label, tiles) in zip(np.ravel(figure.subplots(len(rows), 1)), rows, strict=True):
        _strip(axes, label, tiles)
    _save_grey(figure, path)


def anomalies(name: str, path: Path) -> None:
    """Nine digits and the one left out, drawn again; and the AUC of each digit when it is the one left out."""
    network, images, labels = _network(name), *_test()
    usual = [int(np.flatnonzero(labels == digit)[0]) for digit in range(10) if digit != ANOMALY]
    odd = np.flatnonzero(labels == ANOMALY)[: len(usual)]
    with torch.no_grad():
        again = network(torch.from_numpy(images)).numpy()
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(4, 3))
    above, below = parts
    rows = [
        ("seen in training", images[usual]),
        ("drawn again", again[usual].clip(0, 1)),
        (f"left out: {ANOMALY}", images[odd]),
        ("drawn again", again[odd].clip(0, 1)),
    ]
    for axes, (label, tiles) in zip(np.ravel(above.subplots(len(rows), 1)), rows, strict=True):
        _strip(axes, label, tiles)
    bars = json.loads(LEFT_OUT.read_text(encoding="utf-8"))["digits"]
    axes = below.subplots()
    value = np.array([row["auc"] for row in bars])
    error = np.array([[row["auc"] - row["low"], row["high"] - row["auc"]] for row in bars]).T
    axes.bar([str(row["digit"]) for row in bars], value, yerr=error, color="#4878a8", ecolor="#333333", capsize=3)
    axes.axhline(0.5, color="#999999", linewidth=1, linestyle="--")
    axes.set_ylim(0, 1)
    axes.set_ylabel("AUC on test")
    axes.set_xlabel("the digit left out of training (0.5: told by chance)")
    figure.savefig(path, dpi=90)


def _network(name: str) -> Any:
    network = find(name).build()
    network.load_state_dict({key: value.float() for key, value in load_file(WEIGHTS / f"{name}.safetensors").items()})
    return network


def _test() -> tuple[Array, Array]:
    stored = read_arrays(MNIST, "test.npz")
    return pixels(stored["images"]), stored["labels"]


def _arrays(tensors: tuple[torch.Tensor, ...]) -> list[Array]:
    return [tensor.detach().numpy() for tensor in tensors]


def _drawn(network: Any, codes: Array) -> Array:
    with torch.no_grad():
        white: Array = network.decode(torch.from_numpy(codes)).sigmoid().numpy()
    return white


def _save_grey(figure: Figure, path: Path) -> None:
    """In 32 shades, which is a third of the bytes and looks the same."""
    with io.BytesIO() as buffer:
        figure.savefig(buffer, dpi=90)
        with Image.open(buffer) as image:
            image.convert("L").quantize(32).save(path, optimize=True)


def _strip(axes: Axes, label: str, tiles: Array) -> None:
    axes.imshow(np.hstack(list(tiles.reshape(-1, 28, 28))), cmap="gray_r", vmin=0, vmax=1)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
    for side in axes.spines.values():
        side.set_visible(False)
