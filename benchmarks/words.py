"""Numbers as people read them on the page: sizes, counts, times, scores and what was lost of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NONE = "–"


def bytes_text(count: float | None) -> str:
    """A size: 17.3 KB, 1,747 KB, 67.8 MB (1 KB is 1,000 bytes)."""
    if count is None:
        return NONE
    if count < 1000:
        return f"{count:,.0f} B"
    if count < 1e7:
        return f"{count / 1e3:,.1f} KB" if count < 1e5 else f"{count / 1e3:,.0f} KB"
    return f"{count / 1e6:,.1f} MB" if count < 1e10 else f"{count / 1e9:,.1f} GB"


def count_text(count: float | None) -> str:
    """A count with its thousands apart, in millions from a million on."""
    if count is None:
        return NONE
    return f"{count:,.0f}" if count < 1e6 else f"{count / 1e6:,.2f} M"


def time_text(ms: float | None) -> str:
    """A time in milliseconds, in microseconds below one."""
    if ms is None:
        return NONE
    return f"{1000 * ms:,.1f} µs" if ms < 1 else f"{ms:,.2f} ms"


def times_text(ratio: float) -> str:
    """How many times: 0.97, 4.90, 101.0, 1,234."""
    return f"{ratio:,.2f}×" if ratio < 10 else f"{ratio:,.1f}×" if ratio < 1000 else f"{ratio:,.0f}×"


def is_fraction(step: Mapping[str, Any]) -> bool:
    """Whether a point of this ledger line's score is 0.01 of it."""
    return step.get("unit", "") in ("", "fraction")


def score_text(value: float | None, step: Mapping[str, Any]) -> str:
    """A score: an accuracy in per cent, all else as it is."""
    if value is None:
        return NONE
    return f"{100 * value:.1f} %" if is_fraction(step) and step.get("metric_name") == "accuracy" else f"{value:.4f}"


def drop_text(drop: float | None, step: Mapping[str, Any]) -> str:
    """What was lost, in points for a fraction, in the score's own unit for all else; a gain is negative."""
    if drop is None:
        return NONE
    text = f"{100 * drop:.2f}" if is_fraction(step) else f"{drop:.4f}"
    text = text.removeprefix("-") if not float(text) else text.replace("-", "−")
    return f"{text} pt" if is_fraction(step) else text
