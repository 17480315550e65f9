"""The tables of the report page, each from lines of the ledger or of the benchmark as JSON holds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.page import Table
from benchmarks.plots import merge_layers
from benchmarks.words import NONE, bytes_text, count_text, drop_text, score_text, time_text, times_text

Document = Mapping[str, Any]

_WORDS = {  # what records call a column -> what the page does
    "name": "candidate",
    "bytes": "size",
    "macs": "MACs",
    "integer_nodes": "integer nodes",
    "loss_points": "lost",
    "loss": "judged by",
    "keeps": "within the drop allowed",
    "sqnr_db": "SQNR",
    "flip_rate": "decisions flipped",
    "median_ms": "median",
    "comparison": "against float",
    "low": "lowest",
    "high": "highest",
    "before_us": "before",
    "after_us": "after",
}
_PROSE = ("layer", "loss", "reason")


def step_name(step: Document) -> str:
    """A line of the ledger as the page calls it: 2 prune; a finished model by its name alone."""
    return f"{step['step']} {step['pass']}" if step.get("settings") else str(step["pass"])


def steps_table(title: str, steps: Sequence[Document], first: Document) -> Table:
    """What each step cost and gave, against the first line of the ledger."""
    heads = ("step", "score", "lost", "file size", "parameters", "MACs", "median time", "speed-up", "made in")
    rows = [
        (
            step_name(step),
            _with_interval(score_text, step, "metric"),
            NONE if step is first else _with_interval(drop_text, step, "drop"),
            _against(bytes_text, step, first, "size_bytes"),
            count_text(step.get("parameters")),
            _against(count_text, step, first, "macs"),
            time_text(step.get("median_ms")),
            _speedup(step),
            f"{step['seconds']:.0f} s" if step.get("seconds") else NONE,
        )
        for step in steps
    ]
    told = [place for place, _ in enumerate(heads) if place < 2 or any(row[place] != NONE for row in rows)]
    rows_told = [[row[place] for place in told] for row in rows]
    return Table(title, [heads[place] for place in told], rows_told, note=_score_note(steps, first))


def lower_is_better(steps: Sequence[Document], first: Document) -> bool:
    """Whether a score that rose was lost: told by the lines themselves."""
    changes = [(step["metric"] - first["metric"]) * step["drop"] for step in steps if step.get("drop")]
    return any(change > 0 for change in changes)


def _score_note(steps: Sequence[Document], first: Document) -> str:
    if not first.get("samples"):
        return ""
    better = ", lower is better" if lower_is_better(steps, first) else ""
    point = " 1 pt is 0.01 of the score." if first.get("unit") == "fraction" else ""
    return (
        f"Score: {first.get('metric_name') or 'the score'} on {first['samples']:,} samples of the test split{better}. "
        f"Lost: the difference to the original over the same samples; below zero is a gain.{point} "
        "Small figures are 95 % intervals."
    )


def _with_interval(text: Any, step: Document, key: str) -> str:
    value, low, high = (step.get(name) for name in (key, f"{key}_low", f"{key}_high"))
    if value is None or low is None or high is None:
        return str(text(value, step))
    low_text = text(low, step).removesuffix(" pt").removesuffix(" %")
    return f"{text(value, step)}\n{low_text} to {text(high, step)}"


def _against(text: Any, step: Document, first: Document, key: str) -> str:
    mine, theirs = step.get(key), first.get(key)
    if step is first or not mine or not theirs:
        return str(text(mine))
    ratio = theirs / mine
    return f"{text(mine)}\n{times_text(ratio)} less" if ratio > 1 else str(text(mine))


def _speedup(step: Document) -> str:
    if step.get("speedup") is None:
        return NONE
    interval = f"{step['speedup_low']:.2f} to {step['speedup_high']:.2f}"
    verdict = f", {step['verdict']}" if step.get("verdict") else ""
    return f"{times_text(step['speedup'])}\n{interval}{verdict}"


def benchmark_table(measured: Sequence[Document], comparisons: Sequence[Document]) -> Table:
    """Latency, memory and size of each model that was measured."""
    heads = ("model", "device", "time", "against the first", "load, first run", "peak memory", "integer MACs", "size")
    versus = {
        c["b"]: f"{c['verdict']}\n{times_text(c['speedup'])} ({c['low']:.2f} to {c['high']:.2f})" for c in comparisons
    }
    rows = [
        (
            str(b["model"]),
            _device(b),
            time_text(b["median_ms"]) + _spread(b),
            versus.get(b["model"], NONE),
            f"{time_text(b['load_ms'])}\n{time_text(b['first_run_ms'])}",
            bytes_text(b["peak_rss_bytes"])
            + (f"\n{bytes_text(b['model_rss_bytes'])} by the model" if b["model_rss_bytes"] else ""),
            NONE if b.get("integer_macs_share") is None else f"{100 * b['integer_macs_share']:.0f} %",
            f"{bytes_text(b['size_bytes'])}\n{b['dtype']}",
        )
        for b in measured
    ]
    note = "Time: the median, under it the 95th and 99th percentile of single calls."
    return Table("Latency and memory", heads, rows, note=note)


def _device(row: Document) -> str:
    provider = "" if row["provider"] in ("", row["device"]) else f", {row['provider']}"
    threads = f"{row['threads']} thread{'s' if row['threads'] != 1 else ''}, batch {row['batch']}"
    fallen = f"\n{row['nodes_fallen_back']} nodes fell back to the CPU" if row.get("nodes_fallen_back") else ""
    return f"{row['device']}{provider}\n{threads}{fallen}"


def _spread(row: Document) -> str:
    if row.get("estimated"):
        return f"\nestimated: not below {time_text(row['low_ms'])}" if row.get("low_ms") else "\nnot measured"
    if row.get("p95_ms") is None or row.get("p99_ms") is None:
        return ""
    return f"\n{time_text(row['p95_ms'])}, {time_text(row['p99_ms'])}"


def recipe_table(steps: Sequence[Document]) -> Table:
    """Each step's settings, and the numbers of its run: enough to do it again."""
    rows = [
        (
            step_name(step),
            ", ".join(f"{key} {_plain(value)}" for key, value in (step.get("settings") or {}).items()) or NONE,
            ", ".join(
                f"{key.replace('_', ' ')} {_plain(value)}"
                for key, value in (step.get("facts") or {}).items()
                if isinstance(value, str | int | float) and key != "why"
            )
            or NONE,
        )
        for step in steps
    ]
    return Table("The settings of each step, and the numbers of its run", ("step", "settings", "its run"), rows, (1, 2))


