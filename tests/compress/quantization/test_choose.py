"""The choice between candidates: who may be returned. No clock runs here."""

import pytest

from compress.quantization.choose import Judged, best
from compress.quantization.loss import Loss
from export.stopwatch import Comparison


def judged(name, size, speedup=None, verdict="faster", lost=0.0, keeps=True, nodes=1):
    comparison = speedup and Comparison(
        a="float", b=name, speedup=speedup, low=speedup, high=speedup, verdict=verdict, turns=9
    )
    loss = Loss(points=lost, text="", keeps=keeps)
    return Judged(name=name, model=None, bytes=size, loss=loss, integer_nodes=nodes, comparison=comparison)


FLOAT = judged("float", 1000, nodes=0)
WEIGHTS = judged("weights", 270, 1.0, "no difference", nodes=0)


def test_the_fastest_that_keeps_the_score_wins():
    quick, quicker = judged("static", 300, 1.5), judged("dynamic", 290, 2.0, keeps=False)
    assert best([FLOAT, WEIGHTS, quick, quicker], "speed") is quick


def test_of_two_as_fast_the_smaller_and_of_two_as_small_the_more_exact():
    large, small = judged("a", 400, 1.51), judged("b", 300, 1.50)
    assert best([FLOAT, large, small], "speed") is small
    exact = judged("c", 305, 1.50, lost=-0.2)
    assert best([FLOAT, large, small, exact], "speed") is exact


@pytest.mark.parametrize("prefer", ["speed", "size"])
def test_nothing_slower_than_float_is_returned(prefer):
    slow = judged("static", 200, 0.8, "slower")
    unsure = judged("dynamic", 250, 0.9, "cannot tell")
    assert best([FLOAT, WEIGHTS, slow, unsure], prefer) is WEIGHTS
    assert best([FLOAT, slow, unsure], prefer) is FLOAT


def test_where_nothing_is_surely_faster_float_operators_are_kept():
    unsure, alike = judged("static", 260, 1.2, "cannot tell"), judged("dynamic", 250, 1.0, "no difference")
    assert best([FLOAT, WEIGHTS, unsure, alike], "speed") is WEIGHTS
    assert best([FLOAT, WEIGHTS, unsure, alike], "size") is alike


def test_for_size_the_smallest_that_is_not_slower_wins():
    quick = judged("static", 300, 1.5)
    assert best([FLOAT, WEIGHTS, quick], "speed") is quick
    assert best([FLOAT, WEIGHTS, quick], "size") is WEIGHTS


def test_of_files_as_small_the_fastest_wins_and_of_those_the_smallest():
    quick, quicker = judged("static", 272, 1.5), judged("dynamic", 274, 1.9)
    assert best([FLOAT, WEIGHTS, quick, quicker], "size") is quicker
    level = judged("static QOperator", 271, 1.88)
    assert best([FLOAT, WEIGHTS, quick, quicker, level], "size") is level


def test_without_a_clock_the_order_decides_and_a_larger_file_is_no_gain():
    static, weights, larger = judged("static", 300), judged("weights", 270), judged("dynamic", 1001)
    assert best([FLOAT, static, weights], "speed", order=("static", "weights")) is static
    assert best([FLOAT, static, weights], "size", order=("static", "weights")) is weights
    assert best([FLOAT, larger, static], "speed", order=("dynamic",)) is FLOAT
