"""`compress train NAME --sweep FIELD=A,B,C`: the trainings side by side, as a table, a picture and a document."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compress.console import SCHEMA, Console, plain
from export.files import check_output, whole
from models import find

from .sweep import Sweep, Variation, read_sweep, shown, sweep
from .sweep_picture import draw


def sweep_and_show(name: str, text: str, output: str | None, console: Console, **budget: Any) -> None:
    """Run the sweep and say what it found; the picture and the document lie beside each other.

    Args:
        name: of the entry.
        text: FIELD=A,B,C.
        output: a folder, or a file whose name both take with `.png` and `.json`.
        console: where the table goes.
        budget: the further arguments of `sweep`.
    """
    field, values = read_sweep(text, find(name))
    picture, document = _files(name, output)
    found = sweep(name, field, values, progress=console.progress, **budget)
    console.close()
    with whole(picture) as file:
        draw(found, file)
    with whole(document) as file:
        file.write_text(json.dumps(plain({"schema": SCHEMA, **_content(found)}), indent=1) + "\n")
    heads, rows = _table(found)
    console.table(heads, rows, title=f"{name}, {found.steps:,} steps each")
    console.wrote([picture, document])
    console.document(output=picture, **_content(found))


def _files(name: str, output: str | None) -> tuple[Path, Path]:
    place = Path(output or ".")
    stem = place / f"{name}.sweep" if place.is_dir() else place
    if stem.suffix in (".png", ".json"):
        stem = stem.with_suffix("")
    picture, document = Path(f"{stem}.png"), Path(f"{stem}.json")
    for file in (picture, document):
        check_output(file)
    return picture, document


def _content(found: Sweep) -> Mapping[str, Any]:
    rows = [{**plain(v), "final_loss": v.final_loss} for v in found.variations]
    return {**plain(found), "variations": rows}


def _table(found: Sweep) -> tuple[list[str], list[list[str]]]:
    unit = next((v.score.unit for v in found.variations if v.score is not None), "score")
    heads = [found.field, "final loss", f"{unit} on validation"]
    recurrent = any(v.gradient_before for v in found.variations)
    if recurrent:
        heads += ["gradient, first step over last, before", "and after"]
    rows = []
    for variation in found.variations:
        row = [shown(variation.value), *_outcome(variation)]
        if recurrent:
            row += [_share(variation.gradient_before), _share(variation.gradient_after)]
        rows.append(row)
    return heads, rows


def _outcome(variation: Variation) -> tuple[str, str]:
    if variation.score is None:
        return variation.stopped.split(",")[0], ""
    score = variation.score
    return f"{variation.final_loss:.4g}", f"{score.value:.4f} ({score.low:.4f} to {score.high:.4f})"


def _share(norms: tuple[float, ...]) -> str:
    """How much of the gradient at the last step arrives at the first one."""
    return f"{norms[0] / norms[-1]:.2g}" if norms and norms[-1] else ""
