"""A decision table as a file: how a model was quantized, layer by layer, for a person to read, edit and replay.

Replayed, it needs neither data nor a clock, and gives the same bytes each time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from compress.base import LayerRow, Note
from compress.quantization.candidates import Candidate, Maker
from compress.quantization.clip_bounds import within_bounds
from compress.quantization.equalize import Name, rescaled
from compress.quantization.half import beyond_half
from compress.quantization.histogram import Range
from compress.quantization.masks import Fills, with_fills
from compress.quantization.onnx_weights import SKIPPED, array, everywhere, exactly
from compress.quantization.schemes import Scheme
from compress.quantization.table_fits import check_fits
from compress.quantization.ways import Way
from export.forms import MAIN
from export.metadata import input_facts, with_input_facts
from export.reading import opset_of
from models.errors import UsageError, did_you_mean
from models.records import Model

Array = np.ndarray[Any, Any]
SCHEMA = 1
_SAID = 3  # layers that a warning names
WORDS = ("int8", "int8 weights", "float16", "float")
ASKED = "the decision table says so"
NO_RANGE = "the decision table has no range of what it reads or gives"


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
        stored_shifts: the same, of layers that compute in float behind stored integers.
        factors: what channels were divided by, by the names of the constants at their junction.
        fills: of masks, by the Softmax behind them.
        reasons: by layer, as the table tells them.
        weights: what tells the network's numbers from those of others; "" where the table does not say.
        inputs: what was known of inputs besides the graph, by name: states, numbers beside the rows.
        typical: a usual size by free letter.
    """

    device: str
    way: Way
    layers: Mapping[str, str]
    reasons: Mapping[str, str] = field(default_factory=dict)
    weights: str = ""
    opset: int = 0
    ranges: Mapping[str, Mapping[str, Range]] = field(default_factory=dict)
    shifts: Mapping[str, Array] = field(default_factory=dict)
    stored_shifts: Mapping[str, Array] = field(default_factory=dict)
    factors: Mapping[Name, Array] = field(default_factory=dict)
    fills: Fills = field(default_factory=dict)
    inputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    typical: Mapping[str, int] = field(default_factory=dict)

    def remembered(self, model: Model) -> Model:
        """The model with what the table knows of its inputs, where the model itself knows nothing."""
        own = input_facts(model)
        told = with_input_facts(model, {name: facts for name, facts in self.inputs.items() if name not in own})
        return replace(told, typical={**self.typical, **model.typical})


def document(
    made: Candidate, maker: Maker, rows: Sequence[LayerRow], *, device: str, weights: str = ""
) -> dict[str, Any]:
    """The table of a candidate, as JSON has it.

    Args:
        made: the candidate.
        maker: that made it.
        rows: of its layers.
        device: the target.
        weights: what tells the network's numbers from those of others.
    """
    by = maker.of(made.way)
    ranges = {MAIN: by.ranges, **by.of_forms} if made.way.kind == "static" else {}
    if made.way.kind == "fp16" and by.scheme.half_computes:  # what half precision cannot hold
        ranges = {form: beyond_half(seen) for form, seen in {MAIN: by.ranges, **by.of_forms}.items()}
    return {
        "schema": SCHEMA,
        "model": maker.model.name,
        "weights": weights,
        "device": device,
        "opset": opset_of(maker.model.onnx),
        "way": asdict(made.way),
        "layers": [asdict(row) for row in rows],
        "ranges": {
            form: {name: [float(one.low), float(one.high)] for name, one in seen.items()}
            for form, seen in ranges.items()
        },
        "shifts": {layer: shift.tolist() for layer, shift in made.shifts.items()},
        "stored_shifts": {layer: shift.tolist() for layer, shift in made.stored_shifts.items()},
        "factors": [{"constants": list(name), "by": one.tolist()} for name, one in by.factors.items()],
        "fills": dict(maker.fills) if made.way.kind != "float" else {},
        "inputs": input_facts(maker.model),
        "typical": dict(maker.model.typical),
    }


