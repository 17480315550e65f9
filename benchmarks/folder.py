"""What `run` and `demo` leave in a folder: the models, the ledger, the benchmark, the flipped decisions, the page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.benchmark import benchmark
from benchmarks.flips import find_flips
from benchmarks.report import write_report
from compress.base import Progress
from compress.console import plain
from compress.ledger import Ledger, Step
from export.save import save
from export.session import onnx_runner
from models.records import Model, Task


def write_folder(
    folder: Path,
    walked: Sequence[Step],
    ledger: Ledger,
    task: Task | None,
    *,
    threads: int = 1,
    seed: int = 0,
    facts: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> None:
    """Fill the folder: `N-PASS.onnx` (and `.pt`) of every step, ledger.json, benchmark.json, flips.json, report.html.

    Args:
        folder: an empty one, such as `export.files.whole_folder` gives.
        walked: the steps that the ledger judges; the benchmark holds the last against the first.
        ledger: their lines.
        task: shows the inputs whose decision flipped; None leaves them out.
        threads: for the benchmark.
        seed: of the order of its turns.
        facts: what the ledger's document says beside its lines: title, command, findings, controls.
        progress: told what is being done.
    """
    for number, step in enumerate(walked):
        save(step.shipped, folder / f"{number}-{step.name}.onnx")
        if not step.model.is_onnx:
            save(step.model, folder / f"{number}-{step.name}.pt")
    _write(folder / "ledger.json", {**plain(ledger), **(facts or {})})
    ends = [walked[0], walked[-1]] if len(walked) > 1 else list(walked)
    measured = benchmark([_named(step) for step in ends], threads=threads, seed=seed, progress=progress)
    _write(folder / "benchmark.json", measured.document())
    if task is not None and task.labels and next(iter(task.test))[1] is not None and len(walked) > 1:
        before, after = (onnx_runner(step.shipped) for step in ends)
        if (flips := find_flips(task, walked[0].model, before, after)) is not None:
            _write(folder / "flips.json", flips)
    write_report(folder)


def _named(step: Step) -> Model:
    return replace(step.shipped, name=step.name)


def _write(path: Path, document: Any) -> None:
    path.write_text(json.dumps(plain(document), indent=1, ensure_ascii=False), encoding="utf-8")
