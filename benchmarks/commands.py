"""The commands that measure: `run`, `benchmark`, and `report` of models. What they show is made elsewhere."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.benchmark import benchmark
from benchmarks.record import Benchmark, BenchmarkResult
from benchmarks.report import write_report
from benchmarks.run_folder import stem_of, write_run
from compress import checkpoints
from compress.call import Call
from compress.console import size
from compress.ledger import HEADS, judge, original, rows, walk
from compress.recipe import Recipe, read_recipe
from export.files import check_output, whole_folder
from export.stopwatch import Stopwatch
from models.batches import first_rows
from models.errors import UsageError
from models.records import Model, Task


def run_recipe(
    call: Call,
    recipe: str,
    model: str | None,
    output: str | None,
    plugins: Sequence[str],
    *,
    dry_run: bool,
    resume: bool = False,
) -> None:
    """Run a recipe and fill a folder with its models, ledger and page.

    A training under way is kept beside the folder, as small.2-prune.training.pt, until all is done; `resume` goes on
    there, past those that were finished.

    Raises:
        UsageError: the recipe cannot be read, or names no model.
        CompressError: a pass could not do its work.
    """
    allowed = [*plugins, *(name for name in (call.arch, call.task, call.data, call.metric) if name)]
    found = read_recipe(recipe, allowed=allowed)
    call = _as_the_recipe_says(call, found)
    given = model or found.model
    if not given:
        raise UsageError(f'{recipe} names no model. Give one: compress run {recipe} MODEL, or a line model = "...".')
    target = Path(output) if output is not None else Path(recipe).with_suffix("")
    with whole_folder(target, not_the_same_as=[given, recipe]) as part:
        loaded = call.load(given)
        context = call.context(loaded)
        if dry_run:
            names = ", ".join(step.name for step in found.passes)
            call.console.result(f"{names} on {given!r} would be written to {target}. Nothing was written.")
            call.console.document(passes=found.passes, model=given, output=target)
            return
        checkpoint = target.with_name(f"{target.name}.training.pt")
        walked = walk(found.passes, loaded, replace(context, checkpoint=checkpoint, resume=resume))
        task = call.find_task(loaded)
        ledger = judge(walked, task, stopwatch=Stopwatch(threads=call.threads, seed=call.seed))
        write_run(
            part,
            walked,
            ledger,
            title=f"{Path(recipe).stem}: {given}",
            command=" ".join(["compress run", recipe, *([model] if model else [])]),
            task=_with_answers(task),
            progress=call.console.progress,
        )
    checkpoints.remove(checkpoint, found.passes)
    call.console.close()
    call.console.table(HEADS, rows(ledger), texts=2)
    call.console.result(
        f"wrote {target / 'report.html'}, beside it ledger.json, benchmark.json and the model of each step"
    )
    before, after = (target / f"{stem_of(n, walked[n])}.onnx" for n in (0, len(walked) - 1))
    call.console.result(f"the result is {after}")
    for line in (
        f"open {target / 'report.html'}",
        f"compress benchmark {before} {after}",
        f"compress run {recipe} YOURS.pt --arch YOURS.module:build --data YOURS.npz",
    ):
        call.console.say(f"next: {line}")
    call.console.document(output=target, steps=ledger.steps, machine=ledger.machine, versions=ledger.versions)


def measure(call: Call, models: Sequence[str], devices: Sequence[str], *, batch: int, seconds: float) -> None:
    """Measure models on each device, and say for each whether it is faster than the first.

    Raises:
        UsageError: an unknown device, or a number out of range.
        DeviceError: a device is not there.
    """
    loaded = [_named(call.load(given), given) for given in models]
    data = None
    if call.data or call.task:
        task = call.find_task(loaded[0])
        data = first_rows(next(iter(task.test))[0], batch) if task is not None else None
    results = [
        benchmark(
            loaded,
            device=device,
            threads=call.threads,
            batch=batch,
            seconds=seconds,
            seed=call.seed,
            data=data,
            progress=call.console.progress,
        )
        for device in devices
    ]
    call.console.close()
    for result in results:
        call.console.table(_HEADS, [_row(row) for row in result.benchmarks], texts=2)
        for verdict in _verdicts(result):
            call.console.result(verdict)
    whole = BenchmarkResult(
        benchmarks=tuple(row for result in results for row in result.benchmarks),
        comparisons=tuple(found for result in results for found in result.comparisons),
    )
    call.console.document(**{key: value for key, value in whole.document().items() if key != "schema"})


def report_models(call: Call, models: Sequence[str], output: Path) -> Path:
    """The page of some finished models, each held against the first.

    Raises:
        UsageError: the page cannot be written there.
    """
    check_output(output, not_the_same_as=models)
    loaded = [_named(call.load(given), given) for given in models]
    task = call.find_task(loaded[0])
    walked = [original(model, model.name) for model in loaded]
    ledger = judge(walked, task, stopwatch=Stopwatch(threads=call.threads, seed=call.seed))
    with tempfile.TemporaryDirectory() as folder:
        write_run(
            folder,
            walked,
            ledger,
            title=" and ".join(models),
            command=f"compress report {' '.join(models)}",
            task=_with_answers(task),
            progress=call.console.progress,
        )
        call.console.close()
        call.console.table(HEADS, rows(ledger), texts=2)
        return write_report(folder, output)


def run_demo(call: Call, output: str) -> None:
    """The embedded default, end to end, and what to try next on a model of one's own.

    Raises:
        UsageError: the folder cannot be written.
    """
    from benchmarks.demo import demo

    command = f"compress demo -o {output}" if output != "demo" else "compress demo"
    with whole_folder(output) as part:
        found = demo(part, seed=call.seed, command=command, progress=call.console.progress)
    call.console.close()
    call.console.table(HEADS, rows(found.ledger), texts=2)
    page = Path(output) / found.page.name
    call.console.result(f"wrote {page} ({found.seconds:.0f} s in all)")
    for line in (
        f"open {page}",
        "compress info YOURS.onnx",
        "compress quantize YOURS.onnx --data YOURS.npz",
        "compress prune YOURS.pt --arch YOURS.module:build --data YOURS.npz -o pruned.pt",
        "compress report YOURS.onnx YOURS.int8.onnx --data YOURS.npz",
    ):
        call.console.say(f"next: {line}")
    call.console.document(output=output, seconds=found.seconds, steps=found.ledger.steps, machine=found.ledger.machine)


_HEADS = ("model", "device", "median", "interval", "95 %", "size", "peak memory", "MACs", "parameters")


def _row(row: Benchmark) -> tuple[str, ...]:
    interval = "" if row.low_ms is None or row.high_ms is None else f"{row.low_ms:.3f} to {row.high_ms:.3f}"
    if row.estimated:
        interval = "" if row.low_ms is None else f"estimated: not below {row.low_ms:.3f}"
    return (
        row.model,
        row.device,
        "" if row.median_ms is None else f"{row.median_ms:.3f} ms",
        interval,
        "" if row.p95_ms is None else f"{row.p95_ms:.3f} ms",
        size(row.size_bytes),
        "" if row.peak_rss_bytes is None else f"{row.peak_rss_bytes / 1e6:.1f} MB",
        f"{row.macs:,}",
        f"{row.parameters:,}",
    )


def _verdicts(result: BenchmarkResult) -> list[str]:
    return [
        f"{c.b} against {c.a}: {c.verdict}, {c.speedup:.2f}x ({c.low:.2f} to {c.high:.2f})" for c in result.comparisons
    ]


def _named(model: Model, given: str) -> Model:
    """The model under the name it was called by, so that two files of one network are told apart."""
    return replace(model, name=Path(given).name.removeprefix("zoo:"))


def _with_answers(task: Task | None) -> Task | None:
    """The task, where its targets can be told from a decision that flipped."""
    return task if task is not None and next(iter(task.test))[1] is not None else None


def _as_the_recipe_says(call: Call, recipe: Recipe) -> Call:
    """What the command line left as it is by default, the recipe fills."""
    return replace(
        call,
        data=call.data or (None if call.task else recipe.data or None),
        device=recipe.device if recipe.device and call.device == "any" else call.device,
        seed=recipe.seed if recipe.seed is not None and call.seed == 0 else call.seed,
    )
