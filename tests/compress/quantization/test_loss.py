"""What a loss is: of the score where there are labels, of the outputs where there are none."""

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from compress.base import Context
from compress.own_tasks import InputBatches, Unlabelled
from compress.quantization.loss import ByAgreement, points
from compress.quantization.quantize import Quantize
from export.stepped import any_batch
from models.batches import ArrayBatches
from models.records import InputSpec, Score, example
from tests.compress.onnx_nets import Net, mlp, stream

ROWS = (InputSpec(name="x", dtype="float32", dims=("N", 32)),)


@pytest.mark.parametrize(
    ("before", "after", "better", "lost"),
    [(0.95, 0.94, True, 1.0), (0.95, 0.96, True, -1.0), (2.0, 2.02, False, 1.0), (20.0, 19.0, True, 5.0)],
)
def test_a_point_is_a_hundredth_of_a_fraction_and_one_percent_of_others(before, after, better, lost):
    scores = [Score(value=v, low=v, high=v, n=1, unit="u", higher_is_better=better) for v in (before, after)]
    assert points(*scores) == pytest.approx(lost)


def test_bleu_is_no_fraction_where_it_is_below_one():
    scores = [Score(value=v, low=v, high=v, n=1, unit="BLEU") for v in (0.5, 0.49)]
    assert points(*scores) == pytest.approx(2.0)


def test_twenty_decibels_are_one_point_without_labels():
    model = stream()
    judge = ByAgreement(model, [{"x": np.ones((4, 8), np.float32)}] * 3, max_drop=1.0)
    same = judge(model)
    assert (same.points, same.keeps) == (0.0, True)
    real = np.concatenate([step["h_next"] for step in judge.float])
    judge.float = [{"h_next": step["h_next"] + np.float32(0.01)} for step in judge.float]
    off = judge(model)  # the candidate lies 0.01 below everywhere
    noise, signal = 1e-4, np.square(real - real.mean(0)).mean()
    assert off.sqnr_db == pytest.approx(10 * np.log10(signal / noise), abs=1e-2)
    assert off.points == pytest.approx(100 * noise / signal, rel=1e-2)


def test_a_candidate_is_judged_on_data_it_was_not_calibrated_on():
    model = mlp()
    rows = example(model.inputs, {"N": 40}, seed=9)
    outcome = Quantize()(model, Context(calibration=[rows]))
    assert outcome.facts["calibration_samples"] == 32
    assert outcome.facts["judged_on"] == "data held out from calibration, against float"


def test_data_without_labels_are_no_labels():
    model = mlp()
    rows = [example(model.inputs, {"N": 40}, seed=seed) for seed in range(3)]
    splits = [InputBatches(ArrayBatches(inputs=part, target=np.zeros(40), batch_size=40)) for part in rows]
    train, validation, test = splits
    task = Unlabelled(name="rows.npz", train=train, validation=validation, test=test, reference=dict)
    outcome = Quantize()(model, Context(task=task))
    assert outcome.facts["judged_on"] == "data held out from calibration and the validation rows, against float"
    assert all("dB" in row["loss"] for row in outcome.facts["candidates"][1:] if "loss" in row)


def test_every_output_counts_and_a_large_mean_hides_nothing():
    judge = ByAgreement(two_outputs(), [example(mlp().inputs, {"N": 200}, seed=3)], max_drop=1.0)
    assert judge(two_outputs()).keeps and judge(two_outputs(0.1)).sqnr_db == pytest.approx(20.0, abs=0.05)
    off = judge(two_outputs(0.5))  # half of what varies, and a thousandth of the whole
    assert off.sqnr_db == pytest.approx(6.0, abs=0.05) and off.points == pytest.approx(25, abs=0.2) and not off.keeps
    assert off.flip_rate == 0.0


def test_a_number_alone_and_another_shape_are_said_and_never_raised():
    data = [example(mlp().inputs, {"N": 20}, seed=seed) for seed in (1, 2)]
    judge = ByAgreement(listing(0.0), data, max_drop=1.0)
    assert judge(listing(0.0)).points == 0.0
    off = judge(listing(0.2))
    assert off.text.startswith("inf dB, output 'large' has another shape than float's in 100.0% of the rows")
    assert off.points == 100.0 and not off.keeps


def test_a_model_of_a_fixed_batch_is_scored_in_pieces():
    model = mlp()
    fixed = replace(model, inputs=(InputSpec(name="x", dtype="float32", dims=(1, 32)),))
    x = example(model.inputs, {"N": 5}, seed=9)
    np.testing.assert_allclose(any_batch(fixed)(x)["y"], any_batch(model)(x)["y"], rtol=1e-5, atol=1e-6)


def test_a_fixed_batch_goes_through_every_mode():
    model = fixed_batch(mlp(), 2)
    rows = {"x": example(mlp().inputs, {"N": 40}, seed=9)["x"]}
    for mode in ("static", "dynamic", "weights", "auto"):
        outcome = Quantize(mode=mode)(model, Context(calibration=[rows]))
        assert any_batch(outcome.model)(rows)["y"].shape == (40, 8)


def two_outputs(noise=0.0):
    """What one acts on, and a value beside it that hardly varies around 300."""
    net = Net()
    net.linear(net.op("Relu", net.linear("x", 32, 16, name="first"), name="act"), 16, 4, name="last")
    value = net.op("Mul", net.linear("x", 32, 1, name="value"), net.const("scale", 1 + noise), name="scaled")
    net.op("Add", value, net.const("middle", 300.0), name="warm")
    return net.model(ROWS, {"logits": ("N", 4), "kelvin": ("N", 1)})


def listing(above):
    """A number alone, and all numbers that are large enough."""
    net = Net()
    net.op("ReduceMean", "x", name="middle", keepdims=0)
    which = net.op("Greater", "x", net.const("above", above), name="compare")
    places = net.op("Transpose", net.op("NonZero", which, name="places"), name="turned", perm=[1, 0])
    net.op("GatherND", "x", places, name="picked")
    return net.model(ROWS, {"mean": (), "large": ("K",)})


def fixed_batch(model, size):
    network = model.network.clone()
    for value in (*network.graph.inputs, *network.graph.outputs):
        value.shape = ir.Shape([size, *value.shape[1:]])
    specs = [tuple(replace(s, dims=(size, *s.dims[1:])) for s in kind) for kind in (model.inputs, model.outputs)]
    return replace(model, network=network, inputs=specs[0], outputs=specs[1])


def test_of_large_outputs_as_many_rows_are_kept_as_memory_should_hold(monkeypatch):
    monkeypatch.setattr("compress.quantization.loss._MOST_BYTES", 1000)
    model = mlp()
    judge = ByAgreement(model, [example(model.inputs, {"N": 10}, seed=i) for i in range(50)], 1.0)
    assert 1 <= len(judge.float) < 10
    assert judge(model).points == 0.0
