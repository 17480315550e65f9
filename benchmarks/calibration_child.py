"""One calibration in a process of its own: seconds and memory of one tool with one method; prints a JSON document.

    python -m benchmarks.calibration_child FOLDER

FOLDER holds `model.onnx`, of one image batch by batch, and `request.json`. Both tools get the same images one by one,
made as they are asked for; the seconds spent making them are not counted. The process is bound to one core, so that
both work with one thread. The peak of memory starts anew before the model is opened.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.memory_child import reset_peak, resident, resident_peak

SIDE = 224


class Images:
    """So many random images, the same ones in every process, and the time and processor time it took to make them."""

    def __init__(self, count: int) -> None:
        self.count, self.seconds, self.cpu_seconds = count, 0.0, 0.0

    def __iter__(self) -> Iterator[dict[str, np.ndarray[Any, Any]]]:
        """One image after another."""
        for seed in range(self.count):
            start, cpu = time.perf_counter(), time.process_time()
            image = np.random.default_rng(seed).random((1, 3, SIDE, SIDE), np.float32) * 4 - 2
            self.seconds += time.perf_counter() - start
            self.cpu_seconds += time.process_time() - cpu
            yield {"x": image}


def by_compress(path: Path, method: Any, images: Images) -> int:
    """Calibrate with ours; the number of tensors that got a range."""
    import compress
    from compress.quantization.calibrated import look

    model = compress.load(str(path))
    return len(look(model, images, counted=method != "minmax").ranges(method)[0])


def by_onnxruntime(path: Path, method: str, images: Images) -> int:
    """Calibrate with ONNX Runtime's own calibrators, with their defaults; the number of tensors that got a range."""
    from onnxruntime.quantization.calibrate import CalibrationDataReader, CalibrationMethod, create_calibrator

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # the package is untyped
        def __init__(self) -> None:
            self.left = iter(images)

        def get_next(self) -> Any:
            return next(self.left, None)

    kind = {"minmax": CalibrationMethod.MinMax, "entropy": CalibrationMethod.Entropy}.get(
        method, CalibrationMethod.Percentile
    )
    augmented = str(path.with_name("augmented.onnx"))
    calibrator = create_calibrator(path, None, augmented_model_path=augmented, calibrate_method=kind)
    calibrator.collect_data(Reader())
    return len(calibrator.compute_data().keys())


TOOLS: dict[str, Callable[[Path, str, Images], int]] = {"compress": by_compress, "onnxruntime": by_onnxruntime}


def main(folder: Path) -> dict[str, Any]:
    """Calibrate as the request says."""
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[0]})
    run = TOOLS[request["tool"]]
    with contextlib.redirect_stdout(sys.stderr):  # the runtime's calibrators print
        run(folder / "model.onnx", request["method"], Images(1))  # imports are paid here
        images = Images(request["images"])
        reset_peak()
        before, start, cpu = resident(), time.perf_counter(), time.process_time()
        tensors = run(folder / "model.onnx", request["method"], images)
        seconds = time.perf_counter() - start - images.seconds
        cpu_seconds = time.process_time() - cpu - images.cpu_seconds
    peak = resident_peak()
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_rss_bytes": peak,
        "grown_bytes": max(0, peak - before),
        "tensors": tensors,
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
