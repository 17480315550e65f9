"""The ledger: what each step of a recipe cost and gave, held against the original.

Each step's model is exported and judged as the file that would be shipped: its bytes, its score on test (seen once,
at the end, by nobody before), its time from one final run of all steps by turns. The first line is the original as an
fp32 ONNX file, folded and stripped, so that nothing is compared with a file that was easy to beat.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from compress.base import Context, LayerRow, Note, Outcome, Pass
from compress.recipe import fields_of, steps
from export.called import called
from export.cost import Cost, cost
from export.machine import machine, versions
from export.onnx_file import to_bytes
from export.same_inputs import known_lengths, same_arrays, same_numbers, usual_sizes
from export.save import shipped
from export.session import session
from export.stepped import any_batch
from export.stopwatch import Stopwatch, Timings
from models.intervals import paired_difference
from models.records import Arrays, Model, Score, Task, example, sizes_of

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class LedgerLine:
    """One step. What was not measured is None.

    Args:
        step: 0 is the original.
        pass_: the name of the pass; "original" for the first line.
        unit: "fraction" for scores whose point is 0.01, else the score's own.
        drop: how much worse than the original, paired over the same samples, with its 95 % interval.
        speedup: time of the original over time of this, with its 95 % interval.
        costs: layer by layer: bytes and MACs.
        layers: the decision table of the pass.
    """

    step: int
    pass_: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    metric_name: str = ""
    unit: str = ""
    metric: float | None = None
    metric_low: float | None = None
    metric_high: float | None = None
    samples: int = 0
    drop: float | None = None
    drop_low: float | None = None
    drop_high: float | None = None
    size_bytes: int
    macs: int
    parameters: int
    median_ms: float | None = None
    low_ms: float | None = None
    high_ms: float | None = None
    speedup: float | None = None
    speedup_low: float | None = None
    speedup_high: float | None = None
    verdict: str = ""
    seconds: float = 0.0
    changed: tuple[Note, ...] = ()
    skipped: tuple[Note, ...] = ()
    layers: tuple[LayerRow, ...] = ()
    costs: tuple[Mapping[str, Any], ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """All lines, and under which conditions they were measured; `threads` is what an operator had to itself."""

    schema: int = SCHEMA
    threads: int = 1
    steps: tuple[LedgerLine, ...]
    machine: Mapping[str, Any]
    versions: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Step:
    """A model to be judged, and how it came to be: `model` as the pass gave it, `shipped` as ONNX."""

    name: str
    model: Model
    shipped: Model
    settings: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    outcome: Outcome | None = None


def walk(passes: Sequence[Pass], model: Model, context: Context) -> list[Step]:
    """Run the passes, and keep each step's model; the first is the original. Nothing is judged yet.

    Raises:
        UsageError, CompressError: as `compress.recipe.run`.
    """
    walked = [original(model)]
    began = time.perf_counter()
    for step, outcome in zip(passes, steps(passes, model, context), strict=True):
        seconds = time.perf_counter() - began
        walked.append(
            Step(
                name=step.name,
                model=outcome.model,
                shipped=shipped(outcome.model),
                settings=fields_of(step),
                seconds=seconds,
                outcome=outcome,
            )
        )
        began = time.perf_counter()
    return walked


def original(model: Model, name: str = "original") -> Step:
    """A finished model as a step: it came from nowhere and cost nothing."""
    return Step(name=name, model=model, shipped=shipped(model))


def judge(walked: Sequence[Step], task: Task | None, *, stopwatch: Stopwatch | None = None) -> Ledger:
    """Score every step on test, once, and time all by turns.

    Args:
        walked: the first is what the others are held against.
        task: scores them; None leaves the scores out.
        stopwatch: times them, at batch 1 and the typical sizes; None leaves the times out.

    All are timed and counted at the sizes of the first that knows some, on the same arrays: a file as somebody wrote it
    knows none, and what was made of it holds those of its data.
    """
    scores = [task.score(any_batch(step.shipped), "test") for step in walked] if task is not None else []
    known = known_lengths([step.shipped for step in walked])
    sizes = [usual_sizes(step.shipped, known) for step in walked]
    timings = _times(walked, sizes, stopwatch) if stopwatch is not None else None
    lines = [_line(number, step, sizes[number]) for number, step in enumerate(walked)]
    if task is not None:
        lines = [_scored(line, task, scores[0], score) for line, score in zip(lines, scores, strict=True)]
    if timings is not None:
        lines = [_timed(line, timings) for line in lines]
    threads = stopwatch.threads if stopwatch is not None else 1
    return Ledger(threads=threads, steps=tuple(lines), machine=machine(), versions=versions())


def lost(task: Task, before: Score, after: Score) -> tuple[float, float, float]:
    """How much worse `after` is, whichever way its score runs, with the 95 % interval of the paired difference.

    Raises:
        DataError: the two were not scored on the same rows.
    """
    difference, low, high = paired_difference(task, before, after)
    return (-difference, -high, -low) if before.higher_is_better else (difference, low, high)


def _line(number: int, step: Step, sizes: Mapping[str, int]) -> LedgerLine:
    found: Cost = cost(step.shipped, **sizes)
    outcome = step.outcome
    return LedgerLine(
        step=number,
        pass_=step.name,
        settings=step.settings,
        size_bytes=len(to_bytes(step.shipped)),
        macs=found.macs,
        parameters=found.parameters,
        seconds=step.seconds,
        changed=outcome.changed if outcome else (),
        skipped=outcome.skipped if outcome else (),
        layers=outcome.layers if outcome else (),
        facts=outcome.facts if outcome else {},
        costs=tuple({"layer": c.layer, "bytes": c.bytes, "macs": c.macs} for c in found.layers),
    )


def _scored(line: LedgerLine, task: Task, first: Score, score: Score) -> LedgerLine:
    drop, low, high = lost(task, first, score) if line.step else (None, None, None)
    return replace(
        line,
        metric_name=score.unit,
        unit="fraction" if first.is_fraction else score.unit,
        metric=score.value,
        metric_low=score.low,
        metric_high=score.high,
        samples=score.n,
        drop=drop,
        drop_low=low,
        drop_high=high,
    )


def _times(walked: Sequence[Step], sizes: Sequence[Mapping[str, int]], stopwatch: Stopwatch) -> Timings:
    models = same_numbers([step.shipped for step in walked])
    own = [example(model.inputs, sizes_of(model, **usual)) for model, usual in zip(models, sizes, strict=True)]
    fed = zip(models, same_arrays(models, own), strict=True)
    return stopwatch.time({str(number): _call(model, inputs, stopwatch) for number, (model, inputs) in enumerate(fed)})


def _call(model: Model, inputs: Arrays, stopwatch: Stopwatch) -> Callable[[], object]:
    made = session(model, threads=stopwatch.threads)
    called(made, inputs, model.name)  # says what is wrong, once; the clock needs no more
    return lambda: made.run(None, dict(inputs))


def _timed(line: LedgerLine, timings: Timings) -> LedgerLine:
    timing = timings.timings[str(line.step)]
    line = replace(line, median_ms=timing.median_ms, low_ms=timing.low_ms, high_ms=timing.high_ms)
    for found in timings.comparisons:
        if found.b == str(line.step):
            return replace(
                line, speedup=found.speedup, speedup_low=found.low, speedup_high=found.high, verdict=found.verdict
            )
    return line


HEADS = ("step", "pass", "score", "lost", "size", "smaller", "median", "faster", "verdict", "took")


def rows(ledger: Ledger) -> list[tuple[str, ...]]:
    """The lines as words, under `HEADS`; what was not measured is blank."""
    first = ledger.steps[0]
    return [
        (
            str(line.step),
            line.pass_,
            "" if line.metric is None else f"{line.metric:.4f}",
            "" if line.drop is None else _points(line),
            f"{line.size_bytes:,} B",
            f"{first.size_bytes / line.size_bytes:.1f}x",
            "" if line.median_ms is None else f"{line.median_ms:.3f} ms",
            "" if line.speedup is None else f"{line.speedup:.2f}x ({line.speedup_low:.2f} to {line.speedup_high:.2f})",
            line.verdict,
            f"{line.seconds:.0f} s",
        )
        for line in ledger.steps
    ]


def _points(line: LedgerLine) -> str:
    assert line.drop is not None and line.drop_low is not None and line.drop_high is not None
    if line.unit == "fraction":
        return f"{100 * line.drop:+.2f} pt ({100 * line.drop_low:+.2f} to {100 * line.drop_high:+.2f})"
    return f"{line.drop:+.4f} ({line.drop_low:+.4f} to {line.drop_high:+.4f})"
