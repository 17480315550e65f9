"""A mask filled no lower than its scores need gives the same attention, and no exponent that underflows."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.quantization.masks import LEAK, LEAST, Reach, nearer_masks, sites
from export.prepare import name_nodes
from tests.export.written import run, written

RNG = np.random.default_rng(0)
WEIGHT = (RNG.standard_normal((16, 16)) / 4).astype(np.float32)
CAUSAL = np.triu(np.ones((7, 16), np.float32), 1) > 0
SCORES = "s = MatMul(x, weight)"
END = ["p = Softmax(z, axis=-1)", "y = Mul(p, x)"]
AT_RUN_TIME = ["g = Greater(x, zero)", "f = Cast(g, to=1)", "n = Sub(one, f)", "m = Mul(n, low)"]


def model(*lines, **arrays):
    made = written(SCORES, *lines, *END, **{"weight": WEIGHT, **arrays})
    name_nodes(made.onnx)
    return made


def data(scale=1.0, batches=2):
    return [{"x": (RNG.standard_normal((3, 7, 16)) * scale).astype(np.float32)} for _ in range(batches)]


def fills_of(network) -> list[float]:
    """What low numbers are left in a graph's constants."""
    return [
        v.const_value.numpy().min() for v in network.graph.initializers.values() if v.const_value.numpy().min() < -20
    ]


MASKS = {
    **{f"constant {v}": (["z = Add(s, mask)"], {"mask": np.where(CAUSAL, np.float32(v), 0)}) for v in (-1e4, -3e38)},
    "constant -inf": (["z = Add(mask, s)"], {"mask": np.where(CAUSAL, np.float32(-np.inf), 0)}),
    "where": (
        ["m = Where(hidden, low, zero)", "z = Add(s, m)"],
        {"hidden": CAUSAL, "low": np.float32(-np.inf)},
    ),
    "where, other branch": (
        ["g = Greater(x, zero)", "m = Where(g, zero, low)", "z = Add(s, m)"],
        {"low": np.float32(-3e38)},
    ),
    "computed": ([*AT_RUN_TIME, "z = Add(s, m)"], {"low": np.float32(-1e4)}),
    "absolute": (["z = Where(hidden, low, s)"], {"hidden": CAUSAL, "low": np.float32(-np.inf)}),
    "absolute, other branch": (["g = Greater(x, zero)", "z = Where(g, s, low)"], {"low": np.float32(-1e9)}),
}


@pytest.mark.parametrize(("lines", "arrays"), MASKS.values(), ids=MASKS)
def test_outputs_stay_and_the_fill_comes_nearer(lines, arrays):
    before = model(*lines, **arrays)
    found = nearer_masks(before, data())
    assert list(found.fills) == [note.layer for note in found.changed] == ["Softmax"]
    assert LEAST < found.fills["Softmax"] < -20
    x = data()[0]["x"]
    np.testing.assert_allclose(run(found.model, x), run(before, x), rtol=1e-6, atol=1e-9)
    if not any(line.startswith("m = Mul") for line in lines):
        assert all(low > LEAST for low in fills_of(found.model.onnx))


def test_a_computed_mask_gets_one_maximum_however_many_read_it():
    lines = [SCORES, *AT_RUN_TIME, "a = Add(s, m)", "q = Softmax(a, axis=-1)", "t = Mul(q, x)", "u = MatMul(t, weight)"]
    before = written(*lines, "z = Add(u, m)", *END, weight=WEIGHT, low=np.float32(-1e4))
    name_nodes(before.onnx)
    found = nearer_masks(before, data())
    assert len(found.changed) == 2 and len(set(found.fills.values())) == 1
    assert [n.op_type for n in found.model.onnx.graph].count("Max") == 1
    x = data()[0]["x"]
    np.testing.assert_allclose(run(found.model, x), run(before, x), rtol=1e-6, atol=1e-9)


def test_whoever_else_reads_the_mask_reads_it_as_it_was():
    before = written(
        *(SCORES, "z = Add(s, mask)", "p = Softmax(z, axis=-1)", "e = Exp(mask)", "y = Mul(p, e)"),
        weight=WEIGHT, mask=np.where(CAUSAL, np.float32(-30), np.float32(0)) - np.float32(90) * CAUSAL,
    )  # fmt: skip
    name_nodes(before.onnx)
    found = nearer_masks(before, data())
    assert found.changed
    assert min(fills_of(found.model.onnx)) == -120


