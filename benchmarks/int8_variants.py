"""The ways in which a network becomes int8 here, ours and the peers': each writes a file, and one for each form."""

from __future__ import annotations

import functools
import hashlib
import inspect
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import onnxruntime as ort
from onnxruntime.quantization import QuantType

from benchmarks import int8_nncf_child, int8_peers
from benchmarks.int8_case import SAMPLES, Case
from benchmarks.int8_peers import STATIC, by_nncf, dynamic_by_onnxruntime, static_by_onnxruntime
from compress.base import Context
from compress.quantization.quantize import Quantize
from export.onnx_file import write
from export.save import shipped
from export.session import onnx_runner
from export.stopwatch import Stopwatch
from models.errors import CompressError
from models.records import Arrays

NNCF = "nncf"
DYNAMIC = "ort dynamic"


@dataclass(frozen=True, kw_only=True)
class Ours:
    """Our own `quantize --mode auto`, as a user calls it."""

    device: str = "any"
    prefer: Literal["speed", "size"] = "speed"

    def make(self, case: Case, output: Path, how: How) -> dict[str, Any]:
        """Write the model; what it says of itself is given back."""
        context = Context(
            task=case.task,
            calibration=case.calibration,
            device=self.device,
            measure=Stopwatch(seconds=how.seconds, threads=1),
        )
        outcome = Quantize(mode="auto", prefer=self.prefer, samples=SAMPLES)(case.float_, context)
        write(shipped(outcome.model), output)
        return {key: outcome.facts[key] for key in ("chosen", "why") if key in outcome.facts}


@dataclass(frozen=True, kw_only=True)
class How:
    """What is the same for all variants of a run.

    Args:
        seconds: of the stopwatch that ours decides by, for each candidate.
        nncf: the interpreter that has NNCF; "" where there is none.
        float_: the file of the float model; its further forms lie beside it.
    """

    seconds: float
    nncf: str
    float_: Path


OURS: Mapping[str, Ours] = {
    "ours, any": Ours(),
    "ours, cpu": Ours(device="cpu"),
    "ours, size": Ours(prefer="size"),
}
PEERS = (*STATIC, DYNAMIC, NNCF)
VARIANTS = (*OURS, *PEERS)


def make(variant: str, case: Case, output: Path, how: How) -> dict[str, Any]:
    """Write the variant of a network, and give the seconds that took and what is to be known of it.

    Raises:
        CompressError: it could not be made, or does not run; the reason of whichever tool.
    """
    samples = case.calibrated_on if variant in PEERS else {}  # a peer's user has them: the time is not the peer's
    began = time.perf_counter()
    try:
        if variant in OURS:
            facts = OURS[variant].make(case, output, how)
        else:
            facts = _by_peer(variant, output, how, samples)
        onnx_runner(case.loaded(output))
    except CompressError:
        raise
    except Exception as error:  # a library's, which raises anything
        raise CompressError(f"{type(error).__name__}: {_first_line(error)}") from error
    return {**facts, "seconds": round(time.perf_counter() - began, 2)}


def _by_peer(variant: str, output: Path, how: How, samples: Mapping[str, list[Arrays]]) -> dict[str, Any]:
    """Each form's graph apart; peers have no other way."""
    notes = {
        _graph(variant, _beside(how.float_, f), _beside(output, f), how, given): None for f, given in samples.items()
    }
    told = "; ".join(filter(None, notes))
    return {"note": told} if told else {}


def _graph(variant: str, model: Path, output: Path, how: How, batches: list[Arrays]) -> str:
    if variant == NNCF:
        if not how.nncf:
            raise CompressError("no interpreter with NNCF was named: --nncf-python PATH")
        return by_nncf(how.nncf, model, output, batches)
    if variant in STATIC:
        return static_by_onnxruntime(model, output, batches, STATIC[variant])
    note = dynamic_by_onnxruntime(model, output)
    if _runs(output):
        return note
    note = dynamic_by_onnxruntime(model, output, QuantType.QUInt8)  # ConvInteger takes no signed weights
    return "; ".join(filter(None, (note, "weights u8: s8 does not run")))


def _beside(path: Path, form: str) -> Path:
    return path if form == "main" else path.with_name(f"{path.stem}.{form}.onnx")


def _runs(path: Path) -> bool:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception:
        return False
    return True


@functools.cache
def _sources(*files: Path) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def made_with(variant: str, how: How) -> str:
    """Of what a variant depends on besides the network: the code that makes it, and its settings."""
    if variant in OURS:
        engine = sorted(Path(inspect.getfile(Quantize)).parent.glob("*.py"))
        return f"{OURS[variant]!r} {_sources(*engine)} {how.seconds:g} s"
    modules = (int8_peers, int8_nncf_child) if variant == NNCF else (int8_peers,)
    return f"{_sources(*(Path(inspect.getfile(module)) for module in modules))} onnxruntime {ort.__version__}" + (
        "" if variant != NNCF or how.nncf else " without"
    )


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")