def read(path: str | Path) -> Decisions:
    """Read a table.

    Raises:
        UsageError: there is no such file, it is no JSON, or it says what cannot be; the text says where.
    """
    content = _json(Path(path))
    try:
        layers = {row["layer"]: row["decision"] for row in content["layers"]}
        reasons = {row["layer"]: str(row.get("reason", "")) for row in content["layers"]}
        ranges = {form: {name: _range(pair) for name, pair in seen.items()} for form, seen in content["ranges"].items()}
        shifts, stored = _shifts(content["shifts"]), _shifts(content.get("stored_shifts", {}))
        factors = {tuple(one["constants"]): _numbers(one["by"]) for one in content["factors"]}
        found = Decisions(
            device=content["device"],
            way=Way(**content["way"]),
            opset=int(content.get("opset", 0)),
            layers=layers,
            reasons=reasons,
            weights=str(content.get("weights", "")),
            ranges=ranges,
            shifts=shifts,
            stored_shifts=stored,
            factors=factors,
            fills={layer: float(fill) for layer, fill in content.get("fills", {}).items()},
            inputs={name: dict(facts) for name, facts in content.get("inputs", {}).items()},
            typical={str(letter): int(size) for letter, size in content.get("typical", {}).items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{path}: no decision table that quantize wrote: {_what(error)}.") from error
    if len(layers) < len(content["layers"]):
        names = [row["layer"] for row in content["layers"]]
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"{path}: layer {twice!r} has two rows. Leave the one that shall count.")
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


def _shifts(content: Mapping[str, Any]) -> dict[str, Array]:
    return {layer: _numbers(shift) for layer, shift in content.items()}


def _numbers(given: Any) -> Array:
    found = np.asarray(given, np.float64)
    if found.ndim != 1 or not np.isfinite(found).all():
        raise ValueError(f"{given} are no numbers, one for each channel")
    return found


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
    check_fits(decisions, prepared)
    if decisions.way.kind in ("static", "dynamic") and scheme.why_not_int8:
        raise UsageError(f"quantize: the decision table computes in int8: {scheme.why_not_int8}.")
    ranges = {form: within_bounds(prepared, form, seen) for form, seen in decisions.ranges.items()}
    stored = {name: how for name, how in decisions.layers.items() if how in ("int8 weights", "float16")}
    floats = dict.fromkeys(stored, ASKED)
    kept = [exactly(name) for name, decision in decisions.layers.items() if decision == "float"]
    maker = Maker(
        rescaled(with_fills(prepared, decisions.fills), decisions.factors),
        scheme,
        ranges.pop(MAIN, {}),
        (*skip, *kept),
        ranges,
        calibration=decisions.way.calibration,
        floats=floats,
        correction=lambda _, way, *, rest=False: dict(decisions.stored_shifts if rest else decisions.shifts),
        factors=decisions.factors,
        fills=decisions.fills,
        stored=stored,
        was_half=was_half,
        unseen=NO_RANGE,
    )
    way = replace(decisions.way, store_rest=decisions.way.store_rest or bool(stored))
    return maker.make(way), replace(maker, floats={})


def with_reasons(made: Candidate, decisions: Decisions) -> Candidate:
    """The candidate with the table's own words for what stays in float because the table says so."""

    def told(note: Note) -> Note:
        reason = decisions.reasons.get(note.layer, "")
        if note.text != SKIPPED or decisions.layers.get(note.layer) != "float":
            return note
        return Note(note.layer, ASKED if " in int8" in reason or not reason else reason)

    return replace(made, skipped=tuple(map(told, made.skipped)))


def unlike(decisions: Decisions, rows: Sequence[LayerRow], made: Candidate, weights: str) -> str:
    """Where what came of a table is not what it asks for, or it is of other weights, in words; "" where all is well.

    Float where 8 bits were asked, 8 bits in float where integers were, or the other way round: a way has kernels for
    some layers and not for others.
    """
    other = [row for row in rows if decisions.layers.get(row.layer, row.decision) != row.decision]
    said = [f"{row.layer!r} is {row.decision} for {decisions.layers[row.layer]} ({row.reason})" for row in other]
    texts = []
    if said:
        more = f", and {len(said) - _SAID} more" if len(said) > _SAID else ""
        texts.append(f"not all that the table asks for can be had of {made.way.name}: {'; '.join(said[:_SAID])}{more}")
    holds = (decisions.ranges, decisions.shifts, decisions.stored_shifts, decisions.factors, decisions.fills)
    if decisions.weights and any(holds) and decisions.weights != weights:
        texts.append(
            "the table was decided for a network of other weights, whose ranges and shifts it holds: decide anew, "
            "unless they are meant to be these"
        )
    return ". ".join(texts)


def weights_told(model: Model) -> str:
    """A hash of a network's constants, whatever their names: what tells it from the same one trained again.

    In the order in which the nodes read them: two that changed places make another network.
    """
    networks: list[Any] = [model.network, *(form.network for form in model.forms.values())]
    read = (value for network in networks for node in everywhere(network) for value in node.inputs if value is not None)
    constants = dict.fromkeys(value for value in read if value.is_initializer() and value.const_value is not None)
    told = hashlib.sha256()
    for value in constants:
        if array(value).dtype.kind in "fiub":
            told.update(hashlib.sha256(array(value).tobytes()).digest())
    return told.hexdigest()[:16]
