"""A page as data, and its one rendering: a single HTML file without scripts, readable on a phone and in the dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.flips import Flip

TEMPLATE = Path(__file__).with_name("report.html.j2")


@dataclass(frozen=True)
class Figure:
    """One number that the page opens with."""

    value: str
    text: str
    tone: Literal["", "good", "bad"] = ""


@dataclass(frozen=True)
class Table:
    """Rows of text; what follows the first line of a cell is set small under it.

    `texts` are the columns set left and allowed to wrap.
    """

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
    """Everything that a report page says, in its order; `versus` says which two the figures compare."""

    title: str
    command: str
    conditions: str
    versus: str = ""
    figures: Sequence[Figure] = ()
    findings: Sequence[str] = ()
    tables: Sequence[Table] = ()
    plots: Sequence[Plot] = ()
    flips_summary: str = ""
    flips: Sequence[Flip] = ()
    details: Sequence[Table] = ()
    method: Sequence[str] = ()


def render(page: Page) -> str:
    """The page as HTML; everything that came from a user is escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render({name: getattr(page, name) for name in page.__dataclass_fields__})
