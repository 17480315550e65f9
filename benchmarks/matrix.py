"""Every reference model through every pass, measured: a row a model, a column a pass.

    python -m benchmarks.matrix [MODEL ...] [--quick] [--columns int8,pruned] [-o benchmarks/results/matrix.json]

A cell holds the score before and after with the interval of their paired difference, bytes, and the speed of each graph
against its own folded fp32 ONNX, by turns in one process; or the reason why there is none. Cells that are there already
for the same weights and settings are kept, so a run that was stopped goes on where it was. The cells' models lie in
`.matrix`; `--retime` times them again. `--quick` trains nothing, scores a part of the test split, times for a moment,
and says in the columns that need training that it did not.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import compress
from benchmarks.documents import made_by, now, write
from benchmarks.matrix_page import page
from compress.base import Context, Outcome, Pass
from compress.distill import Distill
from compress.ledger import lost
from compress.pruning.prune import Prune
from compress.quantization.by_turns import timed
from compress.quantization.field import size
from compress.quantization.loss import points
from compress.quantization.quantize import Quantize
from compress.recipe import steps
from compress.training.feed import Feed
from export.cost import cost
from export.machine import machine
from export.onnx_file import read
from export.save import save, shipped
from export.session import onnx_runner
from export.stopwatch import Stopwatch
from export.wrap import from_entry
from models import WEIGHTS, ZOO, find
from models.errors import CompressError
from models.records import Arrays, Entry, Model, Runner, Score, Split, Task

RESULT = Path(__file__).parent / "results" / "matrix.json"
COLUMNS = ("int8", "pruned", "distilled", "alone", "chain")
TRAINED = COLUMNS[1:]
QUARTER = 0.27  # of the parameters, at most, for a student "of a quarter"
KEPT = Path(__file__).parents[1] / ".matrix"  # the models of the cells, so that they can be timed again
# Share of the steps the model was trained with, which a pass may use to recover or to teach; and up to how many
# multiply-adds of that training, in forward passes: without the smaller shares the matrix would take a day.
SHARES = ((0.3, 3e12), (0.1, 3e13), (0.04, math.inf))


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One reference model and what its cells have in common."""

    entry: Entry
    model: Model
    task: Task
    float_: Model
    score: Score
    watch: Stopwatch
    seed: int
    quick: bool = False

    @property
    def context(self) -> Context:
        """For the passes of this model."""
        return Context(task=self.task, teacher=self.model, device="cpu", measure=self.watch, seed=self.seed)


def subject(entry: Entry, *, quick: bool = False, seed: int = 0) -> Subject:
    """The trained model, its fp32 ONNX, and that one's score on test."""
    model, task = from_entry(entry), entry.task()
    if quick:
        task = Beginning(task)
    float_ = shipped(model)
    watch = Stopwatch(seconds=0.03 if quick else 1.0, threads=1, seed=seed)
    score = task.score(onnx_runner(float_), "test")
    return Subject(entry=entry, model=model, task=task, float_=float_, score=score, watch=watch, seed=seed, quick=quick)


def chain(column: str, subject: Subject) -> Sequence[Pass]:
    """The passes of a column, with as much training as the budget allows."""
    if column == "int8":
        return (Quantize(mode="auto"),)
    count = training_steps(subject)
    if column == "pruned":
        return (Prune(ratio=0.5, recover=count),)
    if column == "chain":
        return (Prune(ratio=0.5, recover=0), Distill(steps=count), Quantize(mode="auto"))
    return (Distill(width=quarter_width(subject), steps=count, alpha=0.0 if column == "alone" else 0.9),)


def quarter_width(subject: Subject) -> float:
    """The share of units at which a copy has about a quarter of the parameters."""
    share = 0.5
    for share in (0.5, 0.42, 0.34, 0.27, 0.2, 0.14):
        narrow = Prune(ratio=1 - share, recover=0)(subject.model, subject.context)
        if narrow.changed and narrow.facts["parameters"] <= QUARTER * narrow.facts["parameters_before"]:
            break
    return share


