"""Layers inside If, Scan and Loop compute in int8 where data passes them; what no data reaches stays float."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from cli import status
from compress.base import Context
from compress.quantization.calibrated import look
from compress.quantization.field import integer_nodes
from compress.quantization.quantize import Quantize
from compress.quantization.watched import watched
from export.folded import fold
from export.observe import observe
from export.onnx_file import read, to_bytes, write
from export.parity import sqnr_db
from export.profile import optimized_graph
from export.session import onnx_runner
from export.states import with_states
from export.stepped import stepped
from export.stopwatch import Stopwatch
from models.records import InputSpec, example
from tests.compress.bodies_nets import decoder, listener, scanned, voice
from tests.compress.onnx_nets import Net, in_half, mlp

FAST, SLOW = np.asarray(16000), np.asarray(8000)
UNSEEN = "calibration has no data that passes it"


def data(model, rates=(FAST,), count=40):
    """Samples of one row; with a rate the voices take turns in them."""
    made = [example(model.inputs, {"N": 1, "T": 12}, seed=seed) for seed in range(count)]
    if "rate" in made[0]:
        made = [{**one, "rate": rates[i % len(rates)]} for i, one in enumerate(made)]
    return made


def nested():
    return voice(nested=True)


def backwards():
    return scanned(backwards=True)


@pytest.mark.parametrize("build", [voice, nested, scanned], ids=lambda b: b.__name__)
def test_what_is_watched_in_a_body_is_what_runs_there(build):
    model = fold(build())
    feed = data(model, count=1)[0]
    main = model.onnx.graph
    inside = [v.name for node in main.all_nodes() for v in node.outputs if v.name and node.graph is not main]
    wanted = observe(model.onnx, feed)
    seen = onnx_runner(watched(model, inside))(feed)
    assert set(inside) <= set(seen)
    for name in (n for n in inside if seen[n].size and seen[n].dtype == np.float32):
        first = seen[name][0] if build is scanned else seen[name]  # of a Scan all turns; to be observed is the first
        np.testing.assert_allclose(first, wanted[name], rtol=1e-4, atol=1e-5)
    taken = [name for name in inside if seen[name].size]
    assert len(taken) == {"voice": 8, "nested": 9, "scanned": len(inside)}[build.__name__]


@pytest.mark.parametrize(
    ("build", "fused"),
    [
        (voice, {"QLinearConv": 4, "QGemm": 2}),
        (nested, {"QLinearConv": 4, "QGemm": 2}),
        (scanned, {"QGemm": 2}),
        (backwards, {"QGemm": 2}),
    ],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_layers_in_a_body_compute_in_integers(build, fused):
    model = build()
    outcome = Quantize(mode="static")(model, Context(calibration=data(model, rates=(FAST, SLOW))))
    kinds = optimized_graph(outcome.model)
    assert {kind: kinds.get(kind, 0) for kind in fused} == fused
    for feed in data(model, rates=(FAST, SLOW), count=2):
        assert sqnr_db(onnx_runner(model)(feed)["y"], onnx_runner(outcome.model)(feed)["y"]) > 25


def test_the_branch_that_no_data_takes_stays_float_and_says_so():
    model = voice()
    outcome = Quantize(mode="static")(model, Context(calibration=data(model)))
    rows = {row.layer: row for row in outcome.layers}
    assert {name for name, row in rows.items() if row.decision == "int8"} == {"one_1", "two_1", "wide.head"}
    assert {name for name, row in rows.items() if row.reason == UNSEEN} == {"one", "two", "narrow.head"}
    assert all(rows[name].sqnr_db > 25 for name in ("one_1", "two_1", "wide.head"))
    slow = {**data(model, count=1)[0], "rate": SLOW}
    np.testing.assert_array_equal(onnx_runner(model)(slow)["y"], onnx_runner(outcome.model)(slow)["y"])


def test_ranges_in_a_body_hold_all_that_data_gave_there():
    model = fold(scanned())
    ranges, _ = look(model, data(model)).ranges()
    (state,) = (v.name for node in model.onnx.graph for v in body_of(node).inputs[:1] if node.op_type == "Scan")
    states = [onnx_runner(model)(feed)["y"][:-1] for feed in data(model)]
    low, high = min(0.0, *(s.min() for s in states)), max(s.max() for s in states)
    assert (ranges[state].low, ranges[state].high) == pytest.approx((low, high))


def body_of(node):
    return next((a.as_graph() for a in node.attributes.values() if a.name == "body"), node.graph)


def test_ranges_in_a_loop_hold_all_turns_whatever_their_shapes():
    model = fold(decoder())
    feed = data(model, count=1)[0]
    loop = next(node for node in model.onnx.graph if node.op_type == "Loop")
    named = {node.name: node.outputs[0].name for node in body_of(loop)}
    found = onnx_runner(watched(model, [named["tanh"], named["grown"], "x"]))(feed)
    states, told = reference(model, feed["x"])
    np.testing.assert_allclose(found[named["tanh"]], np.concatenate([s.ravel() for s in states[1:]]), atol=1e-5)
    grown = [np.stack(states[: turn + 2], axis=1).ravel() for turn in range(4)]
    np.testing.assert_allclose(found[named["grown"]], np.concatenate(grown), atol=1e-5)
    np.testing.assert_allclose(found["y"], told, atol=1e-5)


def reference(model, x):
    """The decoder in numpy: its states from the beginning, and what it tells in each turn."""
    constants = {n: v.const_value.numpy() for graph in model.onnx.graphs() for n, v in graph.initializers.items()}
    w, b, v, c, h, d = (
        constants[f"{name}.{part}"] for name in ("again", "over_all", "head") for part in ("weight", "bias")
    )
    states, told = [x], []
    for _ in range(4):
        states.append(np.tanh(states[-1] @ w + b))
        told.append((np.stack(states, axis=1) @ v + c).mean(1) @ h.T + d)
    return states, np.stack(told, axis=1)


@pytest.mark.parametrize("inside", ["", "If", "Loop"])
def test_layers_in_a_loop_compute_in_int8_alone_and_in_other_bodies(inside):
    model = decoder(inside=inside)
    seen = data(model)
    outcome = Quantize(mode="static")(model, Context(calibration=seen))
    assert {note.layer for note in outcome.changed} == {"again", "over_all", "head"}
    assert sum(integer_nodes(outcome.model).values()) >= 3
    found = [onnx_runner(m)(feed)["y"] for feed in seen[:4] for m in (model, outcome.model)]
    assert sqnr_db(np.concatenate(found[::2]), np.concatenate(found[1::2])) > 25
    rows = {row.layer: row for row in outcome.layers}
    assert all(rows[name].sqnr_db > 20 for name in ("again", "over_all", "head"))


def test_what_one_body_alone_reads_lies_in_it_and_what_two_read_outside():
    model = fold(voice())
    inside = {name for graph in model.onnx.graphs() if graph is not model.onnx.graph for name in graph.initializers}
    assert {"wide.one.weight", "wide.W", "narrow.head.weight"} <= inside
    assert not inside & set(model.onnx.graph.initializers)
    shared = voice()
    for graph in shared.onnx.graphs():  # both branches read one layer's weight
        for node in graph:
            if node.op_type == "Conv" and node.inputs[1].name.endswith("one.weight"):
                node.replace_input_with(1, shared.onnx.graph.initializers["wide.one.weight"])
    assert "wide.one.weight" in fold(shared).onnx.graph.initializers


def test_auto_without_layers_or_data_says_so():
    net = Net(1)
    net.op("LSTM", "x", net.weight("w", 1, 64, 8), net.weight("r", 1, 64, 16), name="lstm", hidden_size=16)
    alone = net.model((InputSpec(name="x", dtype="float32", dims=("T", "N", 8)),), {"y": ("T", 1, "N", 16)})
    auto = Quantize(mode="auto")(alone, Context(calibration=data(alone)))
    assert "static int8 was not tried: no layer here has a static integer kernel" in auto.facts["why"]
    without = Quantize(mode="auto")(mlp(), Context())
    assert "static int8 was not tried: there are no calibration data" in without.facts["why"]


def test_the_command_takes_one_sample_rate_for_all_rows(tmp_path, capsys):
    """As the data of exported voice detectors are: rows of sound, and one number beside them."""
    write(voice(), tmp_path / "voice.onnx")
    sound = np.random.default_rng(0).standard_normal((80, 16, 12)).astype(np.float32)
    np.savez(tmp_path / "sound.npz", x=sound, rate=np.asarray(16000))
    np.savez(tmp_path / "rates.npz", x=sound, rate=np.full(80, 16000))
    model, made, data = (str(tmp_path / name) for name in ("voice.onnx", "made.onnx", "sound.npz"))
    assert status(["quantize", model, "--mode", "static", "--data", data, "-o", made]) == 0
    assert optimized_graph(read(Path(made)))["QLinearConv"] == 2
    assert status(["benchmark", model, made, "--data", data, "--seconds", "0.01"]) == 0
    assert status(["quantize", model, "--data", str(tmp_path / "rates.npz")]) == 1
    assert "It is one number for all samples: save it as that, np.int64(16000)." in capsys.readouterr().err


def test_the_command_steps_a_network_through_the_states_it_is_told(tmp_path, capsys):
    """Rows are one sequence in their order; without the pairs the message says them."""
    write(listener(), tmp_path / "net.onnx")
    sound = np.random.default_rng(0).standard_normal((60, 16, 6)).astype(np.float32)
    np.savez(tmp_path / "sound.npz", x=sound)
    model, made, data = (str(tmp_path / name) for name in ("net.onnx", "made.onnx", "sound.npz"))
    assert status(["quantize", model, "--data", data, "-o", made]) == 1
    assert "say --state h=hn --state c=cn" in capsys.readouterr().err
    states = ["--state", "h=hn", "--state", "c=cn"]
    assert status(["quantize", model, "--mode", "static", "--data", data, "-o", made, *states]) == 0
    after = read(Path(made))
    assert [spec.state_of for spec in after.inputs] == [None, "hn", "cn"]
    assert optimized_graph(after)["QLinearConv"] == 1
    one, other = (
        np.concatenate([run({"x": x[None]})["y"] for x in sound])
        for run in map(stepped, (with_states(listener(), ["h=hn", "c=cn"]), after))
    )
    assert sqnr_db(one, other) > 25
    assert status(["quantize", model, "--data", data, "-o", made, *states]) == 0
    assert status(["benchmark", model, made, "--data", data, "--seconds", "0.01", *states]) == 0


def test_auto_tries_bodies_times_them_and_replays_its_table(tmp_path):
    model = voice()
    context = Context(calibration=data(model, rates=(FAST, SLOW)), measure=Stopwatch(seconds=0.02, threads=1))
    outcome = Quantize(mode="auto")(model, context)
    tried = {row["name"] for row in outcome.facts["candidates"]}
    assert any(name.startswith("static per") for name in tried)
    measured = {row.layer for row in outcome.layers if row.sensitivity is not None}
    assert {"one", "two", "one_1", "two_1"} <= measured
    table = tmp_path / "net.decisions.json"
    table.write_text(json.dumps(outcome.decisions))
    again = Quantize(mode="auto", decisions=str(table))(model, context)
    assert to_bytes(again.model) == to_bytes(outcome.model)


@pytest.mark.parametrize("build", [voice, decoder, scanned])
def test_bodies_in_half_precision_are_looked_into(build):
    """Nobody writes the types of what a body computes; nothing is changed here, so half stays half."""
    model = in_half(build())
    made = Quantize(mode="static", skip=("*",))(model, Context(calibration=data(model)))
    assert made.layers and {row.decision for row in made.layers} == {"float"}


@pytest.mark.parametrize("name", ["flat", "none", "again_out_flat"])
def test_constants_may_be_called_as_what_looks_into_a_body_is(name):
    model = decoder()
    network = model.onnx.clone()
    value = network.graph.initializers.pop("again.weight")
    value.name = name
    network.graph.register_initializer(value)
    renamed = replace(model, network=network)
    assert Quantize(mode="static")(renamed, Context(calibration=data(renamed))).changed


def test_a_branch_of_an_old_graph_is_stored_in_eight_bits_though_nobody_can_look_into_it():
    """Before opset 11 both branches of an If have one rank, which an empty array in the place of one has not."""
    net = Net()
    layer = helper.make_node("MatMul", ["x", "w"], ["inner"], name="layer")
    other = helper.make_node("Tanh", ["x"], ["as_is"], name="other")
    known = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 32]) for name in ("inner", "as_is")]
    net.weight("w", 32, 32)
    then, otherwise = (
        helper.make_graph([node], node.name, [], [info]) for node, info in zip((layer, other), known, strict=True)
    )
    net.op("Greater", net.op("ReduceMean", "x", name="mean", keepdims=0), net.const("least", -9.0), name="if_so")
    net.nodes.append(helper.make_node("If", ["if_so_out"], ["y"], name="if", then_branch=then, else_branch=otherwise))
    model = net.model((InputSpec(name="x", dtype="float32", dims=("N", 32)),), {"out": ("N", 32)}, opset=10)
    batch = [example(model.inputs, {"N": 40})]
    for mode in ("weights", "dynamic", "fp16"):
        assert [note.layer for note in Quantize(mode=mode)(model, Context(calibration=batch)).changed] == ["layer"]
