import json
from dataclasses import asdict

import pytest
from torch import nn

from benchmarks import coverage_tools
from benchmarks.coverage import RESULT, document, main, page
from benchmarks.coverage_networks import ARCHITECTURES
from benchmarks.coverage_tools import judged

BY_NAME = {architecture.name: architecture for architecture in ARCHITECTURES}


def test_there_are_many_architectures_small_enough_to_try():
    assert len(BY_NAME) == len(ARCHITECTURES) >= 80
    for name in ("alexnet", "mamba", "dlrm", "kan"):
        assert 5_000 <= sum(p.numel() for p in BY_NAME[name].module().parameters()) <= 300_000


def test_what_is_pruned_well_is_right_and_what_is_not_says_why(monkeypatch):
    good = judged("compress", BY_NAME["highway"])
    assert good.reason == "" and 0.25 <= good.removed <= 0.8

    def nothing(architecture, module):
        return module, lambda: b""

    def breaking(architecture, module):
        raise IndexError("no such unit")

    monkeypatch.setitem(coverage_tools.TOOLS, "torch-pruning", nothing)
    assert judged("torch-pruning", BY_NAME["highway"]).reason == "removes 0% of the parameters"
    monkeypatch.setitem(coverage_tools.TOOLS, "torch-pruning", breaking)
    bad = judged("torch-pruning", BY_NAME["highway"])
    assert (bad.reason, bad.removed) == ("IndexError: no such unit", None)
    found = document([asdict(good), asdict(bad)], "python -m benchmarks.coverage highway")
    assert found["right"] == {"compress": 1, "torch-pruning": 0} and found["networks"] == 1
    assert f"| highway | 7,123 | {good.removed:.0%} | **no**: IndexError: no such unit |" in page(found)


def test_outputs_of_other_shapes_are_not_right(monkeypatch):
    def cut_too_far(architecture, module):
        return nn.Sequential(module, nn.Linear(3, 2)), lambda: b""

    monkeypatch.setitem(coverage_tools.TOOLS, "compress", cut_too_far)
    assert judged("compress", BY_NAME["highway"]).reason == "forward: the outputs have other shapes, [(3, 2)]"


def test_a_name_that_is_none_is_told_with_those_that_are(capsys):
    with pytest.raises(SystemExit):
        main(["alexnets"])
    assert "no architecture named 'alexnets'; there are alexnet, vgg-bn" in capsys.readouterr().err


def test_the_committed_result_is_of_these_architectures():
    found = json.loads(RESULT.read_text())
    assert {v["network"] for v in found["verdicts"]} == set(BY_NAME)
    assert page(found) == RESULT.with_suffix(".md").read_text()
    assert found["right"]["compress"] == sum(v["tool"] == "compress" and not v["reason"] for v in found["verdicts"])
