"""What the comparison of int8 must show, held against the cells: each mark with what misses it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.emulators import PROCESSORS
from benchmarks.int8_variants import PEERS

Cell = Mapping[str, Any]
Row = Mapping[str, Any]

LEAST_SPEED = 0.97  # of the lower bound, against float
BESIDE = 0.95  # of the fastest peer that keeps the score
KEEPS_POINTS, KEEPS_DB = 0.5, 25.0  # what a peer may lose to count
MOST_BYTES = 1.02
MAX_DROP = 1.0  # what `auto` promises where nothing else is asked
SPEEDY = ("ours, any", "ours, cpu")


@dataclass(frozen=True)
class Mark:
    """One claim, on how many networks it was asked, and which miss it and by what."""

    text: str
    asked: int
    missed: tuple[str, ...]
    reached_from: int = 0  # of the asked, so many must reach it; 0: all

    @property
    def reached(self) -> bool:
        """Whether enough networks reach it."""
        return self.asked > 0 and self.asked - len(self.missed) >= (self.reached_from or self.asked)


def keeps(row: Row, cell: Cell) -> bool:
    """Whether a peer's cell is right enough to be compared with."""
    if "refused" in cell:
        return False
    if row["random"]:
        return lowest_db(cell) >= KEEPS_DB
    return bool(cell["points"] <= KEEPS_POINTS)


def lowest_db(cell: Cell) -> float:
    """The SQNR of the form that loses most."""
    return min(math.inf if db is None else db for db in cell["sqnr_db"].values())


def pace(cell: Cell, end: str = "speedup") -> float:
    """The speed against float, or an end of its interval: of several forms the geometric mean."""
    found = [math.log(each[end]) for each in cell["speed"].values()]
    return math.exp(sum(found) / len(found))


def fastest(row: Row) -> tuple[str, float]:
    """The fastest peer that keeps the score, and its speed; float itself where there is none."""
    return max(((v, pace(cell)) for v, cell in _peers(row).items()), key=lambda one: one[1], default=("float", 1.0))


def smallest(row: Row) -> tuple[str, int]:
    """The smallest peer that keeps the score, and its bytes; float itself where there is none."""
    found = ((v, int(cell["bytes"])) for v, cell in _peers(row).items())
    return min(found, key=lambda one: one[1], default=("float", int(row["bytes"])))


def _peers(row: Row) -> dict[str, Cell]:
    return {v: row["cells"][v] for v in PEERS if v in row["cells"] and keeps(row, row["cells"][v])}


def marks(networks: Mapping[str, Row]) -> Iterator[Mark]:
    """All of them, over the networks that were measured."""
    for ours in SPEEDY:
        yield _mark(f"`{ours}`: lower bound of the speed against float at least {LEAST_SPEED:g}", ours, networks, _slow)
        text = f"`{ours}`: at least {BESIDE:g} of the speed of the fastest peer that keeps the score"
        yield _mark(text, ours, networks, _behind)
        ahead = _mark(f"`{ours}`: ahead of that peer on most", ours, networks, _not_ahead)
        yield Mark(ahead.text, ahead.asked, ahead.missed, reached_from=ahead.asked // 2 + 1)
        yield _mark(f"`{ours}`: at most {MAX_DROP:g} point lost on test", ours, networks, _lost)
        random = {name: row for name, row in networks.items() if row["random"]}
        yield _mark(f"`{ours}`: random networks at least {KEEPS_DB:g} dB here", ours, random, _noisy)
    ours = SPEEDY[0]  # the other one is for the processor at hand
    for processor in PROCESSORS:
        there = {name: row for name, row in random.items() if processor in _cell(row, ours).get("emulated_db", {})}
        yield _mark(f"`{ours}`: the same on an emulated {processor}", ours, there, partial(_noisy_there, processor))
    text = f"`ours, size`: at most {MOST_BYTES:g} of the bytes of the smallest peer that keeps the score"
    yield _mark(text, "ours, size", networks, _large)


def _mark(text: str, ours: str, networks: Mapping[str, Row], check: Any) -> Mark:
    rows = {name: row for name, row in networks.items() if ours in row["cells"]}
    missed = []
    for name, row in rows.items():
        cell = row["cells"][ours]
        short = f"refused: {cell['refused']}" if "refused" in cell else check(row, cell)
        if short:
            missed.append(f"`{name}`: {short}")
    return Mark(text, len(rows), tuple(missed))


def _slow(row: Row, cell: Cell) -> str:
    slow = {form: each for form, each in cell["speed"].items() if each["low"] < LEAST_SPEED}
    return ", ".join(f"{form} {s['speedup']:.2f}x ({s['low']:.2f} to {s['high']:.2f})" for form, s in slow.items())


def _behind(row: Row, cell: Cell) -> str:
    peer, speed = fastest(row)
    reached = pace(cell) / speed
    return "" if reached >= BESIDE else f"{pace(cell):.2f}x for {speed:.2f}x of {peer}, {reached:.2f} of it"


def _not_ahead(row: Row, cell: Cell) -> str:
    peer, speed = fastest(row)
    if pace(cell) > speed:
        return ""
    level = pace(cell, "high") >= (pace(row["cells"][peer], "low") if peer in row["cells"] else 1.0)
    return f"{pace(cell):.2f}x for {speed:.2f}x of {peer}" + (", no difference" if level else "")


def _lost(row: Row, cell: Cell) -> str:
    if row["random"] or cell["points"] <= MAX_DROP:
        return ""
    return f"{cell['points']:.2f} points ({cell['points_low']:+.2f} to {cell['points_high']:+.2f})"


def _noisy(row: Row, cell: Cell) -> str:
    return "" if lowest_db(cell) >= KEEPS_DB else f"{lowest_db(cell):.1f} dB"


def _cell(row: Row, variant: str) -> Cell:
    found: Cell = row["cells"].get(variant, {})
    return found


def _noisy_there(processor: str, row: Row, cell: Cell) -> str:
    found = cell["emulated_db"][processor]
    return "" if found is None or found >= KEEPS_DB else f"{found:.1f} dB"


def _large(row: Row, cell: Cell) -> str:
    peer, least = smallest(row)
    share = cell["bytes"] / least
    return "" if share <= MOST_BYTES else f"{cell['bytes']:,} bytes for {least:,} of {peer}, {share:.2f} times"
