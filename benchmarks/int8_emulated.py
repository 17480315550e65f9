"""What the files of the comparison answer on a processor that is not at hand, emulated: outputs, never speed."""

from __future__ import annotations

import json
import subprocess
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
from models.records import Arrays, Model

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


def emulated(wanted: Sequence[tuple[str, Path]], python: Sequence[str]) -> dict[str, float | None]:
    """SQNR in dB of each model, by the name it is given here, against the float model on this processor.

    Args:
        wanted: names and files; beside each lies what `keep` wrote.
        python: that runs on the other processor, as `emulators.command` gives it.
    """
    with tempfile.TemporaryDirectory(prefix="compress-") as name:
        folder = Path(name)
        jobs = [
            {"model": str(file), "inputs": str(file.with_name(_INPUTS)), "outputs": str(folder / f"{number}.npz")}
            for number, (_, file) in enumerate(wanted)
        ]
        (folder / "jobs.json").write_text(json.dumps(jobs), encoding="utf-8")
        subprocess.run([*python, "-I", str(_CHILD), str(folder / "jobs.json")], check=False)
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


def missing(
    document: Mapping[str, Any], names: Sequence[str], kept: Path, processor: str
) -> list[tuple[str, str, Path]]:
    """(network, variant, file) of the cells that were measured and not emulated on a processor yet."""
    return [
        (name, variant, file)
        for name in names
        for variant, cell in document["networks"].get(name, {}).get("cells", {}).items()
        if "refused" not in cell and processor not in cell.get("emulated_db", {})
        if (file := file_of(kept, name, variant)).is_file() and file.with_name(_INPUTS).is_file()
    ]


def file_of(kept: Path, name: str, variant: str) -> Path:
    """Where the model of a cell lies."""
    return kept / name.replace(" ", "-") / f"{variant.replace(', ', '.').replace(' ', '-')}.onnx"
