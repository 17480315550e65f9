"""Pictures of the dialogue models: how they are built, perplexity reply by reply, and what the code tells."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from benchmarks.dialogue import MODELS, RESULT, TURNS

COLOURS = dict(zip(MODELS, ("#b03020", "#2f7fe0", "#208050"), strict=True))


def by_turn(name: str, path: Path) -> None:
    """The architecture, and the perplexity of the first replies of a dialogue and of all later ones."""
    document = json.loads(RESULT.read_text(encoding="utf-8"))
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.15, 1])
    _architecture(left, 3 if name == "hred" else 1)
    for shift, (model, rows) in enumerate(document["by_turn"].items()):
        values = np.array([[row["perplexity"], row["low"], row["high"]] for row in rows])
        turns = np.array([row["turn"] for row in rows]) + 0.12 * (shift - 1)
        spread = np.abs(values[:, 1:] - values[:, :1]).T
        label = f"{model} (bound)" if model == "vhred" else model
        strong = 1.0 if model == name else 0.55
        right.errorbar(turns, values[:, 0], spread, color=COLOURS[model], alpha=strong, marker="o", ms=3, label=label)
    right.set_xticks(range(1, TURNS + 2), [*map(str, range(1, TURNS + 1)), f"{TURNS + 1}+"])
    right.set_xlabel("reply of the dialogue")
    right.set_ylabel("perplexity per word")
    right.set_ylim(6, 16)
    right.legend(fontsize=8)
    figure.savefig(path, dpi=80)


def code(name: str, path: Path) -> None:
    """KL for each number of the code, and the variety of replies drawn by each model."""
    document = json.loads(RESULT.read_text(encoding="utf-8"))
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    nats = sorted(document["code"]["kl_nats_per_number"], reverse=True)
    left.bar(range(1, len(nats) + 1), nats, color=COLOURS[name])
    left.set_xlabel("number of the code, the most telling first")
    left.set_ylabel("KL, nats a reply")
    _bars(right, document["variety"], ("distinct_1", "distinct_2", "distinct_2_one_way"))
    right.set_xticks(range(3), ["distinct-1", "distinct-2", "distinct-2,\nsurest words"])
    right.legend(fontsize=8)
    figure.savefig(path, dpi=80)


def _bars(axes: Axes, variety: dict[str, Any], kinds: Sequence[str]) -> None:
    for shift, model in enumerate(MODELS):
        rows = [variety[model][kind] for kind in kinds]
        values = [row["value"] for row in rows]
        spread = [[row["value"] - row["low"] for row in rows], [row["high"] - row["value"] for row in rows]]
        places = np.arange(len(kinds)) + 0.27 * (shift - 1)
        axes.bar(places, values, 0.25, yerr=spread, color=COLOURS[model], label=model)


def _architecture(axes: Axes, utterances: int) -> None:
    """Words into utterances, utterances into a context where there is one, the context into words."""
    axes.set_axis_off()
    axes.set_xlim(0, 10)
    axes.set_ylim(0, 6)
    many = utterances > 1
    for i in range(utterances):
        left = 0.2 + 2.3 * i if many else 0.8
        for word in range(3):
            _box(axes, left + 0.65 * word, 0.3, 0.5, 0.5, "", "#dddddd")
        _box(axes, left, 1.5, 1.8, 0.8, "words GRU", "#cfe0f8")
        _arrow(axes, (left + 0.9, 0.85), (left + 0.9, 1.45))
        axes.text(left + 0.9, -0.1, f"utterance {i + 1}" if many else "last utterance", ha="center", fontsize=8)
        if many:
            _box(axes, left, 3.3, 1.8, 0.8, "context GRU", "#f8e6c0")
            _arrow(axes, (left + 0.9, 2.35), (left + 0.9, 3.25))
            if i:
                _arrow(axes, (left - 0.48, 3.7), (left - 0.03, 3.7))
    start = (0.2 + 2.3 * utterances - 0.5, 3.7) if many else (2.6, 1.9)
    _box(axes, 7.6, 2.6, 2.2, 0.8, "reply GRU", "#cdebd6")
    _arrow(axes, (start[0] + 0.02, start[1]), (7.55, 3.0))
    axes.text(7.0 if many else 5.0, 3.75 if many else 2.75, "$h_0$, $\\tau$", ha="center", fontsize=9)
    for word in range(3):
        _box(axes, 7.75 + 0.7 * word, 4.3, 0.5, 0.5, "", "#dddddd")
        _arrow(axes, (8.0 + 0.7 * word, 3.45), (8.0 + 0.7 * word, 4.25))
    axes.text(8.7, 5.05, "reply", ha="center", fontsize=8)


def _box(axes: Axes, x: float, y: float, width: float, height: float, text: str, colour: str) -> None:
    axes.add_patch(Rectangle((x, y), width, height, facecolor=colour, edgecolor="#606060", linewidth=0.8))
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=8)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate("", xy=end, xytext=start, arrowprops={"arrowstyle": "->", "color": "#606060"})
