"""The report page: from the documents that `run`, `demo` and `benchmark` leave in a folder to one HTML file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import plots
from benchmarks.flips import Flip, Flips
from benchmarks.page import Figure, Page, Plot, Table, bytes_text, count_text, render, time_text
from export.files import whole
from models.errors import DataError

Document = Mapping[str, Any]

METHOD = (
    "The first line is the original as an fp32 ONNX file, batch norms folded and the exporter's traces stripped: "
    "nothing is compared with a file that was easy to beat.",
    "Latencies are medians at batch 1, taken by turns of some milliseconds in one process, in mixed order, after a "
    "warm-up; the interval is that of the median or of the ratio, at 95 %.",
    "Scores are on the test split, which no pass has seen; differences are paired over the same samples.",
    "Memory is read in a fresh child process for each model.",
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
    html = render(page_of(**documents))
    with whole(output) as path:
        path.write_text(html, encoding="utf-8")
    return output


def page_of(*, ledger: Document | None, benchmark: Document | None, flips: Document | None) -> Page:
    """The page that these documents make together; each may be missing."""
    steps = list((ledger or {}).get("steps", ()))
    measured = list((benchmark or {}).get("benchmarks", ()))
    tables, details = [], []
    if steps:
        tables.append(_steps_table("What each step cost and gave", steps, steps[0]))
    if controls := list((ledger or {}).get("controls", ())):
        tables.append(_steps_table("The controls", controls, steps[0]))
    if measured:
        tables.append(_benchmark_table(measured, list((benchmark or {}).get("comparisons", ()))))
    for step in steps:
        details += _details(step)
    source = ledger or benchmark or {}
    return Page(
        title=str(source.get("title") or "What compression gave"),
        subtitle=str(source.get("command", "")),
        figures=_figures(steps),
        findings=tuple(source.get("findings", ())),
        tables=tables,
        plots=_plots(steps, list((ledger or {}).get("controls", ())), measured),
        flips=_flips(flips),
        flips_summary=_flips_summary(flips),
        details=details,
        conditions=_conditions(source, measured),
        method=METHOD,
    )


def _document(path: Path) -> Document | None:
    try:
        found: Document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"report: {path} cannot be read as JSON: {error}") from error
    return found


def _figures(steps: Sequence[Document]) -> list[Figure]:
    if len(steps) < 2:
        return []
    first, last = steps[0], steps[-1]
    figures = [Figure(f"{first['size_bytes'] / last['size_bytes']:,.1f}×", "smaller file")]
    if last.get("speedup") is not None:
        tone = "good" if last["speedup_low"] > 1 else "bad" if last["speedup_high"] < 1 else ""
        interval = f"{last['speedup_low']:,.1f} to {last['speedup_high']:,.1f}"
        figures.append(Figure(f"{last['speedup']:,.1f}×", f"faster, batch 1, one thread ({interval})", tone))
    if first.get("macs") and last.get("macs"):
        figures.append(Figure(f"{first['macs'] / last['macs']:,.1f}×", "fewer multiply-adds"))
    if last.get("drop") is not None:
        interval = f"{_points(last['drop_low'], last)} to {_points(last['drop_high'], last)}"
        figures.append(Figure(_points(last["drop"], last), f"{last['metric_name']} lost (paired: {interval})"))
    return figures


def _points(drop: float, step: Document) -> str:
    """A drop in points: hundredths for scores that are fractions, the score's own unit for all others."""
    if step.get("unit", "") in ("", "fraction"):
        return f"{100 * drop:+.2f} pt"
    return f"{drop:+.3f} {step['unit']}"


def _steps_table(title: str, steps: Sequence[Document], first: Document) -> Table:
    heads = (
        "step",
        "score",
        "interval",
        "lost (paired)",
        "size",
        "parameters",
        "MACs",
        "median",
        "speed-up",
        "made in",
    )
    rows = []
    for step in steps:
        lost = "–"
        if step.get("drop") is not None and step is not first:
            low, high = _points(step["drop_low"], step), _points(step["drop_high"], step)
            lost = f"{_points(step['drop'], step)} ({low} to {high})"
        speed = "1"
        if step.get("speedup") is not None:
            speed = f"{step['speedup']:.2f}× ({step['speedup_low']:.2f} to {step['speedup_high']:.2f})"
        rows.append(
            (
                str(step["step"]) if step["step"] == step["pass"] else f"{step['step']} {step['pass']}",
                "–" if step.get("metric") is None else f"{step['metric']:.4f}",
                "–" if step.get("metric_low") is None else f"{step['metric_low']:.4f} to {step['metric_high']:.4f}",
                lost,
                bytes_text(step["size_bytes"]),
                count_text(step.get("parameters")),
                count_text(step.get("macs")),
                time_text(step.get("median_ms")),
                speed,
                "–" if not step.get("seconds") else f"{step['seconds']:.0f} s",
            )
        )
    name = first.get("metric_name") or "score"
    samples = f"score: {name} on {first['samples']} samples of the test split" if first.get("samples") else ""
    return Table(title, heads, rows, texts=(), note=samples)


