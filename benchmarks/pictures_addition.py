"""Pictures of the networks that add: the state at every step, where the carry is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from export.session import runner_for
from export.wrap import from_entry
from models import find
from models.addition import STEPS, to_bits

SUMS = ((255, 1), (173, 90), (85, 170))  # a carry all the way, some carries, none


def states_while_adding(name: str, path: Path) -> None:
    """Three sums, read two bits at a time by the streaming form: the state h after each step, and the sum's bits."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    for place, (a, b) in enumerate(SUMS):
        states, probabilities = _read(name, a, b)
        axes = figure.add_subplot(1, len(SUMS), place + 1)
        shown = axes.imshow(states.T, aspect="auto", cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
        axes.set_title(f"{a} + {b} = {_number(probabilities)}", fontsize=10)
        carries = [(a % (1 << t)) + (b % (1 << t)) >> t for t in range(1, STEPS + 1)]
        columns = zip(to_bits(np.array(a)), to_bits(np.array(b)), carries, probabilities, strict=True)
        axes.set_xticks(range(STEPS), [f"{p}\n{q}\n{carry}\n{y:.1f}" for p, q, carry, y in columns], fontsize=7)
        axes.set_ylabel("" if place else "unit of h")
        axes.set_xlabel("a, b, carry, p of a 1 in the sum", fontsize=8)
    figure.colorbar(shown, ax=figure.axes, shrink=0.8)
    figure.savefig(path, dpi=80)


def _read(name: str, a: int, b: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """States (T, width) and the probabilities (T,) of the sum's bits."""
    model = from_entry(find(name))
    form = model.forms["step"]
    run = runner_for(model, form="step")
    held = {s.name: np.zeros((1, int(s.dims[-1])), np.float32) for s in form.inputs if s.state_of}
    states, probabilities = [], []
    for bits in to_bits(np.array([a, b])).T.astype(np.float32):
        found = run({"bits": bits[None, None], **held})
        held = {s.name: found[s.state_of] for s in form.inputs if s.state_of}
        states.append(held["h"][0])
        probabilities.append(1 / (1 + np.exp(-found["logits"][0, 0])))
    return np.array(states), np.array(probabilities)


def _number(probabilities: np.ndarray[Any, Any]) -> int:
    return int(((probabilities > 0.5) * (1 << np.arange(STEPS))).sum())
