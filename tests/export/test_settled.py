"""States whose length the file does not say: a run shows whether it grows, and what else it is."""

import numpy as np
import pytest

from cli import status
from export.load import load
from export.onnx_file import write
from export.session import onnx_runner
from export.settled import settled
from export.stepped import stepped
from export.stream import growing
from models.records import InputSpec
from tests.compress.onnx_nets import Net

X = InputSpec(name="x", dtype="float32", dims=("N", 24))


def state(*dims):
    return InputSpec(name="state", dtype="float32", dims=dims, state_of="after")


def adder():
    """The state of two layers, each as long as the batch: without rows it would add to nothing, and run."""
    net = Net(1)
    rows = net.op("Unsqueeze", "x", net.const("axis", [0], np.int64), name="rows")
    net.op("Add", "state", rows, name="sum")
    return net.model((X, state(2, "d1", 24)), {"after": ("d2", "d3", 24)})


def gru():
    """A recurrent operator takes no state of another batch."""
    net = Net(2)
    rows = net.op("Unsqueeze", "x", net.const("axis", [0], np.int64), name="rows")
    w, r = net.weight("W", 1, 72, 24), net.weight("R", 1, 72, 24)
    net.op("GRU", rows, w, r, "", "", "state", name="gru", hidden_size=24)
    net.nodes[-1].output.append("last")
    return net.model((X, state(1, "d1", 24)), {"y": ("T", 1, "d3", 24), "after": ("d4", "d5", 24)})


def cache():
    net = Net(3)
    rows = net.op("Unsqueeze", "x", net.const("axis", [1], np.int64), name="rows")
    net.op("Concat", "state", rows, name="longer", axis=1)
    return net.model((X, state("N", "d1", 24)), {"after": ("N", "d2", 24)})


@pytest.mark.parametrize("build", [adder, gru])
def test_a_state_as_long_as_the_batch_is_no_cache(build):
    model = build()
    assert growing(model.inputs, model.outputs) == {"d1"}
    batch = {"x": np.ones((3, 24), np.float32)}
    made = settled(model, batch)
    assert made.inputs[1].dims == (model.inputs[1].dims[0], "N", 24)
    run = stepped(made)
    first, second = run(batch)["after"], run(batch)["after"]
    begun = np.zeros((model.inputs[1].dims[0], 3, 24), np.float32)
    np.testing.assert_array_equal(first, onnx_runner(model)({**batch, "state": begun})["after"])
    np.testing.assert_array_equal(second, onnx_runner(model)({**batch, "state": first})["after"])


def test_beside_a_cache_that_may_not_be_empty_a_state_is_as_long_as_the_batch():
    net = Net(4)
    rows = net.op("Unsqueeze", "x", net.const("axis", [0], np.int64), name="rows")
    net.op("Add", "state", rows, name="after")
    again = net.op("Unsqueeze", "x", net.const("one", [1], np.int64), name="again")
    last = net.op("Gather", "past", net.const("last", [0], np.int64), name="last", axis=1)  # there must be one
    net.op("Concat", "past", net.op("Add", again, last, name="new"), name="longer", axis=1)
    past = InputSpec(name="past", dtype="float32", dims=("N", "d5", 24), state_of="present")
    shapes = {"after": ("d2", "d3", 24), "present": ("N", "d6", 24)}
    model = net.model((X, state(2, "d1", 24), past), shapes)
    made = settled(model, {"x": np.ones((1, 24), np.float32)})
    assert [spec.dims for spec in made.inputs[1:]] == [(2, "N", 24), ("N", "d5", 24)]


def test_a_length_that_grows_does():
    model = cache()
    assert settled(model, {"x": np.ones((3, 24), np.float32)}).inputs == model.inputs


def test_a_model_that_does_not_run_is_left_to_who_runs_it():
    model = gru()
    assert settled(model, {"x": np.ones((3, 7), np.float32)}) is model


@pytest.mark.parametrize("build", [gru, cache])
def test_a_file_keeps_what_was_found(build, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(build(), "net.onnx")
    steps = np.random.default_rng(0).standard_normal((60, 24)).astype("float32")
    np.savez("steps.npz", x=steps)
    line = "quantize net.onnx --data steps.npz --state state=after -o small.onnx -q"
    assert status([*line.split(), "--mode", "weights"]) == 0
    made = load("small.onnx")
    assert made.inputs[1].dims[1] == ("N" if build is gru else "d1")
    told = ["--state", "state=after"] if build is gru else []  # which runs on nothing that is made up without it
    assert status(["quantize", "net.onnx", "--decisions", "small.decisions.json", "-o", "again.onnx", "-q", *told]) == 0
    assert load("again.onnx").inputs == made.inputs  # a table needs no data, and remembers as the file does
    assert status("verify net.onnx small.onnx --data steps.npz --state state=after --floor-db 20".split()) == 0
