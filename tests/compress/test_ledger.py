import json
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from compress.base import Context, Note, Outcome
from compress.console import plain
from compress.ledger import HEADS, Ledger, judge, lost, original, rows, walk
from compress.quantization.quantize import Quantize
from export.onnx_file import to_bytes
from export.stopwatch import Stopwatch
from export.wrap import Model
from models.records import InputSpec, Score
from tests.compress.onnx_nets import Net
from tests.compress.small_tasks import CountingTask, digits


@dataclass(frozen=True, kw_only=True)
class Halves:
    """Halves the weights of the last layer: another score, the same size."""

    name: ClassVar[str] = "halves"
    takes: ClassVar[str] = "torch"
    skip: tuple[str, ...] = ("stem",)

    def __call__(self, model, context):
        import copy

        network = copy.deepcopy(model.network)
        with torch.no_grad():
            network.get_submodule("1").weight[:5] *= -1
        return Outcome(
            replace(model, network=network), (Note("1", "halved"),), (Note("0", "no weights"),), facts={"n": 1}
        )


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    return replace(
        Model(net, inputs=["x:float32[N,1,8,8]"], name="net"), sample={"x": np.zeros((64, 1, 8, 8), np.float32)}
    )


@pytest.fixture(scope="module")
def judged(model):
    task = CountingTask()
    context = Context(task=task, calibration=[inputs for inputs, _ in task.train])
    walked = walk([Halves(), Quantize(mode="weights")], model, context)
    assert "test" not in task.scored  # nothing is judged before the end
    return task, walked, judge(walked, task, stopwatch=Stopwatch(seconds=0.02))


def test_test_is_scored_once_a_step_and_at_the_end(judged):
    task, walked, ledger = judged
    assert task.scored.count("test") == len(walked) == len(ledger.steps) == 3


def test_the_first_line_is_the_original_as_it_would_be_shipped(judged):
    _, walked, ledger = judged
    first = ledger.steps[0]
    assert (first.step, first.pass_, first.settings, first.drop, first.speedup) == (0, "original", {}, None, None)
    assert first.size_bytes == len(to_bytes(walked[0].shipped)) and walked[0].shipped.sample is None
    assert (first.parameters, first.macs) == (650, 640)
    assert (first.metric_name, first.unit, first.samples) == ("accuracy", "fraction", 517)


def test_each_line_says_what_its_pass_did(judged):
    _, _, ledger = judged
    line = ledger.steps[1]
    assert line.settings == {"skip": ["stem"]} and line.facts == {"n": 1}
    assert line.changed == (Note("1", "halved"),) and line.skipped == (Note("0", "no weights"),)
    assert line.drop == pytest.approx(ledger.steps[0].metric - line.metric)
    assert line.drop_low <= line.drop <= line.drop_high
    assert line.speedup_low <= line.speedup <= line.speedup_high and line.verdict
    assert ledger.steps[2].size_bytes < line.size_bytes


def test_the_document_has_a_schema_and_the_names_of_the_design(judged):
    document = json.loads(json.dumps(plain(judged[2]), allow_nan=False))
    assert document["schema"] == 1 and document["machine"] and document["versions"]
    names = {
        "step", "pass", "settings", "metric_name", "metric", "metric_low", "metric_high", "samples", "size_bytes",
        "macs", "parameters", "median_ms", "seconds", "changed", "skipped", "layers",
    }  # fmt: skip
    assert all(names <= set(line) for line in document["steps"])


def test_the_table_has_a_cell_a_head(judged):
    table = rows(judged[2])
    assert len(table) == 3 and all(len(row) == len(HEADS) for row in table)
    assert table[0][3] == "" and table[1][3].endswith(")")


def test_without_a_task_or_a_stopwatch_nothing_is_made_up(model):
    ledger = judge([original(model)], None)
    line = ledger.steps[0]
    assert (line.metric, line.median_ms, line.samples) == (None, None, 0)
    assert isinstance(ledger, Ledger) and rows(ledger)[0][2] == ""


def heard(letter, **typical):
    """A network that runs on seven steps alone, whose file says that the length is free."""
    net = Net()
    rows = net.op("Reshape", "x", net.const("shape", [-1, 28], np.int64), name="rows")
    net.matmul(rows, 28, 2, name="head")
    return net.model((InputSpec(name="x", dtype="float32", dims=("N", letter, 4)),), {"y": ("N", 2)}, typical=typical)


def test_all_are_timed_and_counted_on_the_length_that_one_of_them_knows():
    """A file as somebody wrote it says no usual length; what was made of it holds that of its data."""
    written, made = heard("T"), heard("time", time=7)
    ledger = judge([original(written), original(made)], None, stopwatch=Stopwatch(seconds=0.01))
    assert [line.macs for line in ledger.steps] == [2 * 28] * 2
    assert all(line.median_ms is not None for line in ledger.steps)


@pytest.mark.parametrize("higher", [True, False])
def test_a_drop_is_positive_where_it_is_worse(higher):
    task = digits()
    good, bad = np.ones(100), np.r_[np.zeros(20), np.ones(80)]
    before, after = (good, bad) if higher else (bad, good)

    def score(samples):
        return Score(value=samples.mean(), low=0, high=1, n=100, unit="u", higher_is_better=higher, samples=samples)

    drop, low, high = lost(task, score(before), score(after))
    assert drop == pytest.approx(0.2) and 0.1 < low < drop < high < 0.3
