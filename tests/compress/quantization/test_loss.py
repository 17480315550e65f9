"""What a loss is: of the score where there are labels, of the outputs where there are none."""

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from compress.base import Context
from compress.quantization.loss import ByAgreement, decides, flip_rate, points, varying_sqnr_db
from compress.quantization.quantize import Quantize
from export.stepped import any_batch
from models.records import InputSpec, OutputSpec, Score, example
from tests.compress.onnx_nets import mlp, stream


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
    real = judge.float["h_next"]
    judge.float = {"h_next": real + 0.01}
    off = judge(model)  # the candidate lies 0.01 below everywhere
    noise, signal = 1e-4, np.square(real - real.mean(0)).mean()
    assert off.sqnr_db == pytest.approx(10 * np.log10(signal / noise), abs=1e-2)
    assert off.points == pytest.approx(100 * noise / signal, rel=1e-2)


def test_a_large_mean_hides_no_noise():
    varies, noise = np.array([[1.0], [-1.0]]), np.array([[0.1], [0.1]])
    assert varying_sqnr_db(1000 + varies, 1000 + varies + noise) == pytest.approx(20.0)
    assert varying_sqnr_db(np.full((2, 1), 10.0), np.full((2, 1), 11.0)) == pytest.approx(20.0)


def test_flipped_decisions_are_counted_where_an_output_decides():
    assert flip_rate(np.array([[1, 2], [3, 1]]), np.array([[2, 1], [3, 1]])) == 0.5
    assert decides(mlp().outputs[0], mlp())
    drawn = OutputSpec(name="y", dtype="float32", dims=("N", 32))
    assert not decides(drawn, mlp())  # an input drawn again
    assert not decides(OutputSpec(name="y", dtype="float32", dims=("N", 1)), mlp())


def test_a_candidate_is_judged_on_data_it_was_not_calibrated_on():
    model = mlp()
    rows = example(model.inputs, {"N": 40}, seed=9)
    outcome = Quantize()(model, Context(calibration=[rows]))
    assert outcome.facts["calibration_samples"] == 32
    assert outcome.facts["judged_on"] == "data held out from calibration, against float"


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


def fixed_batch(model, size):
    network = model.network.clone()
    for value in (*network.graph.inputs, *network.graph.outputs):
        value.shape = ir.Shape([size, *value.shape[1:]])
    specs = [tuple(replace(s, dims=(size, *s.dims[1:])) for s in kind) for kind in (model.inputs, model.outputs)]
    return replace(model, network=network, inputs=specs[0], outputs=specs[1])
