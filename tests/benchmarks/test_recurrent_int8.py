"""The comparison of recurrent layers: its arithmetic, and one run of it in small."""

import json

import numpy as np

from benchmarks import recurrent_int8
from benchmarks.recurrent_layers import inputs, layer, lstm_with_rounded_state, numbers_of, rounded
from export.session import onnx_runner


def test_the_lstm_in_numpy_is_the_runtimes_when_nothing_is_rounded():
    model, x = layer("LSTM", 12), inputs(12, steps=6, batch=3)
    found = lstm_with_rounded_state(numbers_of(model), x["x"], levels=1 << 40)
    np.testing.assert_allclose(found, onnx_runner(model)(x)["y"], atol=1e-5)


def test_rounding_keeps_zero_and_moves_nothing_by_more_than_half_a_step():
    numbers = np.random.default_rng(0).uniform(-3, 5, 1000)
    found = rounded(np.append(numbers, 0.0))
    assert found[-1] == 0
    assert np.abs(found[:-1] - numbers).max() <= 8 / 255 / 2 + 1e-12
    np.testing.assert_array_equal(rounded(np.zeros(3)), np.zeros(3))


def test_seven_bits_lose_more_than_eight_and_the_state_least_of_all():
    found = recurrent_int8.losses(48, steps=20)
    assert (
        found["weights, 8 bits, per row"]
        > found["weights, neighbours fit, per row"]
        > found["weights, 7 bits, per row"]
    )
    assert found["state, by the range of each step"] > max(found["input"], found["all, 8 bits, per row"])


def test_a_small_run_writes_the_document_and_its_page(tmp_path, monkeypatch):
    monkeypatch.setattr(recurrent_int8, "KINDS", ("GRU",))
    file = tmp_path / "small.json"
    assert recurrent_int8.main(["--hidden", "16", "--seconds", "0.02", "-o", str(file)]) == 0
    document = json.loads(file.read_text())
    assert [row["batch"] for row in document["layers"]] == list(recurrent_int8.BATCHES)
    assert all(row["sqnr_db"]["x86-vnni"] > 30 for row in document["layers"])
    assert "| GRU | 16 | 1 |" in file.with_suffix(".md").read_text()
