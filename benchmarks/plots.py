"""Plots as SVG text for a page: no scripts, and colours that are the page's own, so that they turn with dark mode.

matplotlib knows no `currentColor`; each plot is drawn in four marker colours, which become CSS colours in the text.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import Affine2D, Bbox

INK, SOFT, LINE, ACCENT = "#010203", "#040506", "#070809", "#0a0b0c"
_CSS = {
    INK: "currentColor",
    SOFT: "var(--soft, #808890)",
    LINE: "var(--line, #80889055)",
    ACCENT: "var(--accent, #2f7fe0)",
}
_MOST_LAYERS = 24
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: it can be searched, and is read aloud
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": SOFT,
    "axes.edgecolor": LINE,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": INK,
    "grid.color": LINE,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # a layer may be named with a dollar
}


def size_against_score(points: Sequence[tuple[str, float, float, float, float]], *, metric: str = "score") -> str:
    """File sizes on a logarithmic axis against scores.

    Args:
        points: name, size in bytes, score, and the low and high end of its interval; the first is the original.
        metric: what the score is.
    """
    with _canvas(3.2, f"{metric} against file size of {_names([p[0] for p in points])}") as (axes, svg):
        for position, (_, size, score, low, high) in enumerate(points):
            colour = SOFT if position == 0 else ACCENT
            whiskers = [[max(0, score - low)], [max(0, high - score)]]
            axes.errorbar(size / 1000, score, yerr=whiskers, fmt="o", color=colour, capsize=3, markersize=6)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 3)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda kilobytes, _: f"{kilobytes:,g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(x=0.12, y=0.2)
        axes.set_xlabel("file size, KB")
        axes.set_ylabel(_cut(metric))
        _label(axes, [(_cut(name), size / 1000, *heights) for name, size, *heights in points])
    return svg[0]


def latency(bars: Sequence[tuple[str, float, float, float]]) -> str:
    """Latencies as bars with the interval of the median.

    Args:
        bars: name, median, and the low and high end of its interval, in milliseconds; the first is the original.
    """
    longest = max((high for *_, high in bars), default=1.0)
    factor, unit = (1000, "µs") if longest < 1 else (1, "ms")
    with _canvas(0.9 + 0.38 * len(bars), f"latency of {_names([bar[0] for bar in bars])}") as (axes, svg):
        for position, (_, median, low, high) in enumerate(bars):
            axes.barh(position, median * factor, height=0.6, color=SOFT if position == 0 else ACCENT)
            whisker = [[max(0, median - low) * factor], [max(0, high - median) * factor]]
            axes.errorbar(median * factor, position, xerr=whisker, color=INK, capsize=3, linewidth=1.2)
            axes.annotate(
                f"{median * factor:,.3g} {unit}",
                (max(median, high) * factor, position),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
            )
        _rows(axes, [name for name, *_ in bars])
        axes.set_xlim(0, longest * factor * 1.25 or 1)
        axes.set_xlabel(f"median, {unit}")
    return svg[0]


def layers(before: Sequence[tuple[str, float]], after: Sequence[tuple[str, float]], unit: str) -> str:
    """A count for each layer, before and after, as pairs of bars.

    A layer that became several (`conv` -> `conv.0`, `conv.1`) is shown under its old name, with their sum. Beyond 24
    layers the smallest are summed up.

    Args:
        before: layer and its count, in the network's order.
        after: the same of the network that came out.
        unit: what is counted.
    """
    rows = merge_layers(before, after)
    with _canvas(1.0 + 0.36 * len(rows), f"{unit} layer by layer, before and after") as (axes, svg):
        for shift, side, colour, label in ((-0.19, 0, SOFT, "before"), (0.19, 1, ACCENT, "after")):
            places = [row + shift for row in range(len(rows))]
            axes.barh(places, [counts[side] for counts in rows.values()], height=0.36, color=colour, label=label)
        _rows(axes, list(rows))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda count, _: _short(count)))
        axes.set_xlabel(_cut(unit))
        axes.legend(frameon=False, fontsize=9, ncols=2, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)
    return svg[0]


def merge_layers(
    before: Sequence[tuple[str, float]], after: Sequence[tuple[str, float]], *, most: int = _MOST_LAYERS
) -> Mapping[str, tuple[float, float]]:
    """Counts before and after by layer, parts under their old layer's name, at most so many rows."""
    rows: dict[str, tuple[float, float]] = {}
    for name, count in before:
        rows[name] = (rows.get(name, (0.0, 0.0))[0] + count, 0.0)
    known = sorted((name for name, _ in before if name), key=len, reverse=True)
    for name, count in after:
        row = next((old for old in known if name == old or name.startswith(f"{old}.")), name)
        was, so_far = rows.get(row, (0.0, 0.0))
        rows[row] = (was, so_far + count)
    if len(rows) <= most:
        return rows
    large = set(sorted(rows, key=lambda name: max(rows[name]), reverse=True)[: most - 1])
    small = [name for name in rows if name not in large]
    summed = (sum(rows[name][0] for name in small), sum(rows[name][1] for name in small))
    return {**{name: rows[name] for name in rows if name in large}, f"{len(small)} smaller ones": summed}


