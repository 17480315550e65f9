"""What the files of the comparison answer on a processor that is not at hand, emulated: outputs, never speed."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.int8_case import Case, finite
from compress.quantization.calibration_data import cut, shared_rows
from export.forms import MAIN
from export.parity import sqnr_db
from export.session import onnx_runner
from models.errors import UsageError
from models.records import Arrays, Model

HASWELL = "qemu-x86_64 -cpu Haswell"  # AVX2 alone, as field tests of real ones agree
_CHILD = Path(__file__).with_name("int8_emulated_child.py")
_ROWS = 8  # an emulated processor is slow
_INPUTS, _EXPECTED = "shown.npz", "expected.npz"


def keep(case: Case, folder: Path) -> None:
    """Write what the emulated processor is shown, a few samples, and what the float model says to them."""
    inputs = case.shown[MAIN][0]
    few = cut(inputs, slice(0, _ROWS)) if shared_rows(inputs, case.float_.inputs) == 0 else inputs
    keep_arrays(case.float_, few, folder)


def keep_arrays(model: Model, inputs: Arrays, folder: Path) -> None:
    """The same for a float model and the inputs to show."""
    np.savez(folder / _INPUTS, **inputs)  # type: ignore[arg-type]  # numpy has further keywords of its own
    np.savez(folder / _EXPECTED, **onnx_runner(model)(inputs))  # type: ignore[arg-type]


def emulated(wanted: Sequence[tuple[str, Path]], command: str = HASWELL) -> dict[str, float | None]:
    """SQNR in dB of each model, by the name it is given here, against the float model on this processor.

    Args:
        wanted: names and files; beside each lies what `keep` wrote.
        command: that runs a program of this processor's on another one.

    Raises:
        UsageError: there is no such command.
    """
    emulator, *options = shlex.split(command)
    if shutil.which(emulator) is None:
        raise UsageError(
            f"--emulate: there is no {emulator!r} here. Debian has it in qemu-user: apt-get install qemu-user"
        )
    with tempfile.TemporaryDirectory(prefix="compress-") as name:
        folder = Path(name)
        jobs = [
            {"model": str(file), "inputs": str(file.with_name(_INPUTS)), "outputs": str(folder / f"{number}.npz")}
            for number, (_, file) in enumerate(wanted)
        ]
        (folder / "jobs.json").write_text(json.dumps(jobs), encoding="utf-8")
        child = [emulator, *options, sys.executable, "-I", str(_CHILD), str(folder / "jobs.json")]
        subprocess.run(child, check=False)
        return {
            told: _noise(file.with_name(_EXPECTED), Path(job["outputs"]))
            for (told, file), job in zip(wanted, jobs, strict=True)
        }


def _noise(expected: Path, found: Path) -> float | None:
    """The lowest of all outputs; -1000 where there are none, None where nothing differs."""
    if not found.is_file():
        return -1000.0
    with np.load(expected) as one, np.load(found) as other:
        return finite(min(sqnr_db(one[name], other[name]) for name in one.files))


def missing(document: Mapping[str, Any], names: Sequence[str], kept: Path) -> list[tuple[str, str, Path]]:
    """(network, variant, file) of the cells that were measured and not emulated yet."""
    return [
        (name, variant, file)
        for name in names
        for variant, cell in document["networks"].get(name, {}).get("cells", {}).items()
        if "refused" not in cell and "emulated_db" not in cell
        if (file := file_of(kept, name, variant)).is_file() and file.with_name(_INPUTS).is_file()
    ]


def file_of(kept: Path, name: str, variant: str) -> Path:
    """Where the model of a cell lies."""
    return kept / name.replace(" ", "-") / f"{variant.replace(', ', '.').replace(' ', '-')}.onnx"
