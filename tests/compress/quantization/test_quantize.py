"""The pass: its modes, what auto decides and says, and what it refuses."""

import json
from dataclasses import asdict, dataclass, replace

import numpy as np
import pytest

from compress.base import Context
from compress.quantization.by_turns import level
from compress.quantization.quantize import Quantize
from compress.quantization.schemes import scheme_for
from export.device import find_device
from export.folded import fold
from export.onnx_file import to_bytes
from export.session import onnx_runner
from export.stopwatch import Comparison, Stopwatch, Timing, Timings
from models.errors import UsageError
from models.records import Form, Score, example, sizes_of
from tests.compress.onnx_nets import (
    IMAGE,
    Net,
    attention,
    conv_net,
    depthwise_net,
    mlp,
    recurrent,
    residual_net,
    stream,
)


def data(model, batches=3, rows=32, seed=100):
    return [example(model.inputs, {**sizes_of(model), "N": rows}, seed=seed + i) for i in range(batches)]


@dataclass(frozen=True)
class Speeds:
    """A stopwatch that says what it is told: how fast each candidate is against float."""

    speedups: dict
    threads: int = 1

    def time(self, calls):
        first = next(iter(calls))
        for call in calls.values():
            call()
        said = {name: next((s for key, s in self.speedups.items() if name.startswith(key)), 1.0) for name in calls}
        times = {n: Timing(runs=9, median_ms=1 / s, p95_ms=1, p99_ms=1, low_ms=1, high_ms=1) for n, s in said.items()}
        verdict = lambda s: "faster" if s > 1.03 else "slower" if s < 0.97 else "no difference"  # noqa: E731
        compared = tuple(
            Comparison(a=first, b=n, speedup=s, low=s, high=s, verdict=verdict(s), turns=9)
            for n, s in said.items()
            if n != first
        )
        return Timings(timings=times, comparisons=compared, cores=(), note="")


@dataclass(frozen=True)
class Agreement:
    """A task: how often a model decides as the float one; on validation alone."""

    model: object
    name: str = "agreement"
    labels: tuple = ()

    @property
    def train(self):
        return [(batch, None) for batch in data(self.model, 8)]

    def score(self, runner, split="test", reference=None):
        assert split == "validation"
        batch = data(self.model, 1, 500, seed=7)[0]
        name = self.model.outputs[0].name
        wanted = onnx_runner(self.model)(batch)[name].argmax(-1)
        alike = (runner(batch)[name].argmax(-1) == wanted).astype(float)
        return Score(value=alike.mean(), low=0, high=1, n=len(alike), unit="accuracy", samples=alike)

    def statistic(self, samples):
        return float(samples.mean())


def test_auto_returns_the_fastest_that_keeps_the_score_and_tells_every_candidate():
    model = conv_net()
    context = Context(calibration=data(model), task=Agreement(model), measure=Speeds({"static": 2.0, "dynamic": 0.5}))
    outcome = Quantize(max_drop=30.0)(model, context)
    assert outcome.facts["chosen"].startswith("static")
    assert outcome.facts["integer_nodes"] == {"QLinearConv": 2, "QLinearGlobalAveragePool": 1, "QGemm": 1}
    rows = {row["name"]: row for row in outcome.facts["candidates"]}
    assert list(rows) == [
        "float", "weights", "fp16", "static per channel", "static per channel QOperator",
        "static per tensor", "static per tensor QOperator", "dynamic", "dynamic per tensor",
    ]  # fmt: skip
    assert all(row["bytes"] > 0 and row["loss"] for row in rows.values())
    assert {name for name, row in rows.items() if row["median_ms"] is None} == {"weights", "fp16"}, "float's operators"
    assert rows["weights"]["comparison"] == asdict(level("float", "weights"))
    assert outcome.skipped[0].layer == "" and "2.00 times as fast as float on" in outcome.skipped[0].text
    assert {row.layer: row.decision for row in outcome.layers} == dict.fromkeys(("stem", "body", "head"), "int8")
    json.dumps([dict(outcome.facts), [asdict(row) for row in outcome.layers]], allow_nan=False)


