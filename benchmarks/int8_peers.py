"""Int8 by ONNX Runtime's own tools and by NNCF, each as its users with care do it: one graph at a time, minmax ranges.

ONNX Runtime quantizes what its own `quant_pre_process` has prepared. NNCF runs in another interpreter: it is no
dependency of ours, and its dependencies need not be ours.
"""

from __future__ import annotations

import json
import logging
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from models.errors import CompressError
from models.records import Arrays

_QDQ, _OPERATORS = QuantFormat.QDQ, QuantFormat.QOperator
_S8, _U8 = QuantType.QInt8, QuantType.QUInt8
STATIC: Mapping[str, Mapping[str, Any]] = {
    "ort default": {"quant_format": _QDQ, "activation_type": _S8, "weight_type": _S8},
    "ort u8s8": {"quant_format": _QDQ, "activation_type": _U8, "weight_type": _S8, "per_channel": True},
    "ort u8s8 reduced": {
        "quant_format": _QDQ,
        "activation_type": _U8,
        "weight_type": _S8,
        "per_channel": True,
        "reduce_range": True,
    },
    "ort u8u8": {"quant_format": _QDQ, "activation_type": _U8, "weight_type": _U8, "per_channel": True},
    "ort qoperator": {"quant_format": _OPERATORS, "activation_type": _U8, "weight_type": _S8, "per_channel": True},
}
_NNCF_CHILD = Path(__file__).with_name("int8_nncf_child.py")
_NNCF_S = 900  # more than that nobody waits for a network of this size


class _Samples(CalibrationDataReader):  # type: ignore[misc]  # the package is untyped
    def __init__(self, batches: Sequence[Arrays]) -> None:
        self.left = iter(batches)

    def get_next(self) -> Any:
        return next(self.left, None)


def static_by_onnxruntime(model: Path, output: Path, batches: Sequence[Arrays], settings: Mapping[str, Any]) -> str:
    """One graph in static int8; gives what a reader must know of how."""
    with _quiet(), tempfile.TemporaryDirectory(prefix="compress-") as folder:
        prepared, how = _prepared(model, Path(folder))
        reader = _Samples(batches)
        quantize_static(prepared, output, reader, calibrate_method=CalibrationMethod.MinMax, **settings)
    return how


def dynamic_by_onnxruntime(model: Path, output: Path, weights: QuantType = _S8) -> str:
    """One graph in dynamic int8, signed weights."""
    with _quiet(), tempfile.TemporaryDirectory(prefix="compress-") as folder:
        prepared, how = _prepared(model, Path(folder))
        quantize_dynamic(prepared, output, weight_type=weights, per_channel=True)
    return how


def _prepared(model: Path, folder: Path) -> tuple[Path, str]:
    """The graph as ONNX Runtime's users are told to prepare it; with less of it where that fails."""
    prepared = folder / "prepared.onnx"
    try:
        quant_pre_process(model, prepared)
        return prepared, ""
    except Exception:
        quant_pre_process(model, prepared, skip_symbolic_shape=True)
        return prepared, "pre-processed without symbolic shapes, which fail"


@contextmanager
def _quiet() -> Iterator[None]:
    """Without its warnings: to prepare what is being prepared, and that a norm's weights have no channels."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def by_nncf(interpreter: str, model: Path, output: Path, batches: Sequence[Arrays]) -> str:
    """One graph by `nncf.quantize`, in the interpreter that has it; gives its version.

    Raises:
        CompressError: it does not import there, fails, or takes too long.
    """
    with tempfile.TemporaryDirectory(prefix="compress-") as folder:
        samples = Path(folder) / "samples.npz"
        arrays = {f"{number}/{name}": array for number, batch in enumerate(batches) for name, array in batch.items()}
        np.savez(samples, **arrays)  # type: ignore[arg-type]  # numpy has further keywords of its own
        command = [interpreter, "-I", str(_NNCF_CHILD), str(model), str(samples), str(output)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_NNCF_S, check=False)
        except subprocess.TimeoutExpired:
            raise CompressError(f"no answer in {_NNCF_S} s") from None
        except OSError as error:
            raise CompressError(f"{interpreter!r} cannot be started: {error.strerror}") from None
    if done.returncode:
        raise CompressError(_last_line(done.stderr) or f"the process ended with status {done.returncode}")
    return f"nncf {json.loads(done.stdout.splitlines()[-1])['version']}"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
