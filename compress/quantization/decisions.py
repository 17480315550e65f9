"""A decision table as a file: how a model was quantized, layer by layer, for a person to read, edit and replay.

Replayed, it needs neither data nor a clock, and gives the same bytes each time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from compress.base import LayerRow
from compress.quantization.candidates import Candidate, Maker
from compress.quantization.equalize import Name, rescaled
from compress.quantization.histogram import Range
from compress.quantization.masks import Fills, with_fills
from compress.quantization.onnx_weights import everywhere, exactly, weights_of
from compress.quantization.schemes import Scheme
from compress.quantization.ways import Way
from export.forms import MAIN
from export.prepare import opset_of
from models.errors import UsageError, did_you_mean
from models.records import Model

Array = np.ndarray[Any, Any]
SCHEMA = 1
WORDS = ("int8", "int8 weights", "float16", "float")
ASKED = "the decision table says so"


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """What a table holds.

    Args:
        device: the target it was decided for.
        way: how the whole is made.
        layers: decision by layer of the main graph, one of `WORDS`; a layer that is not named is decided by the way.
        opset: of the graph that was quantized, which may have been raised; 0 where the table does not say.
        ranges: of tensors, by form and name; of static int8.
        shifts: taken off biases, by node of the main graph.
        factors: what channels were divided by, by the names of the constants at their junction.
        fills: of masks, by the Softmax behind them.
    """

    device: str
    way: Way
    layers: Mapping[str, str]
    opset: int = 0
    ranges: Mapping[str, Mapping[str, Range]] = field(default_factory=dict)
    shifts: Mapping[str, Array] = field(default_factory=dict)
    factors: Mapping[Name, Array] = field(default_factory=dict)
    fills: Fills = field(default_factory=dict)


def document(made: Candidate, maker: Maker, rows: Sequence[LayerRow], *, device: str) -> dict[str, Any]:
    """The table of a candidate, as JSON has it.

    Args:
        made: the candidate.
        maker: that made it.
        rows: of its layers.
        device: the target.
    """
    by = maker.of(made.way)
    ranges = {MAIN: by.ranges, **by.of_forms} if made.way.kind == "static" else {}
    return {
        "schema": SCHEMA,
        "model": maker.model.name,
        "device": device,
        "opset": opset_of(maker.model.onnx),
        "way": asdict(made.way),
        "layers": [asdict(row) for row in rows],
        "ranges": {
            form: {name: [float(one.low), float(one.high)] for name, one in seen.items()}
            for form, seen in ranges.items()
        },
        "shifts": {layer: shift.tolist() for layer, shift in made.shifts.items()},
        "factors": [{"constants": list(name), "by": one.tolist()} for name, one in by.factors.items()],
        "fills": dict(maker.fills) if made.way.kind != "float" else {},
    }


def read(path: str | Path) -> Decisions:
    """Read a table.

    Raises:
        UsageError: there is no such file, it is no JSON, or it says what cannot be; the text says where.
    """
    content = _json(Path(path))
    try:
        layers = {row["layer"]: row["decision"] for row in content["layers"]}
        ranges = {form: {name: _range(pair) for name, pair in seen.items()} for form, seen in content["ranges"].items()}
        shifts = {layer: np.asarray(shift, np.float64) for layer, shift in content["shifts"].items()}
        factors = {tuple(one["constants"]): np.asarray(one["by"], np.float64) for one in content["factors"]}
        found = Decisions(
            device=content["device"],
            way=Way(**content["way"]),
            opset=int(content.get("opset", 0)),
            layers=layers,
            ranges=ranges,
            shifts=shifts,
            factors=factors,
            fills={layer: float(fill) for layer, fill in content.get("fills", {}).items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{path}: no decision table that quantize wrote: {_what(error)}.") from error
    for layer, decision in layers.items():
        if decision not in WORDS:
            words = ", ".join(WORDS)
            raise UsageError(
                f"{path}: layer {layer!r}: there is no decision {decision!r}; there are {words}."
                f"{did_you_mean(decision, WORDS)}"
            )
    return found


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: no decision table can be read there: {error.strerror}.") from error
    except ValueError as error:
        raise UsageError(f"{path}: it is no JSON: {error}.") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise UsageError(f"{path}: no decision table of schema {SCHEMA}; `compress quantize` writes one.")
    return content


def _range(pair: Any) -> Range:
    low, high = map(float, pair)
    if not low <= high < float("inf") or low == float("-inf"):
        raise ValueError(f"{pair} is no range")
    return Range(low, high)


def _what(error: Exception) -> str:
    return f"it has no {error}" if isinstance(error, KeyError) else str(error)


def replay(
    decisions: Decisions, prepared: Model, scheme: Scheme, *, skip: Sequence[str] = (), was_half: bool = False
) -> tuple[Candidate, Maker]:
    """Make the candidate of a table anew; gives its maker too.

    Args:
        decisions: of this very network.
        prepared: as it was when the table was made.
        scheme: of the device.
        skip: patterns of further layers that stay in float.
        was_half: whether the network's constants came in half precision.

    Raises:
        UsageError: it names layers that the network does not have, or is for a device without such numbers.
    """
    known = [node.name or "" for node in everywhere(prepared.onnx) if weights_of(node)]
    for layer in decisions.layers:
        if layer not in known:
            raise UsageError(
                f"quantize: the decision table has a layer {layer!r}, and model {prepared.name!r} has none of that "
                f"name with weights: it is the table of another network.{did_you_mean(layer, known)}"
            )
    if decisions.way.kind in ("static", "dynamic") and scheme.why_not_int8:
        raise UsageError(f"quantize: the decision table computes in int8: {scheme.why_not_int8}.")
    ranges = dict(decisions.ranges)
    floats = {name: ASKED for name, decision in decisions.layers.items() if decision == "int8 weights"}
    kept = [exactly(name) for name, decision in decisions.layers.items() if decision == "float"]
    maker = Maker(
        rescaled(with_fills(prepared, decisions.fills), decisions.factors),
        scheme,
        ranges.pop(MAIN, {}),
        (*skip, *kept),
        ranges,
        calibration=decisions.way.calibration,
        floats=floats,
        correction=lambda network, way: dict(decisions.shifts),
        factors=decisions.factors,
        fills=decisions.fills,
        was_half=was_half,
    )
    way = replace(decisions.way, store_rest=decisions.way.store_rest or bool(floats))
    return maker.make(way), replace(maker, floats={})
