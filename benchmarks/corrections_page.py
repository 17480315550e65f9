"""The page of the ablation of corrections: what each gives in decibels, and what it does to the score."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

Row = Mapping[str, Any]


def page(document: Mapping[str, Any]) -> str:
    """The whole page."""
    rows: Sequence[Row] = document["rows"]
    variants = list(dict.fromkeys(row["variant"] for row in rows if row["variant"] != "float"))
    machine = document["machine"]
    lines = [
        "# Corrections from calibration data",
        "",
        f"`{document['command']}`, {document['made']}, {machine['processor']} ({machine['instruction_set']}).",
        "",
        "Static int8, min-max ranges from 256 samples. SQNR in decibels on others, of what varies from row to row. "
        "`bias`: bias correction. `equalize`: channels rescaled by what calibration saw; `weights`: by the givers' "
        "weights instead, as the first publication does. `both`: bias and equalize. A dash: the network has nothing to "
        "rescale. A number behind a random network is the log-normal deviation of its norms' gains. `stored` in the "
        "place of a device: the weights are stored in 8 bits, and all is computed in float.",
        *(["", document["note"]] if "note" in document else []),
        "",
        *_table(rows, variants),
        "",
        "## Gain over nothing, median",
        "",
        *_medians(rows, variants),
        "",
        "## Score on validation",
        "",
        *_table([row for row in rows if "score" in row], variants, score=True),
    ]
    return "\n".join(lines) + "\n"


def _table(rows: Sequence[Row], variants: Sequence[str], *, score: bool = False) -> Iterator[str]:
    heads = (*(["float"] if score else []), *variants)
    yield "| network | device | scale per | " + " | ".join(heads) + " |"
    yield "|---|---|---|" + "---:|" * len(heads)
    floats = {row["network"]: row["score"] for row in rows if row["variant"] == "float"}
    for (network, device, per_channel), found in _cases(rows).items():
        cells = [f"{floats[network]:.4g}"] if score else []
        cells += [_cell(found.get(variant, {}), "score" if score else "sqnr_db") for variant in variants]
        yield f"| {network} | {device} | {'channel' if per_channel else 'tensor'} | {' | '.join(cells)} |"


def _cell(row: Row, key: str) -> str:
    if row.get(key) is None:
        return "-"
    return f"{row[key]:.4g}" if key == "score" else f"{row[key]:.1f}"


def _cases(rows: Sequence[Row]) -> dict[tuple[str, str, bool], dict[str, Row]]:
    cases: dict[tuple[str, str, bool], dict[str, Row]] = {}
    for row in rows:
        if row["variant"] != "float":
            cases.setdefault((row["network"], row["device"], row["per_channel"]), {})[row["variant"]] = row
    return cases


def _medians(rows: Sequence[Row], variants: Sequence[str]) -> Iterator[str]:
    yield "| networks | scale per | " + " | ".join(variants[1:]) + " |"
    yield "|---|---|" + "---:|" * (len(variants) - 1)
    trained = {row["network"] for row in rows if row["variant"] == "float"}
    for words, wanted in (("reference", True), ("random", False)):
        for scales in ("channel", "tensor", "channel, stored"):
            cases = [
                case
                for (network, device, per_channel), case in _cases(rows).items()
                if (network in trained) == wanted
                and ("channel, stored" if device == "stored" else "channel" if per_channel else "tensor") == scales
            ]
            cells = [_median(cases, variant, variants[0]) for variant in variants[1:]]
            yield f"| {words} | {scales} | {' | '.join(cells)} |"


def _median(cases: Sequence[Mapping[str, Row]], variant: str, base: str) -> str:
    gains = [
        case[variant]["sqnr_db"] - case[base]["sqnr_db"]
        for case in cases
        if case.get(variant, {}).get("sqnr_db") is not None and case[base].get("sqnr_db") is not None
    ]
    return f"{median(gains):+.1f} of {len(gains)}" if gains else "-"