def costs_table(first: Document, last: Document) -> Table | None:
    """Bytes and multiply-adds of every layer, before and after; None where they were not counted."""
    if not first.get("costs") or not last.get("costs"):
        return None
    merged = [
        merge_layers(*([(row["layer"], row[key]) for row in step["costs"]] for step in (first, last)), most=10**9)
        for key in ("bytes", "macs")
    ]
    rows = [
        (
            layer or "the network",
            *(
                text(merged[side].get(layer, (0, 0))[end])
                for side, text in enumerate((bytes_text, count_text))
                for end in (0, 1)
            ),
        )
        for layer in dict.fromkeys((*merged[0], *merged[1]))
        if any(any(side.get(layer, ())) for side in merged)
    ]
    heads = ("layer", "bytes before", "bytes after", "MACs before", "MACs after")
    note = "A layer that became several is shown under its old name, with their sum."
    return Table("Layer by layer: bytes of weights and multiply-adds, before and after", heads, rows, note=note)


def step_tables(step: Document) -> Iterator[Table]:
    """The candidates that a step measured, its decisions, what it changed and what it skipped."""
    title, facts = step_name(step), step.get("facts") or {}
    if candidates := facts.get("candidates"):
        note = " ".join(
            f"{word}: {facts[key]}."
            for key, word in (("chosen", "Chosen"), ("timed_on", "Timed on"), ("judged_on", "Judged on"))
            if facts.get(key)
        )
        yield _records(f"{title}: the candidates that were measured", candidates, note)
    if step.get("layers"):
        yield _records(
            f"{title}: the decision for each layer",
            step["layers"],
            "Sensitivity: signal to noise of the network's outputs when this layer alone is in int8; the smallest "
            "hurts most. SQNR: that of the layer's own output in the finished network. Before and after: in float, "
            "and in int8 with the conversions beside it, by the runtime's profile.",
        )
    for kind, head in (("changed", "what"), ("skipped", "why")):
        if notes := step.get(kind) or ():
            rows = [(note["layer"] or "the network", note["text"]) for note in notes]
            yield Table(f"{title}: {kind} ({len(notes)})", ("layer", head), rows, (0, 1))


def _records(title: str, records: Sequence[Document], note: str) -> Table:
    """Records as rows; a column that is empty everywhere is left out."""
    keys = [
        key
        for key in dict.fromkeys(key for row in records for key in row)
        if any(row.get(key) is not None for row in records)
    ]
    rows = [[_cell(key, row.get(key)) for key in keys] for row in records]
    texts = [keys.index(key) for key in _PROSE if key in keys]
    return Table(title, [_WORDS.get(key, key.replace("_", " ")) for key in keys], rows, texts, note)


def _cell(key: str, value: Any) -> str:
    if value is None:
        return NONE
    if key == "comparison" and value.get("turns") == 0:
        return "the same operators"
    if key == "comparison":
        return f"{value['verdict']}\n{times_text(value['speedup'])} ({value['low']:.2f} to {value['high']:.2f})"
    if key == "bytes":
        return bytes_text(value)
    if key.endswith("_ms"):
        return time_text(value)
    if key.endswith("_us"):
        return time_text(value / 1000)
    decibels = (1.0, ".1f", " dB")
    units = {
        "sqnr_db": decibels,
        "sensitivity": decibels,
        "flip_rate": (100.0, ".2f", " %"),
        "loss_points": (1.0, ".2f", " pt"),
    }
    if key in units:
        factor, form, unit = units[key]
        return f"{value * factor + 0.0:{form}}{unit}".replace("-", "−")
    return _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return f"{value:,}" if isinstance(value, int) else str(value)
