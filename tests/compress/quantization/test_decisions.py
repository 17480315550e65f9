"""The decision table as a file: replayed to the same bytes, obeyed where it was edited, refused where it cannot be."""

import json
from dataclasses import asdict

import numpy as np
import onnx_ir as ir
import pytest

from compress.base import Context
from compress.console import plain
from compress.quantization.decisions import read, weights_told
from compress.quantization.quantize import Quantize
from compress.recipe import run
from export.machine import machine
from export.onnx_file import to_bytes
from export.session import onnx_runner
from export.stopwatch import Stopwatch
from models.errors import UsageError
from models.records import InputSpec, example
from tests.compress.onnx_nets import IMAGE, Net, attention, conv_net, in_half, mlp, recurrent, residual_net


def data(model, batches=2, rows=32, seed=100):
    return [example(model.inputs, {"N": rows, "T": 9}, seed=seed + i) for i in range(batches)]


def kept(outcome, path):
    path.write_text(json.dumps(plain(outcome.decisions)), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("mode", ["static", "dynamic", "weights", "fp16", "auto"])
@pytest.mark.parametrize("net", [residual_net, attention, recurrent])
def test_a_table_is_replayed_to_the_same_bytes_without_data_or_clock(net, mode, tmp_path):
    model = net()
    made = Quantize(mode=mode, max_drop=30.0)(model, Context(calibration=data(model)))
    again = [Quantize(decisions=kept(made, tmp_path / "t.json"))(model, Context()) for _ in range(2)]
    assert to_bytes(again[0].model) == to_bytes(again[1].model) == to_bytes(made.model)
    assert {row.layer: row.decision for row in again[0].layers} == {row.layer: row.decision for row in made.layers}


def edited(made, path, **decisions):
    table = plain(made.decisions)
    for row in table["layers"]:
        row["decision"] = decisions.get(row["layer"], row["decision"])
    path.write_text(json.dumps(table), encoding="utf-8")
    return str(path)


def test_an_edited_table_is_obeyed_layer_by_layer(tmp_path):
    model = conv_net()
    made = Quantize(mode="static")(model, Context(calibration=data(model)))
    assert {row.decision for row in made.layers} == {"int8"}
    path = edited(made, tmp_path / "t.json", stem="float", body="int8 weights")
    outcome = Quantize(decisions=path)(model, Context())
    assert {row.layer: row.decision for row in outcome.layers} == {
        "stem": "float", "body": "int8 weights", "head": "int8",
    }  # fmt: skip
    assert outcome.decisions is None  # the edited table stays the only one
    weights = {value.name: value.const_value.dtype.name for value in outcome.model.network.graph.initializers.values()}
    assert weights["stem.weight"] == "FLOAT"


def test_an_edited_range_is_the_grid_that_is_written(tmp_path):
    model = mlp()
    made = Quantize(mode="static")(model, Context(calibration=data(model)))
    table = plain(made.decisions)
    table["ranges"]["main"]["x"] = [0.0, 255.0]
    (tmp_path / "t.json").write_text(json.dumps(table), encoding="utf-8")
    outcome = Quantize(decisions=str(tmp_path / "t.json"))(model, Context())
    scale = outcome.model.network.graph.initializers["x_scale"].const_value.numpy()
    assert scale == np.float32(1.0)


@pytest.mark.parametrize(
    "change, text",
    [
        (lambda t: t["layers"][0].update(decision="int9"), "there is no decision 'int9'.*Did you mean 'int8'"),
        (lambda t: t["layers"][0].update(layer="stemm"), "has a layer 'stemm'.*another network.*Did you mean 'stem'"),
        (lambda t: t["way"].update(kind="magic"), "no such way"),
        (lambda t: t.pop("ranges"), "it has no 'ranges'"),
        (lambda t: t["ranges"]["main"].update(x=[3.0, 1.0]), "is no range"),
        (lambda t: t.update(schema=99), "no decision table of schema 1"),
        (lambda t: t.update(device="arm64"), "decided for arm64, and the device is any"),
    ],
)
def test_a_table_that_cannot_be_is_refused_with_the_place(change, text, tmp_path):
    model = conv_net()
    made = Quantize(mode="static")(model, Context(calibration=data(model)))
    table = plain(made.decisions)
    change(table)
    (tmp_path / "t.json").write_text(json.dumps(table), encoding="utf-8")
    with pytest.raises(UsageError, match=text):
        Quantize(decisions=str(tmp_path / "t.json"))(model, Context())


def test_what_is_no_table_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no decision table can be read there"):
        read(tmp_path / "missing.json")
    (tmp_path / "t.json").write_text("{", encoding="utf-8")
    with pytest.raises(UsageError, match="it is no JSON"):
        read(tmp_path / "t.json")
    with pytest.raises(UsageError, match="so does mode 'static'"):
        Quantize(mode="static", decisions="t.json")


def test_the_table_holds_what_the_rows_say():
    model = conv_net()
    made = Quantize(mode="static")(model, Context(calibration=data(model)))
    assert [row["layer"] for row in made.decisions["layers"]] == ["stem", "body", "head"]
    assert made.decisions["layers"] == [asdict(row) for row in made.layers]
    x = data(model, 1, seed=7)[0]
    assert np.isfinite(onnx_runner(made.model)(x)["logits"]).all()


def test_a_graph_that_was_raised_is_raised_again(tmp_path):
    """Of an old file auto has a newer graph, whichever way it then chooses."""
    model = conv_net(opset=11)
    outcome = Quantize()(model, Context(calibration=[example(model.inputs, {"N": 40})]))
    assert outcome.facts["chosen"] in ("weights", "fp16")  # without a clock
    assert outcome.decisions["opset"] == 13
    table = tmp_path / "table.json"
    table.write_text(json.dumps(plain(outcome.decisions)))
    again = Quantize(decisions=str(table))(model, Context())
    assert to_bytes(again.model) == to_bytes(outcome.model)


def written(table, path):
    path.write_text(json.dumps(table), encoding="utf-8")
    return str(path)


def test_what_a_way_cannot_give_is_told(tmp_path):
    model = conv_net()
    half = Quantize(mode="fp16")(model, Context())
    outcome = Quantize(decisions=edited(half, tmp_path / "t.json", body="int8"))(model, Context())
    assert "'body' is float16 for int8" in outcome.facts["warning"]
    weights = Quantize(mode="weights")(model, Context())
    outcome = Quantize(decisions=edited(weights, tmp_path / "t.json", body="int8"))(model, Context())
    assert "'body' is int8 weights for int8" in outcome.facts["warning"]


def test_a_layer_is_stored_as_the_table_says(tmp_path):
    model = conv_net()
    made = Quantize(mode="static")(model, Context(calibration=data(model)))
    table = edited(made, tmp_path / "t.json", body="float16", stem="int8 weights")
    outcome = Quantize(decisions=table)(model, Context())
    assert [row.decision for row in outcome.layers] == ["int8 weights", "float16", "int8"]
    assert outcome.facts["integer_nodes"] == {"QGemm": 1}
    kinds = {
        v.name: v.dtype.name for v in outcome.model.onnx.graph.initializers.values() if v.name.endswith(("_q", "_half"))
    }
    assert kinds["stem.weight_q"] == "INT8" and kinds["body.weight_half"] == "FLOAT16"


def test_shifts_of_layers_in_int8_are_not_taken_off_those_that_are_only_stored(tmp_path):
    model = conv_net()
    made = Quantize(mode="static")(model, Context(calibration=data(model)))
    table = edited(made, tmp_path / "t.json", stem="int8 weights", body="int8 weights", head="int8 weights")
    outcome = Quantize(decisions=table)(model, Context())
    plain_one = Quantize(mode="weights")(model, Context())
    x = data(model, 1, seed=7)[0]
    for name in ("stem.bias", "body.bias", "head.bias"):
        np.testing.assert_array_equal(
            outcome.model.onnx.graph.initializers[name].const_value.numpy(),
            plain_one.model.onnx.graph.initializers[name].const_value.numpy(),
        )
    assert np.isfinite(onnx_runner(outcome.model)(x)["logits"]).all()


def test_a_layer_without_a_range_in_the_table_says_so_and_not_that_no_data_pass_it(tmp_path):
    model = conv_net()
    made = Quantize(mode="static", skip=("head",))(model, Context(calibration=data(model)))
    outcome = Quantize(decisions=edited(made, tmp_path / "t.json", head="int8"))(model, Context())
    assert [n.text for n in outcome.skipped if n.layer == "head"] == [
        "the decision table has no range of what it reads or gives"
    ]


def test_reasons_of_layers_without_a_kernel_stay_those_of_the_table(tmp_path):
    model = recurrent("GRU")
    made = Quantize(mode="static")(model, Context(calibration=data(model)))
    reason = {row.layer: row.reason for row in made.layers if row.type == "GRU"}
    outcome = Quantize(decisions=kept(made, tmp_path / "t.json"))(model, Context())
    assert reason and {row.layer: row.reason for row in outcome.layers if row.type == "GRU"} == reason
    path = edited(made, tmp_path / "t.json", **{row.layer: "float" for row in made.layers if row.decision == "int8"})
    outcome = Quantize(decisions=path)(model, Context())
    assert {row.reason for row in outcome.layers if row.type != "GRU"} == {"the decision table says so"}


def test_the_table_of_the_same_network_trained_again_is_taken_with_a_warning(tmp_path):
    model, other = conv_net(), conv_net()
    made = Quantize(mode="static")(model, Context(calibration=data(model)))
    path = kept(made, tmp_path / "t.json")
    assert "warning" not in Quantize(decisions=path)(model, Context()).facts
    weight = other.onnx.graph.initializers["body.weight"]
    weight.const_value = ir.tensor(weight.const_value.numpy() * np.float32(1.5), name="body.weight")
    assert "other weights" in Quantize(decisions=path)(other, Context()).facts["warning"]


def test_a_table_of_other_widths_or_names_is_refused(tmp_path):
    model = conv_net()
    table = plain(Quantize(mode="static")(model, Context(calibration=data(model))).decisions)
    narrow = {**table, "shifts": {**table["shifts"], "body": [1.0]}}
    with pytest.raises(UsageError, match="shifts 1 channels of layer 'body'"):
        Quantize(decisions=written(narrow, tmp_path / "t.json"))(model, Context())
    name = next(iter(table["ranges"]["main"]))
    misspelt = {**table, "ranges": {"main": {f"{name}s": [0, 1]}}}
    with pytest.raises(UsageError, match=f"no tensor of that name. Did you mean '{name}'"):
        Quantize(decisions=written(misspelt, tmp_path / "t.json"))(model, Context())
    double = {**table, "layers": [*table["layers"], table["layers"][0]]}
    with pytest.raises(UsageError, match="has two rows"):
        Quantize(decisions=written(double, tmp_path / "t.json"))(model, Context())


def test_one_table_under_two_names_gives_the_same_bytes(tmp_path):
    model = conv_net()
    made = Quantize(mode="static")(model, Context(calibration=data(model)))
    files = [kept(made, tmp_path / name) for name in ("a.json", "another.json")]
    first, second = (run([Quantize(decisions=file)], model, Context())[-1].model for file in files)
    assert to_bytes(first) == to_bytes(second)
    assert str(tmp_path) not in json.dumps(first.history)


@pytest.mark.parametrize(
    ("device", "untimed"),
    [
        ("any", ["arm64", "arm64-dotprod", "x86-avx2", "x86-vnni"]),
        ("arm64", ["arm64"]),
        ("stm32h743", ["armv7e-m"]),
    ],
)
def test_the_history_tells_the_target_and_where_nobody_timed(device, untimed):
    model = conv_net()
    made = run([Quantize(mode="static")], model, Context(calibration=data(model), device=device))[-1].model
    assert made.history[-1]["target"] == {"device": device, "timed_on": "", "not_timed_on": untimed}


def test_auto_tells_where_it_timed():
    model, here = conv_net(), machine()["instruction_set"]
    context = Context(calibration=data(model), measure=Stopwatch(seconds=0.02))
    target = run([Quantize()], model, context)[-1].model.history[-1]["target"]
    assert target["timed_on"] == here and here not in target["not_timed_on"]


def test_a_pattern_that_names_nothing_is_refused():
    model = conv_net()
    with pytest.raises(UsageError, match=r"skip 'haed' names no layer of model 'net'\. Did you mean 'head'"):
        Quantize(mode="static", skip=("stem", "haed"))(model, Context(calibration=data(model)))
    Quantize(mode="static", skip=("s*",))(model, Context(calibration=data(model)))


def test_a_table_that_only_stores_weights_is_of_its_network_too(tmp_path):
    """What bias correction took off is of the weights that were."""
    model, other = conv_net(), conv_net()
    made = Quantize(mode="weights")(model, Context(calibration=data(model)))
    assert made.decisions["stored_shifts"]
    path = kept(made, tmp_path / "t.json")
    assert "warning" not in Quantize(decisions=path)(model, Context()).facts
    weight = other.onnx.graph.initializers["body.weight"]
    weight.const_value = ir.tensor(weight.const_value.numpy() * np.float32(1.5), name="body.weight")
    assert "other weights" in Quantize(decisions=path)(other, Context()).facts["warning"]


def test_weights_that_changed_places_are_other_weights():
    def two(first, second):
        net = Net()
        weights = [net.const(f"w{seed}", np.random.default_rng(seed).standard_normal((8, 8))) for seed in (1, 2)]
        net.op("MatMul", net.op("MatMul", "x", weights[first], name="a"), weights[second], name="b")
        return net.model((InputSpec(name="x", dtype="float32", dims=("N", 8)),), {"y": ("N", 8)})

    assert weights_told(two(0, 1)) == weights_told(two(0, 1)) != weights_told(two(1, 0))


def test_factors_of_no_place_or_of_another_width_are_refused(tmp_path):
    model = mlp()
    made = Quantize(mode="static", equalize=True)(model, Context(calibration=data(model)))
    table = plain(made.decisions)
    assert to_bytes(Quantize(decisions=kept(made, tmp_path / "t.json"))(model, Context()).model) == to_bytes(made.model)
    first, *others = table["factors"]
    for factor, says in (
        ({**first, "constants": ["a", "b"]}, "between 'a', 'b', and model 'net' has no such place"),
        ({**first, "by": first["by"][1:]}, f"by {len(first['by']) - 1} factors; wanted are {len(first['by'])}, all"),
        ({**first, "by": [-1.0, *first["by"][1:]]}, "all above 0"),
        ({**first, "by": [float("nan"), *first["by"][1:]]}, "are no numbers, one for each channel"),
    ):
        with pytest.raises(UsageError, match=says):
            file = written({**table, "factors": [factor, *others]}, tmp_path / "f.json")
            Quantize(decisions=file)(model, Context())


@pytest.mark.parametrize(("low", "high"), [(0.0, 9.0), (-3.0, 6.0), (-3.0, 9.0)])
def test_a_range_that_is_wider_than_the_clip_is_that_of_the_clip(low, high, tmp_path):
    """The clip goes, since the grid ends where it does: on a wider one nothing would be clipped."""
    net = Net()
    first = net.op(
        "Clip", net.conv("x", 3, 8, name="a", relu=""), net.const("low", 0.0), net.const("high", 6.0), name="c"
    )
    net.conv(first, 8, 4, name="b", relu="")
    model = net.model(IMAGE, {"y": ("N", 4, 16, 16)})
    batches = [{"x": 9 * batch["x"]} for batch in data(model)]
    made = Quantize(mode="static")(model, Context(calibration=batches))
    table = plain(made.decisions)
    assert table["ranges"]["main"]["c_out"] == [0.0, 6.0]
    table["ranges"]["main"]["c_out"] = [low, high]
    again = Quantize(decisions=written(table, tmp_path / "t.json"))(model, Context())
    assert to_bytes(again.model) == to_bytes(made.model)


@pytest.mark.parametrize(
    ("settings", "device"),
    [
        ({"mode": "weights"}, "cuda"),
        ({"mode": "static", "skip": ("*",)}, "any"),
        ({"mode": "static", "equalize": True, "skip": ("last",)}, "any"),
        ({}, "any"),
        ({}, "cuda"),
    ],
)
def test_a_table_of_a_network_in_half_is_replayed(settings, device, tmp_path):
    model = in_half(mlp(16))
    made = Quantize(**settings)(model, Context(calibration=data(model), device=device))
    again = Quantize(decisions=kept(made, tmp_path / "t.json"))(model, Context(device=device))
    assert to_bytes(again.model) == to_bytes(made.model)