def test_auto_keeps_the_score_before_the_speed():
    model = residual_net()
    context = Context(calibration=data(model), task=Agreement(model), measure=Speeds({"static": 2.0}))
    outcome = Quantize(max_drop=0.0)(model, context)
    rows = {row["name"]: row for row in outcome.facts["candidates"] if row["name"].startswith("static")}
    losses = [row["loss_points"] for name, row in rows.items() if "," not in name]
    assert len(losses) == 8, "scales of channels and tensors, pairs and operators, and all these unsigned"
    assert all(loss > 0 for loss in losses)
    others = [row["refused"] for name, row in rows.items() if "," in name]
    assert len(others) == 4 and all("it loses too much: accuracy" in text for text in others)
    assert not outcome.facts["chosen"].startswith("static")
    assert "loses too much: accuracy" in outcome.facts["why"]


def test_where_no_int8_is_faster_auto_stores_the_weights_and_says_so():
    model = mlp()
    context = Context(calibration=data(model), measure=Speeds({"static": 0.7, "dynamic": 0.8}))
    outcome = Quantize(max_drop=5.0)(model, context)
    assert outcome.facts["chosen"] == "weights"
    assert "no int8 candidate is faster than float; the best is dynamic (0.80 times" in outcome.skipped[0].text
    assert len(to_bytes(outcome.model)) < 0.4 * len(to_bytes(model))


def test_a_noisy_clock_does_not_call_stored_weights_slower():
    model = mlp()
    slower = Speeds(dict.fromkeys(("static", "dynamic", "weights", "fp16"), 0.5))
    assert Quantize(max_drop=5.0)(model, Context(calibration=data(model), measure=slower)).facts["chosen"] == "weights"


def test_where_nothing_gains_auto_gives_float_back_with_the_reason():
    model = fold(mlp(width=1))
    slower = Speeds(dict.fromkeys(("static", "dynamic", "weights", "fp16"), 0.5))
    outcome = Quantize()(model, Context(calibration=data(model), measure=slower))
    assert to_bytes(outcome.model) == to_bytes(model)
    assert outcome.changed == ()
    assert outcome.skipped[0].text.startswith("float kept: no int8 candidate is faster than float")


def test_a_very_small_network_is_timed_and_never_made_slower():
    model = mlp(width=8)
    outcome = Quantize()(model, Context(calibration=data(model), measure=Stopwatch(seconds=0.02)))
    chosen = next(row for row in outcome.facts["candidates"] if row["name"] == outcome.facts["chosen"])
    assert chosen["name"] == "float" or chosen["comparison"]["verdict"] != "slower"
    assert chosen["bytes"] <= len(to_bytes(fold(model)))


def test_without_a_clock_auto_gives_what_costs_no_time_by_construction():
    model = conv_net()
    outcome = Quantize(max_drop=5.0)(model, Context(calibration=data(model)))
    assert outcome.facts["chosen"] == "weights"
    assert outcome.facts["timed_on"] == ""
    assert "not timed: no stopwatch" in outcome.facts["why"]


def test_for_another_processor_auto_takes_int8_and_says_it_was_not_timed():
    model = conv_net()
    other = next(name for name in ("arm64", "x86-avx2") if not find_device(name).is_here)
    outcome = Quantize(max_drop=30.0)(model, Context(calibration=data(model), device=other, measure=Speeds({})))
    assert outcome.facts["chosen"] == "static per channel"
    assert f"not timed: {other} is not this machine" in outcome.facts["why"]


