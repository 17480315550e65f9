import json
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import structure
from benchmarks.structure_cases import CASES, RESULTS, Case
from benchmarks.structure_page import MARKS, missed, page
from compress.pruning.prune import Prune

CELL = {
    "unit": "accuracy",
    "before": 0.9,
    "after": 0.895,
    "points": 0.5,
    "points_low": -0.2,
    "points_high": 1.2,
    "flips": 0.02,
    "macs": 50,
    "macs_before": 100,
    "parameters": 30,
    "parameters_before": 100,
    "bytes": 10_000,
    "bytes_before": 125_000,
    "speed": {"main": {"speedup": 4.2, "low": 3.9, "high": 4.5, "before_ms": 1.0, "after_ms": 0.24}},
    "machine": {"processor": "a", "instruction_set": "b"},
    "versions": {"torch": "2"},
}


def case(**marks):
    return Case(name="net, pruned", model="resnet8", passes=(Prune(),), marks=marks)


def test_a_mark_of_speed_is_held_to_the_lower_bound_and_one_of_loss_to_what_it_names():
    assert missed(case(faster=3.9, smaller=12, macs=2, points=0.5), CELL) == []
    assert missed(case(faster=4), CELL) == ["at least 4x faster asked, 3.9 reached"]
    assert missed(case(points_high=1), CELL) == ["at most 1 points lost at the upper bound asked, 1.2 reached"]
    assert missed(case(flips=0.01), CELL) == ["at most 1% of decisions flipped asked, 0.02 reached"]
    text = page({"cells": {"net, pruned, seed 0": CELL}}, [case(faster=4)])
    assert "- net, pruned, seed 0: **missed**: at least 4x faster asked, 3.9 reached." in text
    assert "accuracy 0.9 -> 0.895 | +0.50 (-0.20 to +1.20) | 2.00% |  | 30% | 50% | 10.0 KB, 12.5x smaller |" in text


def test_bits_are_those_of_the_true_class_where_there_is_one():
    target = np.array([[0, 1], [1, -1]])
    task = SimpleNamespace(test=[({}, target)])
    even, sure = np.zeros((2, 2, 2)), np.log(np.full((2, 2, 2), 0.5))
    sure[0, 0] = np.log([0.25, 0.75])  # two bits where one was; the position without a target counts nowhere
    sure[1, 1] = np.log([0.001, 0.999])
    found = structure.bits(task, lambda _: {"y": even}, lambda _: {"y": sure})
    assert found["bits_before"] == pytest.approx(1) and found["bits_after"] == pytest.approx(4 / 3)
    assert found["bits"] == pytest.approx(1 / 3) and found["bits_low"] <= 1 / 3 <= found["bits_high"]
    assert structure.bits(SimpleNamespace(test=[({}, np.zeros(2))]), lambda _: {"y": even}, lambda _: {"y": even}) == {}


def test_a_case_that_hangs_on_another_takes_its_milliseconds_and_is_not_measured_twice():
    (same,) = [c for c in CASES if c.name == "gru-fsdd, the same milliseconds"]
    document = {"cells": {"gru-fsdd, macs=0.4, seed 0": {"speed": {"main": {"after_ms": 0.12345}}}}}
    ((_, seed, passes),) = structure.missing(document, [same])
    assert passes[0].target == "ms=0.123" and seed == 0
    document["cells"]["gru-fsdd, the same milliseconds, seed 0"] = {"fingerprint": structure.fingerprint(same, passes)}
    assert not list(structure.missing(document, [same]))


def test_the_cases_are_named_apart_and_ask_for_what_the_page_can_say():
    assert len({c.name for c in CASES}) == len(CASES)
    assert all(set(c.marks) <= set(MARKS) for c in CASES) and all(c.marks for c in RESULTS)


def test_a_misspelt_case_is_named(capsys):
    with pytest.raises(SystemExit):
        structure.main(["gru-fsdd pruned"])
    assert "no case named 'gru-fsdd pruned'; there are vgg-small, pruned, int8;" in capsys.readouterr().err


def test_the_committed_page_is_that_of_the_committed_document():
    document = json.loads(structure.RESULT.read_text(encoding="utf-8"))
    assert structure.RESULT.with_suffix(".md").read_text(encoding="utf-8") == page(document, CASES)
    known = {f"{c.name}, seed {s}": c for c in CASES for s in c.seeds}
    assert set(document["cells"]) <= set(known)
    for name, cell in document["cells"].items():
        passes = known[name].passes
        if isinstance(passes, tuple):
            assert cell["fingerprint"] == structure.fingerprint(known[name], passes), f"{name} is of other settings"
