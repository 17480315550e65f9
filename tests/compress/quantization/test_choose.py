"""The choice between candidates: who may be returned, and what a loss is. No clock runs here."""

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from compress.base import Context
from compress.quantization.by_turns import one_sample, overall
from compress.quantization.choose import Judged, best
from compress.quantization.loss import ByAgreement, Loss, any_batch, decides, flip_rate, points, varying_sqnr_db
from compress.quantization.quantize import Quantize
from export.stopwatch import Comparison, Timings
from models.records import InputSpec, OutputSpec, Score, example
from tests.compress.onnx_nets import attention, mlp, stream


def judged(name, size, speedup=None, verdict="faster", lost=0.0, keeps=True, nodes=1):
    comparison = speedup and Comparison(
        a="float", b=name, speedup=speedup, low=speedup, high=speedup, verdict=verdict, turns=9
    )
    loss = Loss(points=lost, text="", keeps=keeps)
    return Judged(name=name, model=None, bytes=size, loss=loss, integer_nodes=nodes, comparison=comparison)


FLOAT = judged("float", 1000, nodes=0)
WEIGHTS = judged("weights", 270, 1.0, "no difference", nodes=0)


def test_the_fastest_that_keeps_the_score_wins():
    quick, quicker = judged("static", 300, 1.5), judged("dynamic", 290, 2.0, keeps=False)
    assert best([FLOAT, WEIGHTS, quick, quicker], "speed") is quick


def test_of_two_as_fast_the_smaller_and_of_two_as_small_the_more_exact():
    large, small = judged("a", 400, 1.51), judged("b", 300, 1.50)
    assert best([FLOAT, large, small], "speed") is small
    exact = judged("c", 305, 1.50, lost=-0.2)
    assert best([FLOAT, large, small, exact], "speed") is exact


@pytest.mark.parametrize("prefer", ["speed", "size"])
def test_nothing_slower_than_float_is_returned(prefer):
    slow = judged("static", 200, 0.8, "slower")
    unsure = judged("dynamic", 250, 0.9, "cannot tell")
    assert best([FLOAT, WEIGHTS, slow, unsure], prefer) is WEIGHTS
    assert best([FLOAT, slow, unsure], prefer) is FLOAT


def test_where_nothing_is_surely_faster_float_operators_are_kept():
    unsure, alike = judged("static", 260, 1.2, "cannot tell"), judged("dynamic", 250, 1.0, "no difference")
    assert best([FLOAT, WEIGHTS, unsure, alike], "speed") is WEIGHTS
    assert best([FLOAT, WEIGHTS, unsure, alike], "size") is alike


def test_for_size_the_smallest_that_is_not_slower_wins():
    quick = judged("static", 300, 1.5)
    assert best([FLOAT, WEIGHTS, quick], "speed") is quick
    assert best([FLOAT, WEIGHTS, quick], "size") is WEIGHTS


def test_of_files_as_small_the_fastest_wins_and_of_those_the_smallest():
    quick, quicker = judged("static", 272, 1.5), judged("dynamic", 274, 1.9)
    assert best([FLOAT, WEIGHTS, quick, quicker], "size") is quicker
    level = judged("static QOperator", 271, 1.88)
    assert best([FLOAT, WEIGHTS, quick, quicker, level], "size") is level


def timings(**verdicts):
    """Two forms, timed: the verdict on the candidate in each."""
    speed = {"faster": 2.0, "slower": 0.5, "cannot tell": 1.01, "no difference": 1.0}
    made = {}
    for form, verdict in verdicts.items():
        s = speed[verdict]
        found = Comparison(a="float", b="static", speedup=s, low=s, high=s, verdict=verdict, turns=9)
        made[form] = Timings(timings={}, comparisons=(found,), cores=(), note="")
    return made


def test_a_form_that_runs_floats_own_operators_counts_as_level():
    unsure = timings(main="faster", encode="cannot tell")
    assert overall(unsure, "static").verdict == "cannot tell"
    found = overall(unsure, "static", alike={"encode"})
    assert found.verdict == "faster" and found.speedup == pytest.approx(2**0.5)
    assert overall(timings(main="faster", step="slower"), "static").verdict == "slower"


def test_without_a_clock_the_order_decides_and_a_larger_file_is_no_gain():
    static, weights, larger = judged("static", 300), judged("weights", 270), judged("dynamic", 1001)
    assert best([FLOAT, static, weights], "speed", order=("static", "weights")) is static
    assert best([FLOAT, static, weights], "size", order=("static", "weights")) is weights
    assert best([FLOAT, larger, static], "speed", order=("dynamic",)) is FLOAT


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


def test_one_sample_is_the_first_row_with_its_states():
    model = stream()
    x = example(model.inputs[:1], {"N": 5}, seed=3)
    fed = one_sample(model, [x])
    np.testing.assert_array_equal(fed["x"], x["x"][:1])
    assert fed["h"].shape == (1, 16)
    assert one_sample(attention(), [])["ids"].shape == (1, 12)


def test_a_fixed_batch_is_kept_whole():
    model = replace(mlp(), inputs=(InputSpec(name="x", dtype="float32", dims=(4, 32)),))
    assert one_sample(model, [{"x": np.zeros((4, 32), np.float32)}])["x"].shape == (4, 32)


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