def test_without_data_nothing_is_calibrated():
    speeds = Speeds({"dynamic per tensor": 1.5, "dynamic": 2.0})
    outcome = Quantize(max_drop=30.0)(mlp(), Context(measure=speeds))
    names = [row["name"] for row in outcome.facts["candidates"]]
    assert names == ["float", "weights", "fp16", "dynamic", "dynamic per tensor"]
    assert outcome.facts["chosen"] == "dynamic"
    assert "static int8 was not tried: there are no calibration data" in outcome.skipped[0].text
    assert outcome.facts["judged_on"] == "random inputs, against float: there are no data"


def test_a_candidate_of_which_nothing_computes_in_integers_is_not_offered():
    model = depthwise_net()
    outcome = Quantize(skip=("head",))(model, Context(calibration=data(model)))
    refused = {row["name"]: row["refused"] for row in outcome.facts["candidates"] if "refused" in row}
    assert refused == dict.fromkeys(("dynamic", "dynamic per tensor"), "the runtime computes nothing of it in integers")


def test_a_gpu_without_integer_convolutions_gets_half_precision_and_the_reason():
    model = conv_net()
    assert "no integer convolution" in scheme_for(find_device("cuda")).why_not_int8
    outcome = Quantize()(model, Context(calibration=data(model), device="cuda"))
    assert outcome.facts["chosen"] == "fp16"
    with pytest.raises(UsageError, match=r"mode 'static' on cuda: .* no integer convolution.* Use --mode fp16"):
        Quantize(mode="static")(model, Context(calibration=data(model), device="cuda"))


def test_static_takes_further_forms_ranges_from_the_layers_they_share():
    main = mlp()
    form = Form(inputs=main.inputs, outputs=main.outputs, network=main.network.clone())
    other = Form(inputs=stream().inputs, outputs=stream().outputs, network=stream().network)
    model = replace(main, forms={"again": form, "step": other})
    outcome = Quantize(mode="static")(model, Context(calibration=data(main)))
    assert to_bytes(replace(outcome.model, network=outcome.model.forms["again"].network, forms={})) == to_bytes(
        replace(outcome.model, forms={})
    )
    reasons = {note.layer: note.text for note in outcome.skipped}
    assert reasons == {"again": "calibration has no data that passes it"}


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"mode": "qat"}, "mode 'qat', quantization-aware training, is not there yet"),
        ({"mode": "statc"}, "there is no mode 'statc'. Did you mean 'static'"),
        ({"prefer": "beauty"}, "prefer is 'speed' or 'size', and is 'beauty'"),
        ({"max_drop": -1.0}, "max_drop is a number of points from 0 on, and is -1.0"),
        ({"max_drop": float("nan")}, "max_drop is a number of points"),
        ({"samples": 0}, "samples must be at least 1, and is 0"),
        ({"calibration": "max"}, "calibration is 'minmax', 'percentile', 'entropy' or 'mse', and is 'max'"),
    ],
)
def test_settings_out_of_range_are_refused(settings, text):
    with pytest.raises(UsageError) as raised:
        Quantize(**settings)
    assert text in str(raised.value)


def test_static_without_data_says_what_works_without():
    with pytest.raises(UsageError, match=r"needs calibration data, and there is none .* --mode dynamic and"):
        Quantize(mode="static")(mlp(), Context())


def test_a_microcontroller_takes_no_ranges_at_run_time():
    with pytest.raises(UsageError, match="mode 'dynamic' on stm32h743"):
        Quantize(mode="dynamic")(mlp(), Context(device="stm32h743"))


def test_a_network_that_is_quantized_already_is_left_alone():
    model = conv_net()
    once = Quantize(mode="static")(model, Context(calibration=data(model))).model
    again = Quantize(mode="static")(once, Context(calibration=data(model)))
    assert again.changed == () or again.changed[0].layer == ""
    assert again.skipped[0].text == "the network is quantized already"


def test_ranges_come_from_the_tasks_training_data_where_nothing_else_is_given():
    model = attention()
    outcome = Quantize(mode="static", samples=100)(model, Context(task=Agreement(model)))
    assert outcome.facts["calibration_samples"] >= 96
    assert outcome.facts["integer_nodes"] == {"MatMulIntegerToFloat": 7}


