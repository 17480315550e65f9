"""A page as data, and its one rendering: a single HTML file without scripts, readable on a phone and in the dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from benchmarks.flips import Flips

TEMPLATE = Path(__file__).with_name("report.html.j2")


@dataclass(frozen=True)
class Figure:
    """One number that the page opens with."""

    value: str
    text: str
    tone: Literal["", "good", "bad"] = ""


@dataclass(frozen=True)
class Table:
    """Rows of text; `texts` are the columns set left and allowed to wrap."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: Sequence[int] = ()
    note: str = ""


@dataclass(frozen=True)
class Plot:
    """An SVG picture and what it shows."""

    svg: str
    caption: str


@dataclass(frozen=True, kw_only=True)
class Page:
    """Everything that a report page says, in its order."""

    title: str
    subtitle: str
    conditions: str
    figures: Sequence[Figure] = ()
    findings: Sequence[str] = ()
    tables: Sequence[Table] = ()
    plots: Sequence[Plot] = ()
    flips: Flips | None = None
    flips_summary: str = ""
    details: Sequence[Table] = ()
    method: Sequence[str] = field(default=())


def render(page: Page) -> str:
    """The page as HTML; everything that came from a user is escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    flips: dict[str, Any] | None = None
    if page.flips is not None:
        flips = {"summary": page.flips_summary, "shown": page.flips.shown}
    values = {name: getattr(page, name) for name in page.__dataclass_fields__} | {"flips": flips}
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(values)


def bytes_text(count: float | None) -> str:
    """A size as people read it: 1,747 KB (1 KB is 1,000 bytes)."""
    if count is None:
        return "–"
    return f"{count:,.0f} B" if count < 1000 else f"{count / 1e3:,.1f} KB" if count < 1e5 else f"{count / 1e3:,.0f} KB"


def count_text(count: float | None) -> str:
    """A count with its thousands apart, in millions from a million on."""
    if count is None:
        return "–"
    return f"{count:,.0f}" if count < 1e6 else f"{count / 1e6:,.2f} M"


def time_text(ms: float | None) -> str:
    """A time in milliseconds, in microseconds below one."""
    if ms is None:
        return "–"
    return f"{1000 * ms:,.1f} µs" if ms < 1 else f"{ms:,.2f} ms"