def test_scores_too_far_apart_keep_their_mask():
    """Hidden scores above the visible ones by more than log 1e-9 + 80 leave no fill between."""
    shift = np.where(CAUSAL, np.float32(70), 0)
    before = model("w = Add(s, shift)", "z = Add(w, mask)", mask=np.where(CAUSAL, np.float32(-1e4), 0), shift=shift)
    found = nearer_masks(before, data())
    assert not found.changed and found.model is before


@pytest.mark.parametrize("low", [-np.inf, -3e38])
def test_rows_masked_whole_keep_what_they_are_where_the_data_have_some(low):
    mask = np.where(CAUSAL, np.float32(low), 0)
    mask[2] = low
    before = model("z = Add(s, mask)", mask=mask)
    found = nearer_masks(before, data())
    assert found.model is before and "masks keep their fill" in found.skipped[0].text


def test_a_row_masked_whole_that_comes_later_is_finite():
    lines = ["g = Greater(x, zero)", "m = Where(g, zero, low)", "z = Add(s, m)"]
    found = nearer_masks(model(*lines, low=np.float32(-np.inf)), data())
    assert found.changed
    assert np.isfinite(run(found.model, -np.ones((1, 7, 16), np.float32))).all()


def test_where_the_graph_looks_for_such_rows_the_mask_stays():
    lines = [SCORES, "z = Add(s, mask)", "q = Softmax(z, axis=-1)", "i = IsNaN(q)", "y = Where(i, zero, q)"]
    before = written(*lines, weight=WEIGHT, mask=np.where(CAUSAL, np.float32(-np.inf), 0))
    assert sites(before.onnx) == []


def test_a_bias_that_hides_nothing_is_no_mask():
    before = model("z = Add(s, mask)", mask=np.where(CAUSAL, np.float32(-5), 0))
    assert sites(before.onnx) == []
    assert nearer_masks(before, data()).model is before


def test_without_data_nothing_is_done():
    lines, arrays = MASKS["constant -10000.0"]
    before = model(*lines, **arrays)
    assert nearer_masks(before, []).model is before


def test_the_rule_by_hand():
    scores = np.array([[[1.0, 5.0, -2.0], [3.0, 0.0, 9.0]]], np.float32)
    hidden = np.array([[False, True, True], [False, False, True]])
    added, absolute = Reach(), Reach()
    added.look(scores, scores + np.where(hidden, -1e4, 0), is_absolute=False)
    absolute.look(scores, np.where(hidden, -1e4, scores), is_absolute=True)
    # rows lead with 1 and 3; hidden are 5 and -2, and 9: from 3 below to 6 above
    assert (added.below, added.above) == (3.0, 6.0)
    assert added.fill(is_absolute=False) == min(3 - 80, math.log(1e-9) - 6)
    assert absolute.fill(is_absolute=True) == min(3 - 80, 1 + math.log(1e-9))


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 12), st.booleans())
@settings(deadline=None, max_examples=60)
def test_no_masked_place_weighs_more_than_the_leak_and_none_underflows(seed, scale, is_absolute):
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((2, 5, 9)) * scale
    hidden = rng.random((2, 5, 9)) < 0.4
    hidden[..., 0] = False
    reach = Reach()
    reach.look(scores, np.where(hidden, -1e9, scores), is_absolute=is_absolute)
    if not reach.gains(is_absolute=is_absolute):
        return
    fill = reach.fill(is_absolute=is_absolute)
    top = np.where(hidden, -np.inf, scores).max(-1, keepdims=True)
    exponent = (np.where(hidden, fill, scores) if is_absolute else scores + np.where(hidden, fill, 0)) - top
    assert np.exp(exponent[hidden]).max(initial=0) <= LEAK * (1 + 1e-9)
    leaks_first = fill < (reach.highest if is_absolute else reach.below) + LEAST
    assert leaks_first or exponent[hidden].min(initial=0) >= LEAST - 1e-9