@contextmanager
def _canvas(inches: float, label: str) -> Iterator[tuple[Axes, list[str]]]:
    """Axes to draw on, and a list that holds the SVG text afterwards."""
    made: list[str] = []
    salt = re.sub(r"\W", "", label)  # clip paths are named by a hash, and a page holds several plots
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": salt}), warnings.catch_warnings():
        # the text stays text: the reader's browser has the letters that matplotlib's font lacks
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(4.6, inches), layout="constrained")
        axes = figure.add_subplot()
        yield axes, made
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    made.append(_inline(text.getvalue(), label))


def _inline(svg: str, label: str) -> str:
    """The `svg` element alone, in the page's colours, with only those ids that are referred to."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^\")]+)", svg))
    svg = re.sub(r' id="([^"]+)"', lambda found: found.group(0) if found.group(1) in used else "", svg)
    for marker, colour in _CSS.items():
        svg = svg.replace(marker, colour)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px system-ui, sans-serif", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(label, quote=True)}" ', 1)


def _rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [_cut(name) for name in names])
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.grid(False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.tick_params(axis="y", length=0)


def _cut(name: str) -> str:
    """A name's last 28 letters: layers differ in their ends."""
    return name if len(name) <= 28 else f"…{name[-27:]}"


def _short(count: float) -> str:
    for size, letter in ((1e6, " M"), (1e3, " k")):
        if count >= size:
            return f"{count / size:,g}{letter}"
    return f"{count:g}"


def _label(axes: Axes, points: Sequence[tuple[Any, ...]]) -> None:
    """Put each name beside its point, where it meets the fewest other names, points and whiskers.

    A point is its name, x, y, and the low and high end of its whisker.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # the layout is known only then
    per_point = figure.dpi / 72
    inside = axes.get_window_extent().transformed(Affine2D().scale(1 / per_point))
    spots = [axes.transData.transform((x, y)) / per_point for _, x, y, *_ in points]
    taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in spots]
    for _, x, _, low, high in points:
        (left, bottom), (_, top) = axes.transData.transform([(x, low), (x, high)]) / per_point
        taken.append(Bbox.from_bounds(left - 2, bottom, 4, top - bottom))
    for (name, x, y, *_), (px, py) in zip(points, spots, strict=True):
        width = 5.2 * len(name)  # of 9 point type, in points
        choices = [(right, down) for down in (-3, 7, -14, 18, -25, 29, -36) for right in (8, -8 - width)]
        boxes = [Bbox.from_bounds(px + right, py + down, width, 9) for right, down in choices]
        cost = [sum(box.overlaps(other) for other in taken) + 10 * (not _holds(inside, box)) for box in boxes]
        best = cost.index(min(cost))
        taken.append(boxes[best])
        axes.annotate(name, (x, y), xytext=choices[best], textcoords="offset points", fontsize=9)


def _holds(outer: Bbox, inner: Bbox) -> bool:
    return bool(outer.x0 <= inner.x0 and inner.x1 <= outer.x1 and outer.y0 <= inner.y0 and inner.y1 <= outer.y1)


def _names(names: Sequence[Any]) -> str:
    return ", ".join(map(str, names))
