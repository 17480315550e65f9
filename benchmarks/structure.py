"""What pruning gives and costs on trained networks, each against its own folded fp32 ONNX.

    python -m benchmarks.structure [CASE ...] [--about results] [--list] [-o benchmarks/results/structure.json]

Each cell is scored on test, the difference paired by samples; decided anew where the original decides (flips); timed by
turns with the original in one process. Cells that are there already for the same weights and passes are kept, so a run
that was stopped goes on where it was, also in the midst of a training. `--retime` times the models again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.documents import made_by, now, write
from benchmarks.matrix import Subject, speeds, subject, weights_hash
from benchmarks.structure_cases import CASES, RESULTS, Case
from benchmarks.structure_page import page
from compress import checkpoints
from compress.base import Pass
from compress.ledger import lost
from compress.quantization.field import size
from compress.quantization.loss import points
from compress.recipe import fields_of, steps
from export.cost import cost
from export.machine import machine
from export.onnx_file import read
from export.save import save, shipped
from export.session import onnx_runner
from export.stopwatch import Stopwatch
from export.wrap import from_entry
from models import find
from models.errors import CompressError
from models.intervals import bootstrap
from models.records import Model, Runner, Score, Task

RESULT = Path(__file__).parent / "results" / "structure.json"
KEPT = Path(__file__).parents[1] / ".matrix"  # beside the matrix's models


def measure(case: Case, at_hand: Subject, passes: Sequence[Pass]) -> dict[str, Any]:
    """One cell: the passes run, the result exported, scored, counted and timed; or the reason of a refusal."""
    began = time.perf_counter()
    file = kept(case.name, at_hand.seed)
    context = replace(at_hand.context, checkpoint=file.with_suffix(".training.pt"), resume=True)
    try:
        outcomes = list(steps(passes, at_hand.model, context))
    except CompressError as refusal:
        return {"refused": str(refusal)}
    made = shipped(outcomes[-1].model)
    save(made, file)
    checkpoints.remove(file.with_suffix(".training.pt"), passes)
    facts = {key: value for outcome in outcomes for key, value in outcome.facts.items() if key in ("chosen", "steps")}
    before, after = cost(at_hand.float_), cost(made)
    return {
        **scores(at_hand, made),
        "parameters": after.parameters,
        "parameters_before": before.parameters,
        "macs": after.macs,
        "macs_before": before.macs,
        "bytes": size(made),
        "bytes_before": size(at_hand.float_),
        "speed": speeds(at_hand.float_, made, at_hand.watch),
        "seconds": round(time.perf_counter() - began, 1),
        **facts,
    }


def scores(at_hand: Subject, made: Model) -> dict[str, Any]:
    """What is lost, with its interval; how many decisions are other ones; bits for each decision, where there are."""
    task = at_hand.task
    one, other = onnx_runner(at_hand.float_), onnx_runner(made)
    found = in_points(task, at_hand.score, task.score(other, "test"))
    alike = task.score(other, "test", one)
    return {
        **found,
        "flips": 1 - alike.value,
        "flips_low": 1 - alike.high,
        "flips_high": 1 - alike.low,
        **bits(task, one, other),
    }


def in_points(task: Task, before: Score, after: Score) -> dict[str, Any]:
    """Two scores and the points between them, with the 95 % interval of the paired difference."""
    drop, low, high = lost(task, before, after)
    dropped = points(before, after)
    scale = dropped / drop if drop else 0.0
    return {
        "unit": before.unit,
        "before": before.value,
        "after": after.value,
        "points": dropped + 0.0,  # no -0
        "points_low": scale * low + 0.0,
        "points_high": scale * high + 0.0,
        "samples": after.n,
    }


def bits(task: Task, before: Runner, after: Runner) -> dict[str, float]:
    """Mean surprise at the true class in bits and its relative rise, paired by rows; {} where there are no classes."""
    rows: list[list[float]] = []
    for inputs, target in task.test:  # type: ignore[attr-defined]
        truth = np.asarray(target)
        surprises = []
        for run in (before, after):
            logits = np.asarray(next(iter(run(inputs).values())), np.float64)
            if not np.issubdtype(truth.dtype, np.integer) or logits.shape[:-1] != truth.shape:
                return {}
            logits = logits - logits.max(-1, keepdims=True)
            probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
            counts = truth >= 0
            chosen = np.take_along_axis(probabilities, np.where(counts, truth, 0)[..., None], -1)[..., 0]
            surprises.append(np.where(counts, -chosen / np.log(2), 0.0).reshape(len(truth), -1).sum(1))
        number = (truth >= 0).reshape(len(truth), -1).sum(1)
        rows += np.stack([*surprises, number], axis=1).tolist()
    samples = np.array(rows)
    total = samples.sum(0)
    low, high = bootstrap(lambda counts: (counts @ samples[:, 1]) / (counts @ samples[:, 0]) - 1, len(samples))
    return {
        "bits_before": total[0] / total[2],
        "bits_after": total[1] / total[2],
        "bits": total[1] / total[0] - 1,
        "bits_low": low,
        "bits_high": high,
    }


def kept(name: str, seed: int) -> Path:
    """Where the model of a cell lies."""
    KEPT.mkdir(exist_ok=True)
    return KEPT / f"structure.{name.replace(', ', '.').replace(' ', '-')}.{seed}.onnx"


def missing(document: Mapping[str, Any], cases: Sequence[Case]) -> Iterator[tuple[Case, int, tuple[Pass, ...]]]:
    """The cases, seeds and passes that are not measured yet, or for other weights or passes."""
    for case in cases:
        for seed in case.seeds:
            passes = case.passes if isinstance(case.passes, tuple) else case.passes(document["cells"])
            cell = document["cells"].get(f"{case.name}, seed {seed}", {})
            if cell.get("fingerprint") != fingerprint(case, passes):
                yield case, seed, passes


def fingerprint(case: Case, passes: Sequence[Pass]) -> str:
    """Of what a cell depends on: the weights, and the settings that are not the defaults."""
    return f"{weights_hash(case.model)} {' > '.join(map(_asked, passes))}"


def _asked(step: Pass) -> str:
    default = fields_of(type(step)())
    own = {key: value for key, value in fields_of(step).items() if value != default[key]}
    return " ".join([step.name, *(f"{key}={value}" for key, value in own.items())])


def run(cases: Sequence[Case], output: Path) -> dict[str, Any]:
    """Measure what is missing, and write the document and its page after each cell."""
    document: dict[str, Any] = {"schema": 1, "cells": {}}
    if output.exists():
        document = json.loads(output.read_text(encoding="utf-8"))
    for case, seed, passes in missing(document, cases):
        at_hand = subject(find(case.model), seed=seed)
        cell = measure(case, at_hand, passes)
        document["cells"][f"{case.name}, seed {seed}"] = cell | {
            "model": case.model,
            "passes": [repr(step) for step in passes],
            "fingerprint": fingerprint(case, passes),
            **made_by(f"python -m benchmarks.structure {case.name!r}"),
        }
        write(document, output, page(document, CASES))
        print(f"{case.name}, seed {seed}: {_said(cell)}", file=sys.stderr, flush=True)
    write(document, output, page(document, CASES))
    return document


def retime(cases: Sequence[Case], output: Path) -> dict[str, Any]:
    """Time the cells' models again, on a machine that is quiet now, and leave all else as it is."""
    document: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    for case in cases:
        for seed in case.seeds:
            cell, file = document["cells"].get(f"{case.name}, seed {seed}", {}), kept(case.name, seed)
            if "speed" not in cell or not file.exists():
                continue
            watch = Stopwatch(seconds=1.0, threads=1, seed=seed)
            speed = speeds(shipped(from_entry(find(case.model))), read(file), watch)
            cell |= {"speed": speed, "machine": machine(), "timed": now()}
            write(document, output, page(document, CASES))
            print(f"{case.name}, seed {seed}: {_said(cell)}", file=sys.stderr, flush=True)
    return document


