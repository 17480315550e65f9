"""From a target to the number of units that each group keeps: predicted, solved, and where it is measured, measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from compress.base import Context, Note
from export.onnx_file import weight_bytes
from export.timing import BAND
from models.errors import CompressError, UsageError
from models.records import Model

from .allocate import Cost, allocate, losses_of
from .axes import Axis
from .costs import bytes_in, macs_in, parameters_in
from .importance import Scores
from .latency import Latency, measure_table, timed
from .onnx_widths import AtWidths
from .target import Kind, Target
from .ties import Ties
from .units import Group
from .widths import Width, counts_of, numbers_of, widths_of

NEAR = 0.9  # of the target: where widths that the device likes cannot come as near, others are taken too
_ATTEMPTS = 8  # forecasts corrected by a measurement
_CONFIRMED = 3  # exports measured, each after the forecast before it turned out too low

Chosen = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How many units each group keeps, of those that lose some; numbers for the ledger; what a person should know."""

    counts: Mapping[Axis, int]
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Planner:
    """Meets a target with the least loss of importance.

    The result costs at most what the target says. Parameters, multiply-adds and bytes are exact; kilobytes are those
    of an export, milliseconds those of a run, measured at the end, up to the 3 % within which the stopwatch says "no
    difference". From below it comes as near as one step of one width allows.

    Args:
        model: the analysed one.
        skip: patterns that the analysis left out.
        found: its groups.
        scores: of the units.
        multiple: of widths, as the device likes it, or as the user says.
        fixed: whether the user says it; else finer widths are taken where a target would be missed by a tenth.
        min_units: that each group keeps.
    """

    target: Target
    model: Model
    ties: Ties
    skip: Sequence[str]
    found: Sequence[Group]
    scores: Scores
    context: Context
    multiple: int
    fixed: bool
    min_units: int

    def plan(self) -> Plan:
        """Choose.

        Raises:
            CompressError: the target cannot be reached; the text says what is least, and what keeps its units.
            UsageError: milliseconds are asked for a device that this machine is not.
        """
        if self.target.kind in ("ms", "kb") and not self.widths(1):
            raise CompressError(self._unreachable("all of it"))
        if self.target.kind == "ms":
            return self._by_time()
        if self.target.kind == "kb":
            return self._by_size()
        return self._by_share()

    def widths(self, multiple: int) -> list[Width]:
        """What can be chosen."""
        return widths_of(self.ties, self.found, multiple=multiple, min_units=self.min_units)

    def numbers(self) -> dict[Axis, int]:
        """The number of each axis, the same for every multiple."""
        return numbers_of(self.widths(self.multiple))

    def _by_share(self) -> Plan:
        counting: dict[Kind, Callable[[], Cost]] = {
            "params": lambda: parameters_in(self.ties, self.numbers()),
            "macs": lambda: macs_in(self.ties, self.numbers(), self.model),
            "bytes": lambda: bytes_in(self.ties, self.numbers()),
        }
        costs = {kind: counting[kind]() for kind in self.target.limits}
        before = {kind: float(cost(_full(self.widths(1)))) for kind, cost in costs.items()}
        for kind, counted in before.items():
            if not counted:
                raise CompressError(f"prune: {self.target} asked of {self._who}, which has no {kind}.")

        def worst(chosen: Any) -> Any:
            """What stands farthest above its limit, as a multiple of that."""
            shares = [costs[kind](chosen) / (limit * before[kind]) for kind, limit in self.target.limits.items()]
            return np.max(shares, axis=0)

        chosen = self._solved(worst, 1.0)
        if chosen is None:
            fewest = _fewest(self.widths(1))
            least = [f"{kind}={float(cost(fewest)) / before[kind]:.3f}" for kind, cost in costs.items()]
            raise CompressError(self._unreachable(",".join(least)))
        after = {kind: float(cost(chosen)) for kind, cost in costs.items()}
        facts = {
            "before": {kind: round(counted) for kind, counted in before.items()},
            "after": {kind: round(counted) for kind, counted in after.items()},
            "remaining": {kind: after[kind] / before[kind] for kind in costs},
        }
        return self._plan(chosen, facts)

    def _by_size(self) -> Plan:
        at = AtWidths(self.model, self.skip, self.ties, self.found, self.widths(1))

        def kilobytes(chosen: Chosen) -> float:
            return weight_bytes(at(chosen)) / 1000

        cost = bytes_in(self.ties, self.numbers())
        before, goal = kilobytes(at.full), self.target.amount
        if before <= goal:
            return Plan(counts={}, notes=(Note("", f"{self.target} asked, and it has {before:.1f} kB already"),))
        rate = before / float(cost(at.full))
        chosen = self._measured(lambda widths: rate * cost(widths), goal, kilobytes)
        if chosen is None:
            raise CompressError(self._unreachable(f"kb={kilobytes(_fewest(self.widths(1))):.1f}"))
        exported = weight_bytes(at.export(chosen)) / 1000
        return self._plan(chosen, {"before": before, "predicted": float(rate * cost(chosen)), "measured": exported})

    def _by_time(self) -> Plan:
        stopwatch = self.context.measure
        if stopwatch is None:
            raise UsageError(
                f"prune: {self.target} asked for device {self.context.device!r}, and this machine is not that device: "
                "nothing can be timed here. Ask for macs=SHARE, or run this on the device with --device cpu."
            )
        widths = self.widths(self.multiple)
        at = AtWidths(self.model, self.skip, self.ties, self.found, widths)
        before, _ = timed(at(at.full), {}, stopwatch)
        if before <= self.target.amount:
            return Plan(counts={}, notes=(Note("", f"{self.target} asked, and it takes {before:.3f} ms already"),))
        macs = macs_in(self.ties, self.numbers(), self.model)
        alike = self._alike(widths, macs)
        table = measure_table(at, widths, macs, stopwatch, alike=alike, progress=self.context.progress)

        def milliseconds(chosen: Chosen, model: Callable[[Chosen], Model] = at) -> float:
            _, compared = timed(at(at.full), {0: model(chosen)}, stopwatch)
            return table.full_ms / compared[0].speedup  # what disturbs this minute disturbs the whole network too

        before, least = table.full_ms, milliseconds(_fewest(widths))
        facts = {"before": before, "least": least, "table": _rows(widths, table)}
        aim = self.target.amount
        for _ in range(_CONFIRMED):
            chosen = self._measured(table, aim, milliseconds)
            if chosen is None:
                raise CompressError(self._unreachable(f"ms={facts['least']:.3f}", before=f"of {before:.3f} ms, "))
            measured = milliseconds(chosen, at.export)
            if measured <= self.target.amount * (1 + BAND):
                facts |= {"predicted": float(table(chosen)), "measured": measured, "exports": at.exports}
                return self._plan(chosen, facts, _honest(widths, table, facts))
            aim *= self.target.amount / measured
        raise CompressError(
            f"prune: {self.target} asked of {self._who}, and {_CONFIRMED} networks that were to meet it took more, the "
            f"last {measured:.3f} ms. Times may differ too much here: stop what else is running, or ask for macs=SHARE."
        )

    def _solved(self, cost: Cost, goal: float) -> Chosen | None:
        """At widths that the device likes, and at finer ones where these stay a tenth below the goal or above it."""
        multiple, best = self.multiple, None
        while True:
            widths = self.widths(multiple)
            chosen = allocate(widths, losses_of(widths, self.scores), cost, goal)
            best = chosen if chosen is not None else best
            near = chosen is not None and float(cost(chosen)) >= NEAR * goal
            if near or self.fixed or multiple == 1 or self.target.kind == "ms":
                return best
            multiple = max(1, multiple // 2)

    def _measured(self, forecast: Cost, goal: float, measure: Callable[[Chosen], float]) -> Chosen | None:
        """The choice that comes nearest to the goal from below when it is measured; None where not even the fewest do.

        The forecast is asked for less or more until what it gives is right, as its error changes little nearby.
        """
        aim, low, high = goal, 0.0, np.inf
        best: tuple[float, Chosen] | None = None
        known: dict[Chosen, float] = {}
        for _ in range(_ATTEMPTS):
            chosen = self._solved(forecast, aim) or _fewest(self.widths(self.multiple))
            if chosen in known and (chosen == _fewest(self.widths(self.multiple)) or best is not None):
                break
            found = known[chosen] = known[chosen] if chosen in known else measure(chosen)
            low, high = (max(low, aim), high) if found <= goal else (low, min(high, aim))
            if found <= goal and (best is None or found > best[0]):
                best = found, chosen
            if NEAR * goal <= found <= goal:
                break
            aim *= goal / found
            if not low < aim < high:
                aim = (low + high) / 2 if high < np.inf else 1.1 * low
        return None if best is None else best[1]

    def _alike(self, widths: Sequence[Width], macs: Cost) -> list[tuple[Any, ...]]:
        """What tells two widths apart on a clock: their choices, the costs at each, and the kinds of layers."""
        full, parameters = _full(widths), parameters_in(self.ties, self.numbers())
        kinds = {group.axis: self._kinds(group) for group in self.found}
        found = []
        for number, width in enumerate(widths):
            rows = [[*full[:number], count, *full[number + 1 :]] for count in width.choices]
            kind = tuple(kinds[axis] for axis in width.axes)
            found.append((width.choices, tuple(macs(rows)), tuple(parameters(rows)), kind))
        return found

    def _kinds(self, group: Group) -> tuple[str, ...]:
        network = self.ties.network
        layers = dict.fromkeys(place.rpartition(".")[0] for place in group.places)
        return tuple(sorted(type(network.get_submodule(layer)).__name__ for layer in layers))

    def _plan(self, chosen: Chosen, facts: Mapping[str, Any], notes: tuple[Note, ...] = ()) -> Plan:
        kept = [[w.layer, w.size, int(n)] for w, n in zip(self.widths(1), chosen, strict=True)]
        facts = {"target": str(self.target), **{f"target_{name}": value for name, value in facts.items()}}
        return Plan(counts=counts_of(self.widths(1), chosen), facts={**facts, "widths": kept}, notes=notes)

    @property
    def _who(self) -> str:
        return repr(self.model.name) if self.model.name else "the model"

    def _unreachable(self, least: str, before: str = "") -> str:
        fewest = "one unit" if self.min_units == 1 else f"{self.min_units} units (min_units)"
        kept: dict[str, Group] = {}
        for group in self.found:
            if group.reason:
                kept.setdefault(group.layer or "the network", group)
        held = [f"'{layer}' keeps its {group.size} units ({group.reason})" for layer, group in kept.items()]
        rest = f" {'; '.join(held[:4])}{f'; and {len(held) - 4} more' if len(held) > 4 else ''}." if held else ""
        return (
            f"prune: {self.target} asked of {self._who}, and {before}the least that can be reached is {least}, with "
            f"{fewest} left in every group that can be cut.{rest} Ask for more to remain."
        )


def _full(widths: Sequence[Width]) -> Chosen:
    return tuple(width.choices[0] for width in widths)


def _fewest(widths: Sequence[Width]) -> Chosen:
    return tuple(width.choices[-1] for width in widths)


def _rows(widths: Sequence[Width], table: Latency) -> list[list[Any]]:
    """The table for the ledger: layer, units, milliseconds."""
    pairs = zip(widths, table.points, strict=True)
    return [[width.layer, count, round(ms, 5)] for width, points in pairs for count, ms in points]


def _honest(widths: Sequence[Width], table: Latency, facts: Mapping[str, Any]) -> tuple[Note, ...]:
    """What no width takes away: layers that are no faster narrow, and the time that stays with the fewest units."""
    notes = [
        Note(
            "",
            f"'{width.layer}' is no faster narrow: {points[0][1]:.3f} ms with {points[0][0]} units, "
            f"{points[-1][1]:.3f} ms with all",
        )
        for width, points in zip(widths, table.points, strict=True)
        if min(ms for _, ms in points) * (1 + BAND) > table.full_ms
    ]
    share = facts["least"] / facts["before"]
    if share > 1 / 4:
        notes.append(
            Note(
                "",
                f"{facts['least']:.3f} of {facts['before']:.3f} ms stay with the fewest units in every group: "
                "the cost of calling the layers, and of those that cannot be cut",
            )
        )
    return tuple(notes)
