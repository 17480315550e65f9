"""Pictures of what recurrent networks remember of the adding problem, and for how long."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from safetensors.torch import load_file

from models import WEIGHTS, find
from models.adding_problem import BASELINE, sums

NETWORKS = ("rnn-adding", "lstm-adding", "lstm-peephole")
LENGTHS = (25, 50, 100, 200, 400, 800)
ROWS = 500
UNITS = 16  # of 64, that are shown
_SEED = 9


def trained(name: str) -> Any:
    """The network with its committed weights."""
    network = find(name).build()
    network.load_state_dict({key: value.float() for key, value in load_file(WEIGHTS / f"{name}.safetensors").items()})
    return network


def error_by_length(name: str, *, rows: int = ROWS) -> dict[int, float]:
    """Mean squared error on fresh sequences of each length, also of such as were not learned from."""
    network, found = trained(name), {}
    for length in LENGTHS:
        x, target = sums(rows, length, np.random.default_rng(_SEED))
        with torch.no_grad():
            found[length] = float(np.square(network(torch.from_numpy(x)).numpy() - target).mean())
    return found


def sensitivity(name: str, *, length: int = 200, rows: int = ROWS) -> tuple[np.ndarray[Any, Any], ...]:
    """For every marked value: its distance from the end in steps, and the answer's derivative by it (1 is right)."""
    x = torch.from_numpy(sums(rows, length, np.random.default_rng(_SEED))[0]).requires_grad_()
    trained(name)(x).sum().backward()
    assert x.grad is not None
    row, step = np.nonzero(x.detach().numpy()[..., 1])
    return length - step, x.grad.numpy()[row, step, 0]


def forgetting(name: str, path: Path) -> None:
    """Error against length, and how the answer depends on a marked value by its age; all three networks, one bold."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for one in NETWORKS:
        errors, (age, slope) = error_by_length(one), sensitivity(one)
        look: dict[str, Any] = {"label": one, "linewidth": 2.5 if one == name else 1.2}
        left.plot(list(errors), list(errors.values()), marker="o", markersize=4, **look)
        of = (age - 1) // 10
        bins = np.unique(of)
        right.plot(10 * bins + 5, [slope[of == b].mean() for b in bins], **look)
    left.axhline(BASELINE, color="grey", linestyle=":", label="always 1")
    right.axhline(1, color="grey", linestyle=":", label="an adder")
    left.set(xscale="log", yscale="log", xlabel="length of the sequence", ylabel="mean squared error")
    left.set_xticks(LENGTHS, [str(length) for length in LENGTHS])
    left.minorticks_off()
    right.set(xlabel="age of the marked value, steps", ylabel="derivative of the answer by it")
    for axes in (left, right):
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=100)


def gates(name: str, path: Path) -> None:
    """The cells and two gates of the units whose input gate moves most, over one sequence; the answer above."""
    network, length = trained(name), 200
    x, target = sums(ROWS, length, np.random.default_rng(_SEED))
    row = int((x[..., 0] + 9 * (1 - x[..., 1])).min(1).argmax())  # both marked values are large, so they can be seen
    x, target = x[row : row + 1], target[row]
    input_gate, forget_gate, cell, answers = _watched(network, torch.from_numpy(x))
    order = np.argsort(-input_gate.std(0))[:UNITS]
    figure = Figure(figsize=(9, 6), layout="constrained")
    top, *maps = figure.subplots(4, 1, sharex=True, height_ratios=(1.3, 1, 1, 1))
    top.plot(answers, label="answer, were this the end")
    for step in np.flatnonzero(x[0, :, 1]):
        top.axvline(step, color="grey", linestyle=":")
        top.annotate(f" {x[0, step, 0]:.2f}", (step, 0.05), xycoords=("data", "axes fraction"))
    top.axhline(target.item(), color="C1", linewidth=0.8, label=f"wanted, {target.item():.2f}")
    top.legend(fontsize=8, loc="upper left")
    _map(maps[0], input_gate[:, order], "input gate", 0, 1)
    _map(maps[1], forget_gate[:, order], "forget gate", 0, 1)
    _map(maps[2], cell[:, order], "cell", -1, 1)
    maps[2].set_xlabel("step")
    figure.savefig(path, dpi=90)


def _map(axes: Axes, values: np.ndarray[Any, Any], title: str, low: float, high: float) -> None:
    shown = axes.imshow(values.T, aspect="auto", vmin=low, vmax=high, cmap="viridis" if low == 0 else "coolwarm")
    axes.set_ylabel(f"{title}\nunit", fontsize=8)
    assert axes.figure is not None
    axes.figure.colorbar(shown, ax=axes)


@torch.no_grad()
def _watched(network: Any, x: torch.Tensor) -> list[np.ndarray[Any, Any]]:
    """Input gate, forget gate and cell of every step, (T, width), and the answer after it, (T,)."""
    layer, width = network.layer, network.layer.hidden_size
    h = c = torch.zeros(1, 1, width)
    rows: list[tuple[torch.Tensor, ...]] = []
    for step in x.unbind(1):
        into = step @ layer.weight_ih_l0.T + h[0] @ layer.weight_hh_l0.T + layer.bias_ih_l0 + layer.bias_hh_l0
        i, f, _, _ = into.chunk(4, 1)
        seen = torch.sigmoid(i + layer.weight_ci * c[0]), torch.sigmoid(f + layer.weight_cf * c[0])
        said, (h, c) = layer(step.unsqueeze(1), (h, c))
        rows.append((seen[0][0], seen[1][0], c[0, 0], network.head(said[:, -1])[0, 0]))
    return [torch.stack(values).numpy() for values in zip(*rows, strict=True)]
