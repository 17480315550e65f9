"""Times several callables by turns in one process, so that what disturbs one disturbs all, and says how sure it is."""

from __future__ import annotations

import contextlib
import gc
import math
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from export.timing import FEWEST_TURNS, Comparison, Timing, Turn, compare, timing
from models.errors import UsageError

__all__ = ["Comparison", "Stopwatch", "Timing", "Timings"]

Call = Callable[[], object]
_STRETCH_MS = 0.25  # what is lost where a disturbance is noticed; a look at the scheduler's account costs 1 µs
_LONG_MS = 100.0  # beyond it, the caches that the turn before left cold are a small part of a call


@dataclass(frozen=True, kw_only=True)
class Timings:
    """What one measurement found.

    Args:
        timings: one per callable, in the order given.
        comparisons: each callable after the first against the first.
        cores: the processors the calling thread was held on; empty where the system has no such thing.
        note: what could not be done as promised, or "".
    """

    timings: Mapping[str, Timing]
    comparisons: tuple[Comparison, ...]
    cores: tuple[int, ...]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Stopwatch:
    """Times callables by turns: a warm-up, then rounds in which each has one turn, in an order drawn anew each round.

    While it runs, garbage collection is off and the calling thread is held on the quietest cores. A turn holds at
    least one call. Below 100 ms a call, each turn starts with one uncounted call, for the caches that the turn before
    left cold. A call's time holds about 0.05 µs of the loop around it.

    Args:
        seconds: measuring time for each callable; six rounds are taken even where they need longer.
        turn_ms: length of a turn; a few milliseconds are shorter than most disturbances.
        threads: how many threads a callable computes with: that many cores are held.
        seed: of the order of turns.

    Raises:
        UsageError: a setting out of its range.
    """

    seconds: float = 1.0
    turn_ms: float = 5.0
    threads: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("seconds", "turn_ms"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise UsageError(f"stopwatch: {name} must be a number above 0, and is {value!r}.")
        if self.threads < 1:
            raise UsageError(f"stopwatch: threads must be at least 1, and is {self.threads!r}.")

    def longer(self, times: float) -> Stopwatch:
        """The same with so many times the measuring time."""
        return replace(self, seconds=self.seconds * times)

    def time(self, calls: Mapping[str, Call]) -> Timings:
        """Time each callable, and compare each with the first.

        Raises:
            UsageError: there is nothing to time.
        """
        if not calls:
            raise UsageError("stopwatch: nothing to time; give at least one callable by its name.")
        for call in calls.values():
            call()  # before the pin: threads that a runtime starts now would keep it for good
        with _held(self.threads) as (cores, note), _no_garbage_collection(), _waiting() as waited:
            turns = self._rounds(calls, waited)
        first, *others = calls
        return Timings(
            timings={name: timing(taken) for name, taken in turns.items()},
            comparisons=tuple(compare(first, other, turns[first], turns[other]) for other in others),
            cores=cores,
            note=note,
        )

    def _rounds(self, calls: Mapping[str, Call], waited: Callable[[], int]) -> dict[str, list[Turn]]:
        plan = {name: self._plan(call) for name, call in calls.items()}
        turns: dict[str, list[Turn]] = {name: [] for name in calls}
        order, rng = list(calls), random.Random(self.seed)
        end = time.perf_counter() + self.seconds * len(calls)
        taken = 0
        while taken < FEWEST_TURNS or time.perf_counter() < end:
            rng.shuffle(order)
            for name in order:
                turns[name].append(_turn(calls[name], plan[name], waited))
            taken += 1
        return turns

    def _plan(self, call: Call) -> _Plan:
        """Warm up, for ten turns and three calls (one call, if it is long), and plan a turn of such calls."""
        spent: list[float] = []
        total = 0.0
        while total < 10 * self.turn_ms or (len(spent) < 3 and spent[-1] < _LONG_MS):
            start = time.perf_counter_ns()
            call()
            spent.append((time.perf_counter_ns() - start) / 1e6)
            total += spent[-1]
        usual = max(statistics.median(spent[len(spent) // 2 :]), 1e-6)
        stretch = max(1, round(_STRETCH_MS / usual))
        return _Plan(int(usual < _LONG_MS), max(1, round(self.turn_ms / usual / stretch)), stretch)


@dataclass(frozen=True)
class _Plan:
    """A turn: calls that do not count, then so many stretches of so many calls that do."""

    uncounted: int
    stretches: int
    calls: int


def _turn(call: Call, plan: _Plan, waited: Callable[[], int]) -> Turn:
    """One turn; stretches that waited for the core more than 1 % of their time are left out, unless all did."""
    for _ in range(plan.uncounted):
        call()
    clock = time.perf_counter_ns
    alone: list[list[int]] = []
    disturbed: list[list[int]] = []
    for _ in range(plan.stretches):
        before = waited()
        marks = [clock()]
        mark = marks.append
        for _ in range(plan.calls):
            call()
            mark(clock())
        quiet = 100 * (waited() - before) <= marks[-1] - marks[0]
        (alone if quiet else disturbed).append(marks)
    spent = np.diff(np.array(alone or disturbed, np.int64)).ravel()
    return Turn(np.maximum(spent, 1) / 1e6, disturbed=not alone)  # at least one tick, so that ratios exist


@contextlib.contextmanager
def _waiting() -> Iterator[Callable[[], int]]:
    """Gives a function: for how many nanoseconds this thread has stood in the queue for a core that others had.

    It is always 0 where the system does not say (Linux does, in a thread's `schedstat`).
    """
    try:
        file = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
    except OSError:
        yield lambda: 0
        return
    try:
        yield lambda: int(os.pread(file, 64, 0).split()[1])
    finally:
        os.close(file)


@contextlib.contextmanager
def _held(threads: int) -> Iterator[tuple[tuple[int, ...], str]]:
    """Hold the calling thread on the quietest cores; gives them and a note, and lets go afterwards."""
    if not hasattr(os, "sched_setaffinity"):
        yield (), "not pinned: this system has no processor affinity"
        return
    before = os.sched_getaffinity(0)
    cores = _quietest(sorted(before), threads)
    try:
        os.sched_setaffinity(0, cores)
    except OSError as error:
        yield (), f"not pinned: the system refused ({error.strerror})"
        return
    try:
        yield cores, "" if threads <= len(before) else f"{threads} threads share {len(before)} cores"
    finally:
        os.sched_setaffinity(0, before)


def _quietest(cores: list[int], wanted: int) -> tuple[int, ...]:
    """The cores that did least in a tenth of a second, as many as wanted; those with high numbers where they tie."""
    if wanted >= len(cores):
        return tuple(cores)
    before = _busy()
    time.sleep(0.1)
    after = _busy()
    ranked = sorted(cores, key=lambda core: (after.get(core, 0) - before.get(core, 0), -core))
    return tuple(sorted(ranked[:wanted]))


def _busy() -> dict[int, int]:
    """Clock ticks each processor has spent on work since the start (`man proc_stat`); empty where not to be read."""
    ticks: dict[int, int] = {}
    with contextlib.suppress(OSError), open("/proc/stat", encoding="ascii") as stat:
        for line in stat:
            name, *fields = line.split()
            if name.startswith("cpu") and name != "cpu":
                idle = int(fields[3]) + int(fields[4])
                ticks[int(name[3:])] = sum(map(int, fields[:8])) - idle
    return ticks


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