def measure(column: str, subject: Subject) -> dict[str, Any]:
    """One cell: the passes run, the result is exported, scored, counted and timed; or the reason of a refusal."""
    began = time.perf_counter()
    try:
        passes = chain(column, subject)
        begin = subject.float_ if column == "int8" else subject.model  # exported already
        outcomes = list(steps(passes, begin, subject.context))
    except CompressError as refusal:
        return {"refused": str(refusal)}
    changed = any(outcome.changed for outcome in outcomes)
    if not changed:
        return {"refused": _first_reason(outcomes)}
    made = shipped(outcomes[-1].model)
    save(made, kept(subject.entry.name, column, quick=subject.quick))
    score = subject.task.score(onnx_runner(made), "test")
    drop, low, high = lost(subject.task, subject.score, score)
    costs = cost(made)
    return {
        "passes": [repr(step) for step in passes],
        "unit": score.unit,
        "before": subject.score.value,
        "after": score.value,
        "after_low": score.low,
        "after_high": score.high,
        "samples": score.n,
        "lost": drop,
        "lost_low": low,
        "lost_high": high,
        "lost_points": points(subject.score, score),
        "bytes_before": size(subject.float_),
        "bytes": size(made),
        "parameters": costs.parameters,
        "macs": costs.macs,
        "speed": speeds(subject.float_, made, subject.watch),
        "seconds": round(time.perf_counter() - began, 1),
        **_facts(outcomes),
    }


def speeds(before: Model, after: Model, watch: Stopwatch) -> dict[str, dict[str, Any]]:
    """Speed of each form against the same form in float, by turns: a device runs some of them, training all at once."""
    return speeds_of({"float": before, "after": after}, Context(measure=watch))["after"]


def speeds_of(
    models: Mapping[str, Model], context: Context, data: Sequence[Arrays] = ()
) -> dict[str, dict[str, dict[str, Any]]]:
    """The same for any number of models, all by turns: each after the first against it, by form."""
    first, *others = models
    found: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in others}
    for form, timings in timed(models, context, data).items():
        for pair in timings.comparisons:
            found[pair.b][form] = {
                "speedup": pair.speedup,
                "low": pair.low,
                "high": pair.high,
                "verdict": pair.verdict,
                "before_ms": timings.timings[first].median_ms,
                "after_ms": timings.timings[pair.b].median_ms,
            }
    return found


def kept(name: str, column: str, *, quick: bool) -> Path:
    """Where the model of a cell lies."""
    KEPT.mkdir(exist_ok=True)
    return KEPT / f"{name}.{column}{'.quick' if quick else ''}.onnx"


def retime(names: Sequence[str], columns: Sequence[str], output: Path, *, seed: int = 0) -> dict[str, Any]:
    """Time the cells' models again, on a machine that is quiet now, and leave all else as it is."""
    document: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    watch = Stopwatch(seconds=1.0, threads=1, seed=seed)
    for name in (name for name in names if name in document["models"]):
        float_ = shipped(from_entry(find(name)))
        for column in columns:
            cell, file = document["models"][name]["cells"].get(column, {}), kept(name, column, quick=False)
            if "speed" not in cell or not file.exists():
                continue
            made = read(file)
            if size(made) != cell["bytes"]:
                print(f"{name} {column}: {file.name} is not the model of the cell, left alone", file=sys.stderr)
                continue
            cell |= {"speed": speeds(float_, made, watch), "machine": machine(), "timed": now()}
            write(document, output, page(document, ZOO, COLUMNS))
            print(f"{name} {column}: {_said(cell)}", file=sys.stderr, flush=True)
    return document


def training_steps(subject: Subject) -> int:
    """A share of the steps that the model was trained with, and 200 at least."""
    return max(200, int(share(subject.entry) * steps_of_training(subject.entry.name)))


def share(entry: Entry) -> float:
    """The share of a model's own training that a pass may use."""
    cost = steps_of_training(entry.name) * entry.training.batch_size * entry.macs
    return next(share for share, most in SHARES if cost <= most)


@functools.cache
def steps_of_training(name: str) -> int:
    """How many steps a reference model was trained with."""
    entry = find(name)
    training = entry.training
    names = [spec.name for spec in entry.inputs]
    train = entry.task(batch_size=training.batch_size).train
    return training.epochs * Feed(train, names, seed=0, device="cpu", alone=True).batches_per_epoch()


def _first_reason(outcomes: Sequence[Outcome]) -> str:
    for outcome in outcomes:
        for note in outcome.skipped:
            return f"{note.layer}: {note.text}" if note.layer else note.text
    return "no pass changed anything"


