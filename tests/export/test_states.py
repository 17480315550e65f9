"""States of a foreign network: told by pairs, guessed for a hint, and kept from step to step."""

import re

import numpy as np
import pytest

from export.session import onnx_runner
from export.settled import settled
from export.states import likely_states, with_states
from export.stepped import stepped
from export.stream import Going, stream
from models.errors import CompressError, DataError, UsageError
from models.records import InputSpec, Model, OutputSpec
from tests.compress.bodies_nets import listener
from tests.compress.onnx_nets import Net, cached


def test_states_go_on_from_call_to_call_and_begin_anew_with_another_batch_or_when_told():
    run = stepped(with_states(listener(), ["h=hn", "c=cn"]))
    plain = onnx_runner(listener())
    rng = np.random.default_rng(0)
    state = {name: np.zeros((1, 2, 24), np.float32) for name in "hc"}
    steps = [rng.standard_normal((2, 16, 5)).astype(np.float32) for _ in range(4)]
    for x in steps:
        wanted = plain({"x": x, **state})
        np.testing.assert_array_equal(run({"x": x})["y"], wanted["y"])
        state = {"h": wanted["hn"], "c": wanted["cn"]}
    first = run({"x": steps[0][:1]})["y"]
    zero = {name: np.zeros((1, 1, 24), np.float32) for name in "hc"}
    np.testing.assert_array_equal(first, plain({"x": steps[0][:1], **zero})["y"])
    run.restart()
    np.testing.assert_array_equal(run({"x": steps[0][:1]})["y"], first)


def test_chunks_of_any_length_go_on_also_where_time_comes_first():
    """The sum of all that was heard: a closed form, whatever the pieces."""
    inputs = (
        InputSpec(name="x", dtype="float32", dims=("T", "N", 3)),
        InputSpec(name="h", dtype="float32", dims=("N", 3), state_of="hn"),
    )

    def run(arrays):
        return {"hn": arrays["h"] + arrays["x"].sum(0)}

    heard = np.random.default_rng(0).standard_normal((9, 2, 3)).astype(np.float32)
    going = Going(run, inputs, (OutputSpec(name="hn", dtype="float32", dims=("N", 3)),))
    *_, last = (going({"x": piece})["hn"] for piece in np.split(heard, [1, 5, 7]))
    np.testing.assert_allclose(last, heard.sum(0), rtol=1e-5)
    np.testing.assert_array_equal(going({"x": heard[:, :1]})["hn"], heard[:, :1].sum(0))


def test_a_cache_that_grows_goes_on():
    inputs = (
        InputSpec(name="x", dtype="float32", dims=("N", "T", 2)),
        InputSpec(name="past", dtype="float32", dims=("N", "P", 2), state_of="present"),
    )
    outputs = (OutputSpec(name="present", dtype="float32", dims=("N", "Q", 2)),)
    going = Going(lambda a: {"present": np.concatenate([a["past"], a["x"]], 1)}, inputs, outputs)
    x = np.ones((1, 3, 2), np.float32)
    assert [going({"x": x})["present"].shape[1] for _ in range(3)] == [3, 6, 9]


def test_a_cache_that_is_longer_than_the_positions_begins_anew():
    """And says what is wrong where a step fails with nothing remembered too."""
    model = cached(positions=3)
    x = np.random.default_rng(0).standard_normal((7, 1, 1, 8)).astype(np.float32)
    run = stepped(model)
    steps = [run({"x": each}) for each in x]
    assert [step["present"].shape[1] for step in steps] == [1, 2, 3, 1, 2, 3, 1]
    again = list(stream(onnx_runner(model), model.inputs, [{"x": each} for each in x[3:6]], model.outputs))
    for found, wanted in zip(steps[3:6], again, strict=True):
        np.testing.assert_array_equal(found["y"], wanted["y"])
    with pytest.raises(CompressError, match="indices element out of data bounds"):
        stepped(cached(positions=3))({"x": x[0], "past": np.zeros((1, 9, 8), np.float32)})


def test_a_cache_may_come_with_time_first():
    net = Net()
    net.op("Identity", net.op("Concat", "past", "x", name="all", axis=0), name="kept")
    inputs = (
        InputSpec(name="x", dtype="float32", dims=(1, 1, 2)),
        InputSpec(name="past", dtype="float32", dims=("P", 1, 2)),
    )
    told = with_states(net.model(inputs, {"present": ("Q", 1, 2)}), ["past=present"])
    model = settled(told, {"x": np.ones((1, 1, 2), np.float32)})
    run = stepped(model)
    assert [len(run({"x": np.ones((1, 1, 2), np.float32)})["present"]) for _ in range(3)] == [1, 2, 3]


def test_a_state_that_is_given_is_taken():
    run = stepped(with_states(listener(), ["h=hn", "c=cn"]))
    x = np.ones((1, 16, 5), np.float32)
    state = {name: np.full((1, 1, 24), 0.5, np.float32) for name in "hc"}
    np.testing.assert_array_equal(run({"x": x, **state})["y"], onnx_runner(listener())({"x": x, **state})["y"])


def test_without_pairs_a_state_is_an_input_like_any_other():
    with pytest.raises(DataError, match="takes an input 'h'"):
        onnx_runner(listener())({"x": np.ones((1, 16, 5), np.float32)})


def net(inputs, outputs):
    specs = [InputSpec(name=n, dtype=t, dims=d) for n, (t, d) in inputs.items()]
    return Model(
        listener().network, tuple(specs), tuple(OutputSpec(name=n, dtype=t, dims=d) for n, (t, d) in outputs.items())
    )


@pytest.mark.parametrize(
    ("inputs", "outputs", "pairs"),
    [
        ({"state": (2, "N", 128)}, {"output": ("N", 1), "stateN": ("a", "b", 128)}, ["state=stateN"]),
        ({"h": (1, 8), "c": (1, 8)}, {"cn": (1, 8), "hn": (1, 8)}, ["h=hn", "c=cn"]),
        (
            {"past_key": (1, "P", 8)},
            {"present_value": (1, "Q", 8), "present_key": (1, "Q", 8)},
            ["past_key=present_key"],
        ),
        ({"cache_1": (1, 8), "cache_2": (1, 9)}, {"new_cache_1": (1, 8), "new_cache_2": (1, 9)}, None),
        ({"x": (1, 8)}, {"logits": (1, 8)}, []),
        ({"h": (1, 8)}, {"hn": (1, 9)}, []),
    ],
    ids=str,
)
def test_what_is_likely_a_state_is_told_by_type_shape_and_name(inputs, outputs, pairs):
    model = net(*({name: ("float32", dims) for name, dims in given.items()} for given in (inputs, outputs)))
    wanted = ["cache_1=new_cache_1", "cache_2=new_cache_2"] if pairs is None else pairs
    assert likely_states(model, list(inputs)) == wanted


@pytest.mark.parametrize(
    ("pair", "says"),
    [
        ("h", "--state 'h' is not written as INPUT=OUTPUT, for example h=h_next."),
        ("hh=hn", "has no input 'hh'; it has 'x', 'h', 'c'. Did you mean 'h'?"),
        ("h=nn", "has no output 'nn'; it has 'y', 'hn', 'cn'."),
        ("h=y", "the input is float32[1,N,24] and the output float32[N,4]; a state comes out as it goes in."),
    ],
)
def test_a_pair_that_is_none_is_refused(pair, says):
    with pytest.raises(UsageError, match=re.escape(says)):
        with_states(listener(), [pair])
