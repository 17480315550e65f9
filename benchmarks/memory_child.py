"""The process in which one model's memory is read: a script of its own that loads ONNX Runtime and nothing of ours.

Takes a folder with `request.json`, `blank.onnx`, `model.onnx` and `inputs.npz`; prints one JSON document.
"""

import json
import signal
import sys
import time
from pathlib import Path


def main(folder: Path) -> dict[str, object]:
    """Load the model, run it once, and say what that took."""
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    if hasattr(signal, "alarm"):
        signal.alarm(request["give_up_s"])  # ends this process even where its parent has been killed
    import numpy as np
    import onnxruntime as ort

    if request["preload"] and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()
    options = ort.SessionOptions()
    options.intra_op_num_threads = request["threads"]
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    with np.load(folder / "inputs.npz") as file:
        inputs = {name: file[stored] for name, stored in zip(request["inputs"], file.files, strict=True)}
    # the runtime's own start is paid here, so that what follows is the model's share
    blank = ort.InferenceSession(str(folder / "blank.onnx"), options, providers=request["providers"])
    blank.run(None, {"x": np.zeros(1, np.float32)})

    reset_peak()
    before = resident()
    start = time.perf_counter_ns()
    session = ort.InferenceSession(
        str(folder / "model.onnx"), options, providers=request["providers"], disabled_optimizers=request["left_out"]
    )
    loaded = time.perf_counter_ns()
    session.run(None, inputs)
    ran = time.perf_counter_ns()
    peak = resident_peak()
    return {
        "peak_rss_bytes": peak,
        "model_rss_bytes": max(0, peak - before),
        "load_ms": (loaded - start) / 1e6,
        "first_run_ms": (ran - loaded) / 1e6,
    }


def reset_peak() -> None:
    """Let the peak start anew from what is resident now; where that is not allowed, it holds the start's own peak."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        pass


def resident() -> int:
    """Bytes of memory this process holds now."""
    if (status := linux_status()) is not None:
        return status["VmRSS"]
    import psutil

    return int(psutil.Process().memory_info().rss)


def resident_peak() -> int:
    """The most bytes this process has held."""
    if (status := linux_status()) is not None:
        return status["VmHWM"]
    import psutil

    info = psutil.Process().memory_info()
    if hasattr(info, "peak_wset"):  # Windows
        return int(info.peak_wset)
    import resource

    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # macOS counts bytes


def linux_status() -> "dict[str, int] | None":
    """Bytes by name from /proc/self/status, or None where it does not tell (other systems)."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    found = {
        key: int(value.split()[0]) * 1024 for key, _, value in (line.partition(":") for line in lines) if "kB" in value
    }
    return found if {"VmRSS", "VmHWM"} <= set(found) else None


if __name__ == "__main__":
    try:
        answer = main(Path(sys.argv[1]))
    except Exception as error:
        answer = {"error": (str(error).splitlines() or [type(error).__name__])[0]}
    print(json.dumps(answer))
