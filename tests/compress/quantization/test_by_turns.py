"""What several forms say together, and what each is timed on. No clock runs here."""

from dataclasses import replace

import numpy as np
import pytest

from compress.quantization.by_turns import one_sample, overall
from export.stopwatch import Comparison, Timings
from models.records import InputSpec, example
from tests.compress.onnx_nets import attention, cached, mlp, stream


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


def test_one_sample_is_the_first_row_with_its_states():
    model = stream()
    x = example(model.inputs[:1], {"N": 5}, seed=3)
    fed = one_sample(model, [x])
    np.testing.assert_array_equal(fed["x"], x["x"][:1])
    assert fed["h"].shape == (1, 16)
    assert one_sample(attention(), [])["ids"].shape == (1, 12)


def test_a_cache_is_timed_at_a_usual_length():
    """Empty as it begins it would hide what remembering costs."""
    model = cached()
    x = np.zeros((5, 1, 8), np.float32)
    assert one_sample(model, [{"x": x}])["past"].shape == (1, 16, 8)
    assert one_sample(replace(model, typical={"P": 9}), [{"x": x}])["past"].shape == (1, 9, 8)
    assert one_sample(model, [{"x": x, "past": np.zeros((5, 3, 8), np.float32)}])["past"].shape == (1, 3, 8)


def test_a_fixed_batch_is_kept_whole():
    model = replace(mlp(), inputs=(InputSpec(name="x", dtype="float32", dims=(4, 32)),))
    assert one_sample(model, [{"x": np.zeros((4, 32), np.float32)}])["x"].shape == (4, 32)