def _facts(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What the passes say of themselves, as far as a table of many wants it."""
    facts: dict[str, Any] = {}
    for outcome in outcomes:
        facts |= {key: outcome.facts[key] for key in ("chosen", "why", "steps") if key in outcome.facts}
    left = [note for note in outcomes[-1].skipped if note.layer]
    return {**facts, "layers_changed": len(outcomes[-1].changed), "layers_left": len(left)}


@dataclass(frozen=True)
class Beginning:
    """A task whose test and validation splits are their first batches alone, for a quick look."""

    task: Task
    batches: int = 2

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def score(self, runner: Runner, split: Split = "test", reference: Runner | None = None) -> Score:
        """The score of the part."""
        part: Any = getattr(self.task, split)
        head = _Head(part, self.batches)
        return replace(self.task, **{split: head}).score(runner, split, reference)  # type: ignore[type-var]


@dataclass(frozen=True)
class _Head:
    """The first batches of a split."""

    split: Any
    batches: int

    def __getattr__(self, name: str) -> Any:
        return getattr(self.split, name)

    def __iter__(self) -> Iterator[Any]:
        for number, batch in enumerate(self.split):
            if number == self.batches:
                return
            yield batch


def fingerprint(name: str, column: str, *, quick: bool, seed: int) -> str:
    """Of what a cell depends on: the weights, the version, the budget of training."""
    trains = column in TRAINED and not quick
    budget = f" {share(find(name)):g} of the steps, student <= {QUARTER:g}" if trains else ""
    return f"{weights_hash(name)} {compress.__version__} {column} seed={seed}{budget}{' quick' if quick else ''}"


def weights_hash(name: str) -> str:
    """Of a model's committed weights."""
    return hashlib.sha256((WEIGHTS / f"{name}.safetensors").read_bytes()).hexdigest()[:16]


def missing(
    document: Mapping[str, Any], names: Sequence[str], columns: Sequence[str], *, quick: bool, seed: int
) -> Any:
    """(model, columns) that are not measured yet, or for other weights or settings."""
    for name in names:
        cells = document["models"].get(name, {}).get("cells", {})
        wanted = [
            column
            for column in columns
            if cells.get(column, {}).get("fingerprint") != fingerprint(name, column, quick=quick, seed=seed)
        ]
        if wanted:
            yield name, wanted


def run(
    names: Sequence[str], columns: Sequence[str], output: Path, *, quick: bool = False, seed: int = 0
) -> dict[str, Any]:
    """Measure what is missing, and write the document and its page after each cell."""
    document: dict[str, Any] = {"schema": 1, "quick": quick, "models": {}}
    if output.exists():
        document = json.loads(output.read_text(encoding="utf-8"))
    for name, wanted in missing(document, names, columns, quick=quick, seed=seed):
        entry = find(name)
        at_hand = subject(entry, quick=quick, seed=seed)
        row = document["models"].setdefault(name, {"cells": {}})
        row |= {"section": entry.section, "unit": at_hand.score.unit, "parameters": entry.params}
        for column in wanted:
            if quick and column in TRAINED:
                cell: dict[str, Any] = {"refused": "needs training, and --quick does none"}
            else:
                cell = measure(column, at_hand)
            row["cells"][column] = cell | {
                "fingerprint": fingerprint(name, column, quick=quick, seed=seed),
                **made_by(f"python -m benchmarks.matrix {name} --columns {column}" + (" --quick" if quick else "")),
            }
            write(document, output, page(document, ZOO, COLUMNS))
            print(f"{name} {column}: {_said(cell)}", file=sys.stderr, flush=True)
    write(document, output, page(document, ZOO, COLUMNS))
    return document


def _said(cell: Mapping[str, Any]) -> str:
    if "refused" in cell:
        return f"refused: {cell['refused']}"
    main = cell["speed"]["main"]["speedup"]
    return f"{cell['before']:.4f} -> {cell['after']:.4f} {cell['unit']}, {cell['bytes']:,} bytes, {main:.2f}x"


def main(args: Sequence[str] | None = None) -> None:
    """Fill the matrix."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="all when none is named")
    parser.add_argument("--columns", default=",".join(COLUMNS), help=f"of {', '.join(COLUMNS)}")
    parser.add_argument("--quick", action="store_true", help="no training, a part of the test, a moment of timing")
    parser.add_argument("--retime", action="store_true", help="only time the models of the cells again")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, help="the document; its page lies beside it as .md")
    given = parser.parse_args(args)
    columns = given.columns.split(",")
    for kind, asked, known in (("model", given.models, ZOO), ("column", columns, COLUMNS)):
        if unknown := [name for name in asked if name not in known]:
            parser.error(f"no {kind} named {unknown[0]!r}; there are {', '.join(known)}")
    output = given.output or (RESULT.with_name("matrix_quick.json") if given.quick else RESULT)
    if given.retime:
        retime(given.models or list(ZOO), columns, output, seed=given.seed)
    else:
        run(given.models or list(ZOO), columns, output, quick=given.quick, seed=given.seed)
    print(output.with_suffix(".md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
