"""The comparison of calibrators: both tools see the same images, and what they find is told as it is."""

import json

import numpy as np
import onnx
import pytest
from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

import compress
from benchmarks.calibration import page
from benchmarks.calibration_network import write_mobilenet
from compress.quantization.calibrated import look


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory):
    path = tmp_path_factory.mktemp("calibration") / "model.onnx"
    write_mobilenet(path, width=1 / 16, side=32)
    return path


def test_the_network_is_a_mobilenet(mobilenet):
    model = onnx.load(mobilenet)
    onnx.checker.check_model(model, full_check=True)
    kinds = [node.op_type for node in model.graph.node]
    assert (kinds.count("Conv"), kinds.count("Clip"), kinds.count("Gemm")) == (27, 27, 1)


def test_ranges_are_those_that_the_runtimes_own_calibrator_finds(mobilenet):
    images = [{"x": np.random.default_rng(i).standard_normal((1, 3, 32, 32)).astype(np.float32)} for i in range(3)]

    class Reader:
        def __init__(self):
            self.left = iter(images)

        def get_next(self):
            return next(self.left, None)

    theirs = create_calibrator(
        mobilenet,
        None,
        augmented_model_path=str(mobilenet.with_name("augmented.onnx")),
        calibrate_method=CalibrationMethod.MinMax,
    )
    theirs.collect_data(Reader())
    wanted = theirs.compute_data()
    found, _ = look(compress.load(str(mobilenet)), images, counted=False).ranges()
    assert len(found) >= 28
    for name, seen in found.items():
        low, high = (float(np.asarray(end).reshape(-1)[0]) for end in wanted[name].range_value)
        assert (seen.low, seen.high) == pytest.approx((min(low, 0), max(high, 0)), rel=1e-4, abs=1e-5)


def test_the_page_tells_every_method_and_what_failed():
    row = {"network": "gru-fsdd", "device": "any", "unit": "accuracy", "sqnr_db": None}
    content = {
        "command": "python -m benchmarks.calibration",
        "date": "2026-01-01",
        "machine": {"processor": "one", "instruction_set": "x86-vnni"},
        "width": 0.5,
        "networks": [
            {**row, "method": "float", "score": 0.98},
            {**row, "method": "mse", "score": 0.975, "sqnr_db": 31.04},
        ],
        "sweeps": [
            {
                "tool": "compress",
                "method": "mse",
                "images": 1024,
                "tensors": 29,
                "seconds": 1.25,
                "peak_rss_bytes": 154e6,
            },
            {"tool": "onnxruntime", "method": "entropy", "images": 1024, "error": "ran out of memory"},
        ],
    }
    text = page(json.loads(json.dumps(content)))
    assert "| gru-fsdd | any | accuracy | 0.98 |  |  |  | 0.975, 31.0 dB |" in text
    assert "| compress | mse | 1,024 | 29 | 1.2 | 154 |" in text
    assert "| onnxruntime | entropy | 1,024 | | ran out of memory | |" in text
