"""What `run` and `demo` leave behind: every step's model, the ledger, the measurements, and the page."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.benchmark import benchmark
from benchmarks.documents import now
from benchmarks.flips import Flips, find_flips
from benchmarks.record import BenchmarkResult
from benchmarks.report import write_report
from compress.base import Progress
from compress.console import plain
from compress.ledger import Ledger, Step
from export.files import whole_folder
from export.save import save
from export.stepped import any_batch
from models.records import Task


def write_run(
    folder: str | Path,
    walked: Sequence[Step],
    ledger: Ledger,
    *,
    title: str,
    command: str,
    task: Task | None = None,
    controls: int = 0,
    findings: Sequence[str] = (),
    seconds: float = 1.0,
    not_the_same_as: Sequence[str | Path] = (),
    progress: Progress | None = None,
) -> Path:
    """Write the models, ledger.json, benchmark.json, flips.json and report.html, all of them or none.

    Args:
        folder: made where it is missing; files of the same names are replaced, others stay.
        walked: the steps; the last `controls` of them are no steps of the chain but stand beside it.
        ledger: a line for each.
        title: of the page.
        command: what was typed.
        task: shows the inputs whose decision flipped.
        controls: how many steps at the end stand beside the chain.
        findings: sentences that the page opens with.
        seconds: of timing for each model in benchmark.json.
        not_the_same_as: inputs, which are never overwritten.
        progress: told how far the measuring is.

    Returns:
        The page.
    """
    chain = walked[: len(walked) - controls]
    shipped = [dataclasses.replace(step.shipped, name=f"{number} {step.name}") for number, step in enumerate(walked)]
    ends = [shipped[0], shipped[len(chain) - 1], *shipped[len(chain) :]]
    models = ends if len(chain) > 1 else ends[1:]
    measured = benchmark(models, threads=ledger.threads, seconds=seconds, progress=progress)
    flips = _flips(task, chain)
    with whole_folder(folder, not_the_same_as=not_the_same_as) as part:
        for number, step in enumerate(walked):
            stem = stem_of(number, step)
            save(step.shipped, part / f"{stem}.onnx")
            if not step.model.is_onnx and number:
                save(step.model, part / f"{stem}.pt")
            if step.outcome is not None and step.outcome.decisions is not None:
                _write_json(part / f"{stem}.decisions.json", step.outcome.decisions)
        _write_documents(part, ledger, measured, flips, title, command, controls, findings)
        write_report(part)
    return Path(folder) / "report.html"


def stem_of(number: int, step: Step) -> str:
    """The name of a step's files in its folder, without the suffix: 2-prune."""
    return f"{number}-{step.name.replace(' ', '-')}"


def _flips(task: Task | None, chain: Sequence[Step]) -> Flips | None:
    if task is None or len(chain) < 2:
        return None
    first, last = chain[0].shipped, chain[-1].shipped
    return find_flips(task, first, any_batch(first), any_batch(last))


def _write_documents(
    folder: Path,
    ledger: Ledger,
    measured: BenchmarkResult,
    flips: Flips | None,
    title: str,
    command: str,
    controls: int,
    findings: Sequence[str],
) -> None:
    document = plain(ledger)
    lines = document.pop("steps")
    end = len(lines) - controls
    document |= {"title": title, "command": command, "made": now(), "findings": list(findings)}
    _write_json(folder / "ledger.json", document | {"steps": lines[:end], "controls": lines[end:]})
    _write_json(folder / "benchmark.json", measured.document())
    if flips is not None:
        _write_json(folder / "flips.json", dataclasses.asdict(flips))


def _write_json(path: Path, document: Any) -> None:
    path.write_text(json.dumps(plain(document), indent=1, allow_nan=False), encoding="utf-8")
