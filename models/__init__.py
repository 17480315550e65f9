"""Reference models, their tasks and trained weights; the records; the errors. The lowest floor: it knows nobody."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .records import Entry

__all__ = ["WEIGHTS", "ZOO", "find"]

WEIGHTS = Path(__file__).parent / "weights"

# name -> module of this package that holds ENTRY, and a summary; strings, so that a listing imports no torch
ZOO: dict[str, tuple[str, str]] = {}


def find(name: str) -> Entry:
    """The entry of that name; raises KeyError when there is none."""
    module, _ = ZOO[name]
    entry: Entry = importlib.import_module(f".{module}", __package__).ENTRY
    return entry