def _benchmark_table(measured: Sequence[Document], comparisons: Sequence[Document]) -> Table:
    heads = (
        "model",
        "device",
        "median",
        "95 %",
        "99 %",
        "against the first",
        "peak memory",
        "of the model",
        "size",
        "load",
        "first run",
    )
    versus = {c["b"]: f"{c['verdict']}, {c['speedup']:.2f}× ({c['low']:.2f} to {c['high']:.2f})" for c in comparisons}
    rows = [
        (
            b["model"],
            f"{b['device']}, {b['provider']}, {b['threads']} thread{'s' if b['threads'] != 1 else ''}",
            time_text(b["median_ms"]) + (" (estimated)" if b.get("estimated") else ""),
            time_text(b["p95_ms"]),
            time_text(b["p99_ms"]),
            versus.get(b["model"], "–"),
            bytes_text(b["peak_rss_bytes"]),
            bytes_text(b["model_rss_bytes"]),
            bytes_text(b["size_bytes"]),
            time_text(b["load_ms"]),
            time_text(b["first_run_ms"]),
        )
        for b in measured
    ]
    return Table("Latency and memory", heads, rows)


def _details(step: Document) -> Iterable[Table]:
    title = f"{step['step']} {step['pass']}"
    candidates = (step.get("facts") or {}).get("candidates")
    if candidates:
        heads = list(dict.fromkeys(key for row in candidates for key in row))
        rows = [[_cell(row.get(key)) for key in heads] for row in candidates]
        yield Table(f"{title}: the candidates that were measured", heads, rows, texts=(0, len(heads) - 1))
    if isinstance(step.get("layers"), Sequence) and step["layers"] and not isinstance(step["layers"], str):
        heads = [key for key in step["layers"][0] if any(row.get(key) is not None for row in step["layers"])]
        rows = [[_cell(row.get(key)) for key in heads] for row in step["layers"]]
        yield Table(f"{title}: decisions", heads, rows, texts=[heads.index(k) for k in ("reason",) if k in heads])
    for kind in ("changed", "skipped"):
        notes = step.get(kind) or ()
        if notes:
            rows = [(note["layer"] or "the network", note["text"]) for note in notes]
            yield Table(
                f"{title}: {kind} ({len(notes)})", ("layer", "what" if kind == "changed" else "why"), rows, texts=(0, 1)
            )


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _plots(steps: Sequence[Document], controls: Sequence[Document], measured: Sequence[Document]) -> list[Plot]:
    found = []
    scored = [step for step in (*steps, *controls) if step.get("metric") is not None]
    if len(scored) > 1:
        points = [(_short(s), s["size_bytes"], s["metric"], s["metric_low"], s["metric_high"]) for s in scored]
        svg = plots.size_against_score(points, metric=str(scored[0].get("metric_name") or "score"))
        found.append(Plot(svg, "File size against score, with 95 % intervals; controls are among the points."))
    timed = [step for step in (*steps, *controls) if step.get("median_ms") is not None]
    if len(timed) > 1:
        bars = [
            (_short(s), s["median_ms"], s.get("low_ms") or s["median_ms"], s.get("high_ms") or s["median_ms"])
            for s in timed
        ]
        found.append(Plot(plots.latency(bars), "Median latency at batch 1 on one thread, with its 95 % interval."))
    elif len(measured) > 1:
        bars = [(b["model"], b["median_ms"], b["low_ms"], b["high_ms"]) for b in measured]
        found.append(Plot(plots.latency(bars), "Median latency, with its 95 % interval."))
    if len(steps) > 1 and steps[0].get("costs") and steps[-1].get("costs"):
        for key, unit in (("bytes", "bytes of weights"), ("macs", "multiply-adds")):
            before = [(row["layer"], row[key]) for row in steps[0]["costs"] if row[key]]
            after = [(row["layer"], row[key]) for row in steps[-1]["costs"] if row[key]]
            found.append(Plot(plots.layers(before, after, unit), f"Layer by layer, before and after: {unit}."))
    return found


def _short(step: Document) -> str:
    return str(step["pass"] or step["step"])


def _flips(document: Document | None) -> Flips | None:
    if document is None:
        return None
    values = dict(document)
    shown = tuple(Flip(**flip) for flip in values.get("shown", ()))
    return Flips(**{key: values[key] for key in ("decisions", "flipped", "mended", "spoilt")}, shown=shown)


def _flips_summary(document: Document | None) -> str:
    if document is None:
        return ""
    if not document["flipped"]:
        return f"None of {document['decisions']:,} decisions differs between the original and the result."
    return (
        f"{document['flipped']:,} of {document['decisions']:,} decisions differ between the original and the result: "
        f"{document['spoilt']:,} were right before, {document['mended']:,} are right now."
    )


def _conditions(source: Document, measured: Sequence[Document]) -> str:
    machine = source.get("machine") or (measured[0]["machine"] if measured else {})
    versions = source.get("versions") or (measured[0]["versions"] if measured else {})
    parts = [f"{key}: {value}" for key, value in machine.items() if isinstance(value, str | int) and value != ""]
    parts += [f"{name} {version}" for name, version in versions.items() if version]
    if source.get("made"):
        parts.append(str(source["made"]))
    return " · ".join(parts)
