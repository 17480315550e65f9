import gc
import os
import types

import pytest

from export import stopwatch
from export.stopwatch import Stopwatch
from models.errors import UsageError


class World:
    """A clock that moves only when work is done, so that every time is known beforehand."""

    def __init__(self):
        self.now_ns = 0
        self.done = []

    def work(self, name, us):
        def call():
            self.now_ns += us * 1000
            self.done.append(name)

        return call

    def module(self):
        return types.SimpleNamespace(
            perf_counter=lambda: self.now_ns / 1e9, perf_counter_ns=lambda: self.now_ns, sleep=lambda seconds: None
        )


@pytest.fixture
def world(monkeypatch):
    world = World()
    monkeypatch.setattr(stopwatch, "time", world.module())
    return world


def test_times_and_speed_up_are_those_of_the_work(world):
    found = Stopwatch(seconds=0.1).time({"slow": world.work("slow", 400), "quick": world.work("quick", 100)})
    assert (found.timings["slow"].median_ms, found.timings["quick"].p99_ms) == pytest.approx((0.4, 0.1))
    (comparison,) = found.comparisons
    assert (comparison.a, comparison.b, comparison.verdict) == ("slow", "quick", "faster")
    assert (comparison.speedup, comparison.low, comparison.high) == pytest.approx((4, 4, 4))


@pytest.mark.parametrize("us", [5, 300, 30_000, 2_000_000])
def test_a_call_of_any_length_gets_enough_turns_within_its_budget(world, us):
    found = Stopwatch(seconds=1.0).time({"a": world.work("a", us)})
    assert found.timings["a"].median_ms == pytest.approx(us / 1000)
    assert found.timings["a"].runs >= 6
    spent = world.now_ns / 1e9
    assert spent < max(1.2, 9 * us / 1e6)  # one call before the pin, one to warm up, six turns


def test_each_round_gives_every_callable_one_turn_in_an_order_of_its_own(world):
    calls = {name: world.work(name, 200_000) for name in "abc"}  # longer than a turn: one call each
    Stopwatch(seconds=4).time(calls)
    rounds = ["".join(world.done[i : i + 3]) for i in range(6, len(world.done), 3)]  # after first calls and warm-up
    assert len(rounds) >= 20
    assert {"".join(sorted(r)) for r in rounds} == {"abc"}
    assert len(set(rounds)) >= 4


def test_the_same_seed_gives_the_same_order(world):
    def order(seed):
        world.done.clear()
        Stopwatch(seconds=2, seed=seed).time({name: world.work(name, 200_000) for name in "ab"})
        return list(world.done)

    assert order(1) == order(1) != order(2)


def test_three_callables_are_each_compared_with_the_first(world):
    found = Stopwatch(seconds=0.05).time({name: world.work(name, 50) for name in ("first", "second", "third")})
    assert [(c.a, c.b, c.verdict) for c in found.comparisons] == [
        ("first", "second", "no difference"),
        ("first", "third", "no difference"),
    ]


def test_one_core_is_held_and_let_go_and_garbage_waits(world):
    seen = set()

    def call():
        world.now_ns += 1_000_000
        seen.add((len(os.sched_getaffinity(0)), gc.isenabled()))

    before = os.sched_getaffinity(0)
    found = Stopwatch(seconds=0.01).time({"a": call})
    assert (1, False) in seen
    assert len(found.cores) == 1 and set(found.cores) <= before and found.note == ""
    assert os.sched_getaffinity(0) == before and gc.isenabled()


def test_all_is_as_before_when_a_callable_fails(world):
    calls = iter(range(10))

    def fails():
        world.now_ns += 1_000_000
        if next(calls) == 5:
            raise RuntimeError("out of memory")

    before = os.sched_getaffinity(0)
    with pytest.raises(RuntimeError, match="out of memory"):
        Stopwatch(seconds=1).time({"a": fails})
    assert os.sched_getaffinity(0) == before and gc.isenabled()


def test_says_that_it_could_not_hold_a_core(world, monkeypatch):
    monkeypatch.delattr(os, "sched_setaffinity")
    found = Stopwatch(seconds=0.01).time({"a": world.work("a", 1000)})
    assert found.cores == () and found.note == "not pinned: this system has no processor affinity"


def test_says_that_the_system_refused(world, monkeypatch):
    def refuse(pid, cores):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    found = Stopwatch(seconds=0.01).time({"a": world.work("a", 1000)})
    assert found.note == "not pinned: the system refused (Operation not permitted)"


def test_says_that_threads_share_cores(world):
    many = len(os.sched_getaffinity(0)) + 1
    found = Stopwatch(seconds=0.01, threads=many).time({"a": world.work("a", 1000)})
    assert found.note == f"{many} threads share {many - 1} cores" and len(found.cores) == many - 1


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"seconds": 0}, "stopwatch: seconds must be a number above 0, and is 0."),
        ({"seconds": float("nan")}, "seconds must be a number above 0, and is nan"),
        ({"turn_ms": -1.0}, "turn_ms must be a number above 0, and is -1.0"),
        ({"threads": 0}, "threads must be at least 1, and is 0"),
    ],
)
def test_refuses_settings_out_of_range(settings, text):
    with pytest.raises(UsageError, match=text):
        Stopwatch(**settings)


def test_refuses_to_time_nothing():
    with pytest.raises(UsageError, match="nothing to time; give at least one callable by its name"):
        Stopwatch().time({})
