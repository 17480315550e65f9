"""Where static int8 loses too much, other ranges are tried, one of each method, until one keeps the score."""

from dataclasses import replace

from compress.quantization.calibrated import look
from compress.quantization.candidates import Maker
from compress.quantization.loss import Loss
from compress.quantization.other_ranges import ORDER, other_ranges
from compress.quantization.schemes import scheme_for
from compress.quantization.ways import Way
from export.device import find_device
from models.records import example
from tests.compress.onnx_nets import mlp

PER_TENSOR = Way(kind="static", per_channel=False)


def maker():
    seen = look(mlp(), [example(mlp().inputs, {"N": 32}, seed=0)])
    ranges, of_forms = seen.ranges()
    return Maker(mlp(), scheme_for(find_device("any")), ranges, (), of_forms, calibrated=seen)


def judge(keeps):
    """A judge that lets the candidates pass whose turn it is."""
    turns = iter(keeps)
    return lambda model: Loss(points=0.0, text="", keeps=next(turns))


def test_the_first_that_keeps_the_score_ends_the_search_and_all_that_lost_are_made_like_it():
    lost = [Way(kind="static"), Way(kind="static", per_channel=False)]
    found = list(other_ranges(maker(), lost, judge([False, True, True])))
    assert [(made.name, made.calibration, loss.keeps) for made, loss in found] == [
        ("static per channel, mse", "mse", False),
        ("static per channel, percentile", "percentile", True),
        ("static per tensor, percentile", "percentile", True),
    ]


def test_where_none_keeps_it_each_method_was_judged_once():
    tried = [made.calibration for made, _ in other_ranges(maker(), [PER_TENSOR], judge([False] * 9))]
    assert tried == [method for method in ORDER if method != "minmax"]
    by_mse = replace(PER_TENSOR, calibration="mse")
    asked = [made.calibration for made, _ in other_ranges(maker().by("mse"), [by_mse], judge([False] * 9))]
    assert asked == ["percentile", "entropy", "minmax"]


def test_nothing_is_tried_where_nothing_static_lost():
    assert list(other_ranges(maker(), [], judge([]))) == []
