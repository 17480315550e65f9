"""The report page: from the documents that `run`, `demo` and `benchmark` leave in a folder to one HTML file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from benchmarks import plots
from benchmarks.flips import Flip
from benchmarks.page import Figure, Page, Plot, Table, render
from benchmarks.report_tables import (
    benchmark_table,
    costs_table,
    lower_is_better,
    recipe_table,
    step_name,
    step_tables,
    steps_table,
)
from benchmarks.words import bytes_text, count_text, drop_text, is_fraction, score_text, time_text, times_text
from export.files import whole
from models.errors import DataError

Document = Mapping[str, Any]

METHOD = (
    "The first line is the original as an fp32 ONNX file, batch norms folded and the exporter's traces stripped: "
    "nothing is compared with a file that was easy to beat.",
    "Latencies are medians, taken by turns of some milliseconds in one process, in mixed order, after a warm-up; the "
    "interval is that of the median or of the ratio, at 95 %.",
    "Scores are on the test split, which no pass has seen; differences are paired over the same samples.",
    "Memory is read in a fresh child process for each model.",
    "One multiply-add is one MAC. 1 KB is 1,000 bytes.",
)


def write_report(folder: str | Path, output: str | Path | None = None) -> Path:
    """Write `report.html` for a folder that holds ledger.json, benchmark.json or both.

    Raises:
        DataError: neither document is there, or one cannot be read.
    """
    folder = Path(folder)
    output = Path(output) if output else folder / "report.html"
    documents = {name: _document(folder / f"{name}.json") for name in ("ledger", "benchmark", "flips")}
    if documents["ledger"] is None and documents["benchmark"] is None:
        raise DataError(
            f"report: {folder} holds neither ledger.json nor benchmark.json. `compress run` makes the first."
        )
    try:
        page = page_of(**documents)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, ZeroDivisionError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise DataError(
            f"report: the documents in {folder} are not as `compress run` writes them: {what}. Run it again."
        ) from error
    with whole(output) as path:
        path.write_text(render(page), encoding="utf-8")
    return output


def _document(path: Path) -> Document | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"report: {path} cannot be read as JSON: {error}") from error
    if not isinstance(found, dict):
        raise DataError(f"report: {path} holds no document of compress, but a {type(found).__name__}.")
    return found


def page_of(*, ledger: Document | None, benchmark: Document | None, flips: Document | None) -> Page:
    """The page that these documents make together; each may be missing."""
    steps = list((ledger or {}).get("steps", ()))
    controls = list((ledger or {}).get("controls", ()))
    measured = list((benchmark or {}).get("benchmarks", ()))
    source = ledger or benchmark or {}
    return Page(
        title=str(source.get("title") or "What compression gave"),
        command=str(source.get("command", "")),
        versus=f"{step_name(steps[-1])}, against {step_name(steps[0])}:" if len(steps) > 1 else "",
        figures=figures_of(steps, _threads(ledger)),
        findings=(*map(str, source.get("findings", ())), *_network_notes(steps)),
        tables=list(_tables(steps, controls, measured, (benchmark or {}).get("comparisons", ()))),
        plots=_plots(steps, controls, measured, _threads(ledger)),
        flips_summary=_flips_summary(flips) if flips else "",
        flips=tuple(Flip(**flip) for flip in (flips or {}).get("shown", ())),
        details=_details(steps, controls),
        conditions=_conditions(source, measured),
        method=METHOD,
    )


def _threads(ledger: Document | None) -> str:
    count = int((ledger or {}).get("threads") or 1)
    return "one thread" if count == 1 else f"{count} threads"


def figures_of(steps: Sequence[Document], threads: str = "one thread") -> list[Figure]:
    """What the page opens with: the last step against the first, in size, time, multiply-adds and score."""
    if len(steps) < 2:
        return []
    first, last = steps[0], steps[-1]
    figures = [_less(bytes_text, "file", first["size_bytes"], last["size_bytes"])]
    if last.get("speedup") is not None:
        figures.append(_faster(first, last, threads))
    if first.get("macs") and last.get("macs"):
        figures.append(_less(count_text, "multiply-adds", first["macs"], last["macs"]))
    if last.get("drop") is not None:
        figures.append(_lost(first, last))
    return figures


def _less(text: Any, what: str, before: float, after: float) -> Figure:
    fewer, more = ("fewer", "more") if what.endswith("s") else ("smaller", "larger")
    if before == after:
        return Figure(text(after), f"{what}: the same as before")
    ratio = max(before, after) / min(before, after)
    return Figure(times_text(ratio), f"{fewer if after < before else more} {what}\n{text(before)} → {text(after)}")


def _faster(first: Document, last: Document, threads: str) -> Figure:
    ratio, low, high = last["speedup"], last["speedup_low"], last["speedup_high"]
    word, tone = last.get("verdict") or "speed-up", _tone(last.get("verdict"))
    if word == "slower":
        ratio, low, high = 1 / ratio, 1 / high, 1 / low
    times = f"{time_text(first['median_ms'])} → {time_text(last['median_ms'])}"
    text = f"{word}, batch 1, {threads}\n{times}\ninterval {low:,.2f} to {high:,.2f}"
    return Figure(times_text(ratio), text, tone)


def _tone(verdict: str | None) -> Literal["", "good", "bad"]:
    return "good" if verdict == "faster" else "bad" if verdict == "slower" else ""


def _lost(first: Document, last: Document) -> Figure:
    drop, low, high = last["drop"], last["drop_low"], last["drop_high"]
    point = 0.01 if is_fraction(last) else 0.01 * abs(first["metric"])
    tone: Literal["", "good", "bad"] = "bad" if low > point else "good" if high <= point else ""
    word = "gained" if drop < 0 else "lost"
    name = last["metric_name"] or "score"
    scores = f"{score_text(first['metric'], last)} → {score_text(last['metric'], last)}"
    low, high = (-high, -low) if drop < 0 else (low, high)
    interval = f"{drop_text(low, last).removesuffix(' pt')} to {drop_text(high, last)}"
    text = f"{name} {word}, {last['samples']:,} samples\n{scores}\ninterval, paired: {interval}"
    return Figure(drop_text(abs(drop), last), text, tone)


def _network_notes(steps: Sequence[Document]) -> list[str]:
    """What a step says of the network as a whole: why nothing changed, why nothing was faster."""
    return [
        f"{step_name(step)}: {note['text']}"
        for step in steps
        for note in (*(step.get("changed") or ()), *(step.get("skipped") or ()))
        if not note["layer"]
    ]


def _tables(
    steps: Sequence[Document], controls: Sequence[Document], measured: Sequence[Document], comparisons: Any
) -> list[Table]:
    found = []
    if steps:
        chain = any(step.get("settings") for step in steps)
        title = "What each step cost and gave" if chain else "The models, held against the first"
        found.append(steps_table(title, steps, steps[0]))
    if steps and controls:
        found.append(steps_table("The controls", controls, steps[0]))
    if measured:
        found.append(benchmark_table(measured, list(comparisons)))
    return found


def _details(steps: Sequence[Document], controls: Sequence[Document]) -> list[Table]:
    told = [step for step in (*steps, *controls) if step.get("settings") or step.get("facts")]
    found = [recipe_table(told)] if told else []
    if len(steps) > 1 and (table := costs_table(steps[0], steps[-1])):
        found.append(table)
    for step in (*steps, *controls):
        found += step_tables(step)
    return found


def _plots(
    steps: Sequence[Document], controls: Sequence[Document], measured: Sequence[Document], threads: str
) -> list[Plot]:
    shown = [*steps, *controls]
    twice = {name for name, times in Counter(step["pass"] for step in shown).items() if times > 1}
    names = [f"{step['step']} {step['pass']}" if step["pass"] in twice else str(step["pass"]) for step in shown]
    found = []
    if len(shown) > 1 and all(step.get("metric") is not None for step in shown):
        points = [
            (name, s["size_bytes"], s["metric"], s["metric_low"], s["metric_high"])
            for name, s in zip(names, shown, strict=True)
        ]
        svg = plots.size_against_score(points, metric=str(shown[0].get("metric_name") or "score"))
        also = " The controls are among the points." if controls else ""
        better = "Lower" if lower_is_better(shown, shown[0]) else "Higher"
        found.append(Plot(svg, f"File size against score, with 95 % intervals. {better} is better.{also}"))
    if len(shown) > 1 and all(step.get("median_ms") is not None for step in shown):
        bars = [(name, *_interval(s)) for name, s in zip(names, shown, strict=True)]
        found.append(Plot(plots.latency(bars), f"Median latency at batch 1 on {threads}, with its 95 % interval."))
    elif len(timed := [row for row in measured if row.get("median_ms") is not None]) > 1:
        bars = [(f"{row['model']}", *_interval(row)) for row in timed]
        found.append(Plot(plots.latency(bars), "Median latency, with its 95 % interval."))
    if len(steps) > 1 and steps[0].get("costs") and steps[-1].get("costs"):
        for key, unit in (("bytes", "bytes of weights"), ("macs", "multiply-adds")):
            before, after = (
                [(row["layer"], row[key]) for row in step["costs"] if row[key]] for step in (steps[0], steps[-1])
            )
            svg = plots.layers(before, after, unit)
            found.append(Plot(svg, f"Layer by layer, before and after: {unit}."))
    return found


def _interval(row: Document) -> tuple[float, float, float]:
    median = float(row["median_ms"])
    low, high = row.get("low_ms"), row.get("high_ms")
    return median, median if low is None else float(low), median if high is None else float(high)


def _flips_summary(document: Document) -> str:
    flipped, spoilt, mended = document["flipped"], document["spoilt"], document["mended"]
    if not flipped:
        return f"None of {document['decisions']:,} decisions differs between the original and the result."
    shown = len(document.get("shown", ()))
    return (
        f"{flipped:,} of {document['decisions']:,} decisions differ between the original and the result. Right before "
        f"and wrong now: {spoilt:,}. Wrong before and right now: {mended:,}. Wrong both times: "
        f"{flipped - spoilt - mended:,}." + (f" {shown} of them are shown." if shown < flipped else "")
    )


def _conditions(source: Document, measured: Sequence[Document]) -> str:
    machine = {**(measured[0]["machine"] if measured else {}), **(source.get("machine") or {})}
    versions = source.get("versions") or (measured[0]["versions"] if measured else {})
    parts = [str(machine[key]) for key in ("processor", "instruction_set") if machine.get(key)]
    if machine.get("cores"):
        parts.append(f"{machine['cores']} cores")
    if machine.get("memory_bytes"):
        parts.append(f"{bytes_text(machine['memory_bytes'])} of memory")
    parts += [str(machine[key]) for key in ("os", "source") if machine.get(key)]
    if machine.get("pinned"):
        parts.append(f"timed on: {machine['pinned']}")
    if disturbed := sum(row["machine"].get("disturbed_turns", 0) for row in measured):
        parts.append(f"{disturbed} turns left out because others took the core")
    if machine.get("python"):
        parts.append(f"Python {machine['python']}")
    parts += [f"{name} {version}" for name, version in versions.items() if version]
    if source.get("made"):
        parts.append(f"made {source['made']}")
    return " · ".join(parts)
