"""How long a network takes at any widths: a table measured on the target, one group narrowed at a time, and a sum.

The times of all groups but one at full width are added up. A layer between two groups would so be saved twice; the
multiply-adds counted twice are given back, at the milliseconds for each that the table itself shows. It is a forecast:
what is chosen by it is measured (`meet.py`).

Source: a latency table per width, Yang et al. 2018 (arXiv:1804.03230) sec. 3.3.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from compress.base import Progress
from export.called import called
from export.session import session
from export.stopwatch import Comparison, Stopwatch
from models.records import Model, example, sizes_of

from .polynomial import Floats, Polynomial
from .widths import Width

POINTS = 5  # of each width beside full; between two of them time is taken to grow evenly
_TABLE_SECONDS = 0.3  # of measuring a network of the table; what is chosen is measured as long as the stopwatch says

Points = tuple[tuple[int, float], ...]  # (units, milliseconds), the fewest units first, all of them last


@dataclass(frozen=True)
class Latency:
    """Forecasts milliseconds.

    Args:
        full_ms: of the whole network.
        points: of each width, the others being full.
        macs: of the network, in these widths.
        full: all units of each width.
    """

    full_ms: float
    points: tuple[Points, ...]
    macs: Polynomial
    full: tuple[int, ...]

    def __call__(self, widths: Any) -> Floats:
        """At widths (..., n), shaped (...)."""
        widths = np.asarray(widths, np.float64)
        alone = np.zeros(widths.shape[:-1])
        twice = self.macs(widths) - self.macs(self.full)  # what the table saves, less what is saved
        for number, points in enumerate(self.points):
            counts, times = np.array(points).T
            alone += np.interp(widths[..., number], counts, times) - self.full_ms
            one = np.broadcast_to(np.array(self.full, np.float64), widths.shape).copy()
            one[..., number] = widths[..., number]
            twice += self.macs(self.full) - self.macs(one)
        return np.asarray(self.full_ms + alone + self.ms_per_mac() * np.maximum(twice, 0))

    def ms_per_mac(self) -> float:
        """By least squares through 0, over all points: milliseconds saved against multiply-adds saved."""
        saved = []
        for number, points in enumerate(self.points):
            for count, ms in points:
                one = list(self.full)
                one[number] = count
                saved.append((float(self.macs(self.full) - self.macs(one)), self.full_ms - ms))
        macs, times = np.array(saved).reshape(-1, 2).T
        return max(0.0, float(macs @ times) / max(float(macs @ macs), 1.0))


def measure_table(
    at: Callable[[Sequence[int]], Model],
    widths: Sequence[Width],
    macs: Polynomial,
    stopwatch: Stopwatch,
    *,
    alike: Sequence[Hashable],
    progress: Progress | None = None,
) -> Latency:
    """Time the network with each width at some of its choices, by turns with the whole one.

    Args:
        at: gives the network at some widths, as ONNX.
        widths: each with its choices.
        macs: of the network, in these widths.
        stopwatch: on the target.
        alike: one thing a width: widths with equal ones take the same time, and are measured once.
        progress: told of each width.
    """
    full = tuple(width.size for width in widths)
    quick = replace(stopwatch, seconds=min(stopwatch.seconds, _TABLE_SECONDS))
    found: dict[Hashable, dict[int, float]] = {}  # milliseconds over those of the whole network
    whole: list[float] = []
    for number, width in enumerate(widths):
        if progress is not None:
            progress("prune: timing widths", number, len(widths))
        if alike[number] in found:
            continue
        networks = {count: at([*full[:number], count, *full[number + 1 :]]) for count in _points(width)}
        median_ms, comparisons = timed(at(full), networks, quick)
        whole.append(median_ms)
        found[alike[number]] = {count: 1 / compared.speedup for count, compared in comparisons.items()}
    full_ms = statistics.median(whole) if whole else 0.0
    points = (
        (*((count, full_ms * share) for count, share in sorted(found[key].items())), (size, full_ms))
        for key, size in zip(alike, full, strict=True)
    )
    return Latency(full_ms, tuple(points), macs, full)


def timed(whole: Model, networks: Mapping[int, Model], stopwatch: Stopwatch) -> tuple[float, dict[int, Comparison]]:
    """Time ONNX networks by turns with the whole one, at batch 1 and the typical sizes.

    Returns:
        The median milliseconds of the whole one, and how each of the others compares with it.
    """
    calls = {"whole": _call(whole, stopwatch), **{str(n): _call(model, stopwatch) for n, model in networks.items()}}
    found = stopwatch.time(calls)
    return found.timings["whole"].median_ms, {int(c.b): c for c in found.comparisons}


def _call(model: Model, stopwatch: Stopwatch) -> Callable[[], object]:
    made = session(model, threads=stopwatch.threads)
    inputs = dict(example(model.inputs, sizes_of(model)))
    called(made, inputs, model.name)  # says what is wrong, once; the clock needs no more
    return lambda: made.run(None, inputs)


def _points(width: Width) -> list[int]:
    """Some of the choices below full, evenly among them, the fewest included."""
    below = width.choices[1:]
    return [below[i] for i in np.unique(np.linspace(0, len(below) - 1, min(POINTS, len(below))).round().astype(int))]