def test_the_table_tells_range_and_noise_of_each_layer():
    model = recurrent("GRU")
    rows = {row.layer: row for row in Quantize(mode="static")(model, Context(calibration=data(model))).layers}
    assert (rows["rnn"].type, rows["rnn"].decision, rows["rnn"].sqnr_db) == ("GRU", "float", None)
    assert rows["head"].decision == "int8"
    assert rows["head"].sqnr_db > 25
    assert np.isfinite(rows["head"].bytes)


def outliers(count=1000):
    """Rows of which one in all is a hundred times as large as the others."""
    x = np.random.default_rng(5).standard_normal((count, 32)).astype(np.float32)
    x[3] *= 100
    return [{"x": x}]


@pytest.mark.parametrize("method", ["percentile", "entropy", "mse"])
def test_other_ranges_clip_what_is_rare(method):
    whole, other = (
        Quantize(mode="static", samples=1000, calibration=how)(mlp(), Context(calibration=outliers()))
        for how in ("minmax", method)
    )
    assert (whole.facts["calibration"], other.facts["calibration"]) == ("minmax", method)
    reach = [max(row.high for row in outcome.layers if row.high is not None) for outcome in (whole, other)]
    assert reach[1] < reach[0]


def test_few_samples_are_told_with_the_risk_and_enough_are_not():
    notes = [
        [note.text for note in Quantize(mode="static")(mlp(), Context(calibration=data(mlp(), 1, rows))).skipped]
        for rows in (10, 64)
    ]
    assert [
        any("calibrated with 8 samples: an input in 9 will leave" in text for text in found) for found in notes
    ] == [
        True,
        False,
    ]
    weights = Quantize(mode="weights")(mlp(), Context(calibration=data(mlp(), 1, 10)))
    assert not any("calibrated with" in note.text for note in weights.skipped)


def test_the_table_tells_the_bits_that_weights_use():
    """All 8 where products are exact; where pairs must fit, those of the channel whose largest was made smaller."""
    model = mlp()
    rows = {}
    for device in ("x86-vnni", "any"):
        for mode in ("static", "dynamic"):
            made = Quantize(mode=mode)(model, Context(calibration=data(model), device=device))
            rows[device, mode] = {row.layer: row.weight_bits for row in made.layers}
    assert rows["x86-vnni", "static"] == rows["x86-vnni", "dynamic"] == dict.fromkeys(("first", "second", "last"), 8.0)
    assert all(7.0 <= bits < 8.0 for mode in ("static", "dynamic") for bits in rows["any", mode].values())
    stored = Quantize(mode="weights")(model, Context())
    assert {row.weight_bits for row in stored.layers} == {None}


def test_auto_tells_the_speed_against_the_file_as_it_came_and_says_the_reason_once():
    """A hard-swish in four operators is one of the runtime's after preparation, and not before."""
    net = Net()
    y = net.conv("x", 3, 16, name="stem", relu="")
    six = net.op("Clip", net.op("Add", y, net.const("three", 3.0), name="plus"), net.const("zero", 0.0),
                 net.const("six", 6.0), name="clip")  # fmt: skip
    y = net.op("Div", net.op("Mul", y, six, name="times"), "six", name="swish")
    net.conv(y, 16, 8, name="head", relu="")
    model = net.model(IMAGE, {"y": ("N", 8, 16, 16)})
    context = Context(calibration=data(model), measure=Speeds({"static": 2.0, "dynamic": 0.5}))
    outcome = Quantize(max_drop=30.0)(model, context)
    assert outcome.facts["why"].endswith("; 2.00 times as fast as the file as it came")
    assert outcome.facts["file"]["speedup"] == 2.0
    assert [note.text for note in outcome.skipped if not note.layer].count(outcome.facts["why"]) == 1
    assert sum("times as fast as float" in note.text for note in outcome.skipped) == 1
