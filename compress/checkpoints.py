"""Where trainings under way are kept: a file for each pass of a chain and each round of a pass. Imports no torch."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from compress.base import Pass


def of_passes(path: Path, passes: Sequence[Pass]) -> list[Path]:
    """Where each pass writes how far its training is: of one pass `path`, of several small.2-prune.training.pt."""
    if len(passes) == 1:
        return [path]
    stem = path.name.removesuffix(".training.pt")
    return [path.with_name(f"{stem}.{number}-{step.name}.training.pt") for number, step in enumerate(passes, 1)]


def of_round(path: Path, round: int) -> Path:
    """Where a round of a pass writes: `out.training.pt`, `out.training.1.pt`, ..."""
    return path.with_suffix(f".{round}.pt") if round else path


def remove(path: Path, passes: Sequence[Pass]) -> None:
    """All that the passes left, of every round: what they were for is done."""
    for first in of_passes(path, passes):
        for file in [first, *first.parent.glob(f"{glob.escape(first.stem)}.*[0-9].pt")]:
            file.unlink(missing_ok=True)
