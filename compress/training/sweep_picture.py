"""A sweep as a picture: how the losses fall, and how large the gradient is at each time step."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from .sweep import Sweep, Variation, shown

Curve = tuple[Sequence[int], Sequence[float]]
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_COLOURS = 64  # a curve's picture needs no more, and is a third of the size
_MARKED = 20  # points of a curve that are still marked one by one


def draw(sweep: Sweep, path: Path) -> None:
    """Write the picture as PNG: the losses, and beside them the gradients before and after training, where there are.

    What is not finite or, on the logarithmic axis, not above zero, is left out of a curve.
    """
    recurrent = any(v.gradient_before for v in sweep.variations)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9.6, 3.3) if recurrent else (5.2, 3.3), dpi=100, layout="constrained")
        panels = figure.subplots(1, 3 if recurrent else 1, squeeze=False)[0]
        _curves(panels[0], sweep, [_losses(v) for v in sweep.variations])
        panels[0].set(title=f"{sweep.model}: loss", xlabel="step of training", ylabel="loss")
        if recurrent:
            panels[2].sharey(panels[1])  # before they are drawn, so that the axis holds both
            _curves(panels[1], sweep, [_over_time(v.gradient_before) for v in sweep.variations])
            _curves(panels[2], sweep, [_over_time(v.gradient_after) for v in sweep.variations])
            panels[1].set(title="gradient before training", xlabel="time step t", ylabel="|dE/dh_t|")
            panels[2].set(title="and after", xlabel="time step t")
            panels[2].tick_params(labelleft=False)
            for panel in panels[1:]:
                panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(
            *panels[0].get_legend_handles_labels(), loc="outside right center", title=sweep.field, frameon=False
        )
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png")
    Image.open(drawn).convert("RGB").quantize(_COLOURS).save(path, format="png", optimize=True)


def _losses(variation: Variation) -> Curve:
    return [step for step, _ in variation.losses], [loss for _, loss in variation.losses]


def _over_time(norms: Sequence[float]) -> Curve:
    return range(1, len(norms) + 1), norms


def _curves(axes: Axes, sweep: Sweep, curves: Sequence[Curve]) -> None:
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(curves)))
    for variation, (places, heights), colour in zip(sweep.variations, curves, colours, strict=True):
        drawn = np.array(heights, np.float64)
        drawn[~(np.isfinite(drawn) & (drawn > 0))] = np.nan
        label = shown(variation.value) + (" (diverged)" if variation.stopped else "")
        marker = "." if len(drawn) <= _MARKED else ""
        axes.plot(list(places), drawn, marker=marker, color=colour, label=label, linewidth=1.4)
    if any(np.isfinite(line.get_ydata()).any() for line in axes.get_lines()):  # type: ignore[arg-type]
        axes.set_yscale("log")