def _said(cell: Mapping[str, Any]) -> str:
    if "refused" in cell:
        return f"refused: {cell['refused']}"
    return (
        f"{cell['before']:.4f} -> {cell['after']:.4f} {cell['unit']}, flips {cell['flips']:.2%}, "
        f"{cell['bytes_before'] / cell['bytes']:.1f}x smaller, {cell['speed']['main']['speedup']:.2f}x"
    )


def main(args: Sequence[str] | None = None) -> None:
    """Measure the cases named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help="all when none is named; see --list")
    parser.add_argument("--about", choices=["results", "ablations"], help="those alone")
    parser.add_argument("--list", action="store_true", help="print the cases and stop")
    parser.add_argument("--retime", action="store_true", help="only time the models of the cells again")
    parser.add_argument("-o", "--output", type=Path, default=RESULT, help="the document; its page lies beside it")
    given = parser.parse_args(args)
    by_name = {case.name: case for case in CASES}
    if given.list:
        print("\n".join(by_name))
        return
    for name in given.cases:
        if name not in by_name:
            parser.error(f"no case named {name!r}; there are {'; '.join(by_name)}")
    wanted = [by_name[name] for name in given.cases] or list(CASES)
    if given.about:
        wanted = [case for case in wanted if (case in RESULTS) == (given.about == "results")]
    (retime if given.retime else run)(wanted, given.output)
    print(given.output.with_suffix(".md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
