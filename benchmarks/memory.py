"""Memory of one model, read in a fresh process that loads ONNX Runtime and nothing else. Imports no torch.

Counted is what the system holds in memory for the process (resident set, Linux's VmRSS and its peak VmHWM), host memory
only. The runtime first loads and runs a blank model; then the peak is reset and the model is loaded from its file and
run once. `peak_rss_bytes` is the peak from there on, Python and the runtime's code among it (some 60 MB);
`model_rss_bytes` is how far that peak lies above what was held before loading: weights, the runtime's copies of them,
activations, and the code of the kernels the model is first to use. Pages are counted, so models under about 100 KB
cannot be told apart.
"""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from export.onnx_file import write
from export.session import PROVIDERS, Provider, crashing_fusions
from models.errors import CompressError
from models.records import Arrays, Model

_CHILD = Path(__file__).with_name("memory_child.py")


@dataclass(frozen=True, kw_only=True)
class MemoryUse:
    """What loading and one run took in a fresh process; the module says what is counted."""

    peak_rss_bytes: int
    model_rss_bytes: int
    load_ms: float
    first_run_ms: float


def memory_of(
    model: Model, inputs: Arrays, *, provider: Provider = "cpu", threads: int = 1, timeout_s: float = 300
) -> MemoryUse:
    """Load an ONNX model in a fresh process, run it once, and read its memory there; after timeout_s it is ended.

    Raises:
        CompressError: the process failed, was killed, or took longer.
    """
    who = f"benchmark: reading the memory of model {model.name!r}"
    order = list(PROVIDERS.values())
    request = {
        "threads": threads,
        "inputs": list(inputs),  # apart from the arrays, so that an input may have any name
        "providers": list(reversed(order[: order.index(PROVIDERS[provider]) + 1])),
        "preload": provider != "cpu",
        "left_out": crashing_fusions(model) if provider == "cpu" else [],
        "give_up_s": math.ceil(timeout_s) + 10,
    }
    with tempfile.TemporaryDirectory(prefix="compress-") as name:
        folder = Path(name)
        (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        (folder / "blank.onnx").write_bytes(_blank())
        write(replace(model, forms={}, sample=None), folder / "model.onnx")
        np.savez(folder / "inputs.npz", *inputs.values())
        return MemoryUse(**ask([sys.executable, "-P", str(_CHILD), str(folder)], who=who, timeout_s=timeout_s))


def ask(command: Sequence[str], *, who: str, timeout_s: float) -> dict[str, Any]:
    """The JSON document that a child process prints; it never outlives the call.

    Raises:
        CompressError: it took too long, was killed, failed, or named an error in its document.
    """
    try:
        child = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise CompressError(f"{who} took longer than {timeout_s:g} s and was ended.") from None
    except OSError as error:
        raise CompressError(f"{who}: no process could be started ({error.strerror}).") from None
    if child.returncode < 0:
        number = -child.returncode
        known = signal.Signals(number).name if number in {s.value for s in signal.Signals} else f"signal {number}"
        hint = ": most likely the machine ran out of memory" if known == "SIGKILL" else ""
        raise CompressError(f"{who}: its process was ended by {known}{hint}.")
    try:
        answer: dict[str, Any] = json.loads(child.stdout)
    except ValueError:
        last = (child.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise CompressError(f"{who}: its process failed with status {child.returncode} ({last}).") from None
    if "error" in answer:
        raise CompressError(f"{who}: {answer['error']}")
    return answer


def _blank() -> bytes:
    """A model of one Identity, of the oldest opset and IR version that every runtime here takes."""
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "blank", value[:1], value[1:])
    blank = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    data: bytes = blank.SerializeToString()
    return data
