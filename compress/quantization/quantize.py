"""Quantization: int8, or half precision, after training, and the proof that it pays on the device at hand."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, ClassVar, Literal

import onnx_ir as ir

from compress.base import Context, NetworkForm, Note, Outcome
from compress.quantization.auto import decide
from compress.quantization.bias_correction import BiasCorrection
from compress.quantization.calibrated import Calibrated, look
from compress.quantization.calibration_data import all_alike, count, distinct, gather, too_few
from compress.quantization.candidates import Candidate, Maker
from compress.quantization.decisions import document, read, replay, unlike, weights_told, with_reasons
from compress.quantization.equalize import channel_reaches, factors, rescaled, shared_junctions
from compress.quantization.field import integer_nodes
from compress.quantization.layer_rows import layer_rows
from compress.quantization.left_alone import foreign_layers, is_quantized
from compress.quantization.masks import nearer_masks, notes
from compress.quantization.onnx_weights import FLOATS, everywhere, weights_of
from compress.quantization.pace import slower_here
from compress.quantization.raised import raised
from compress.quantization.range_methods import METHODS, Method
from compress.quantization.rows_apart import mixed_rows
from compress.quantization.schemes import Scheme, scheme_for
from compress.quantization.single_precision import SINGLE, in_single
from compress.quantization.skipping import check_skip
from compress.quantization.study import Study, study
from compress.quantization.target import target
from compress.quantization.ways import Way
from export.device import Device, find_device
from export.draws import seeded, told, unseeded
from export.folded import Prepared, folded
from export.onnx_file import to_bytes
from export.parity import verify
from export.reading import opset_of
from export.session import repeats
from models.errors import CompressError, UsageError, VerificationError
from models.records import Arrays, Model

Mode = Literal["auto", "static", "dynamic", "weights", "fp16"]
MODES = ("auto", "static", "dynamic", "weights", "fp16")


@dataclass(frozen=True, kw_only=True)
class Quantize:
    """Store and compute in int8, or half precision, where that pays.

    Raises:
        UsageError: a setting out of its range.
    """

    name: ClassVar[str] = "quantize"
    mode: Mode = field(
        default="auto",
        metadata={"help": "auto measures the others against float and keeps the best; static needs calibration data"},
    )
    prefer: Literal["speed", "size"] = field(
        default="speed", metadata={"help": "what auto looks for: the fastest, or the smallest that is no slower"}
    )
    max_drop: float = field(default=1.0, metadata={"help": "points of the score that auto may lose"})
    per_channel: bool = field(default=True, metadata={"help": "a weight scale for each channel; auto tries both"})
    samples: int = field(default=256, metadata={"help": "how many samples to calibrate with"})
    calibration: Method = field(
        default="minmax",
        metadata={
            "help": "whose ranges static int8 takes: all that was seen, all but the rarest, least divergence, least "
            "squared error; auto tries others where this one loses too much"
        },
    )
    correct: bool = field(default=True, metadata={"help": "take the mean error that int8 weights make off each bias"})
    equalize: bool = field(
        default=False,
        metadata={
            "help": "rescale channels first, so that they fill one grid of static int8 alike; auto tries it where all "
            "lose too much"
        },
    )
    skip: tuple[str, ...] = field(default=(), metadata={"help": "patterns of layers that stay in float"})
    decisions: str = field(
        default="",
        metadata={
            "file": True,
            "help": "a decision table to replay, as auto wrote and you edited it; needs neither data nor a clock",
        },
    )

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.mode not in MODES:
            raise UsageError(f"quantize: {_unknown_mode(str(self.mode))} There are {', '.join(MODES)}.")
        if self.prefer not in ("speed", "size"):
            raise UsageError(f"quantize: prefer is 'speed' or 'size', and is {self.prefer!r}.")
        if not (math.isfinite(self.max_drop) and self.max_drop >= 0):
            raise UsageError(f"quantize: max_drop is a number of points from 0 on, and is {self.max_drop!r}.")
        if self.calibration not in METHODS:
            raise UsageError(
                f"quantize: calibration is {', '.join(map(repr, METHODS[:-1]))} or {METHODS[-1]!r}, "
                f"and is {self.calibration!r}."
            )
        if self.decisions and self.mode != "auto":
            raise UsageError(f"quantize: a decision table says what to do, and so does mode {self.mode!r}. Give one.")
        if self.samples < 1:
            raise UsageError(f"quantize: samples must be at least 1, and is {self.samples!r}.")

    @property
    def takes(self) -> NetworkForm:
        """ONNX: what is quantized is the graph that will run."""
        return "onnx"

    def __call__(self, model: Model, context: Context) -> Outcome:
        """Give the model in the chosen mode; or as it is, with the reason, where nothing could be done or gained.

        Raises:
            DataError: the calibration data do not fit the model, or hold no number.
            UsageError: static mode without data, or a mode that the device cannot use.
        """
        device = find_device(context.device)
        scheme = scheme_for(device)
        if self.decisions:
            return self._replayed(model, context, device, scheme)
        seen, unseen = gather(model, context, self.samples)
        self._check(scheme, device, bool(seen), model)
        given = seeded(model)  # so that calibration and correction see one network, and not another at each run
        came = folded(given, seen)
        check_skip(self.skip, model, came.model)
        single = came.model if scheme.why_not_int8 else in_single(came.model, seen)
        prepared = self._raised(single, seen) if seen and self.mode in ("auto", "static") else single
        masked = nearer_masks(prepared, seen if self.mode != "fp16" else ())
        maker = self._maker(masked.model, scheme, seen, context)
        was_half = single is not came.model
        maker = replace(maker, fills=masked.fills, was_half=was_half, original=came.model if was_half else prepared)
        looked: Study | None = None
        if self.mode == "auto":
            how: Any = {"max_drop": self.max_drop, "prefer": self.prefer, "apart": unseen is not seen, "given": given}
            decision = decide(maker, context, device, unseen, **how)
            made, facts, looked = decision.chosen, decision.facts, decision.study
        else:
            way = Way(kind=self.mode, per_channel=self.per_channel, calibration=self.calibration)
            made = maker.make(replace(way, equalize=self.equalize and self.mode == "static"))
            if maker.was_half and not made.changed:
                made = replace(made, model=came.model)  # nothing is gained by float32 alone
            nodes = integer_nodes(made.model) if scheme.fuses else {}
            facts = {"integer_nodes": nodes, **slower_here(prepared, made, context, device, unseen)}
            looked = study(maker, made, unseen, context, clock=False) if self.mode == "static" else None
        method = {} if made.calibration is None else {"calibration": made.calibration}
        facts = {"mode": self.mode, "device": device.name, "calibration_samples": count(seen), **method, **facts}
        if warning := mixed_rows(given, seen) or all_alike(seen):
            facts["warning"] = warning
        facts["target"] = target(device, str(facts.get("timed_on", "")))
        skipped = (*_skipped(made, came), *_risk(made, seen), *masked.skipped, *_drawn(model, seen))
        outcome = _outcome(given, made, maker, facts, skipped, unseen, looked)
        return replace(outcome, model=unseeded(outcome.model))

    def _replayed(self, model: Model, context: Context, device: Device, scheme: Scheme) -> Outcome:
        """What a decision table says."""
        table = read(self.decisions)
        if table.device != device.name:
            raise UsageError(
                f"quantize: {self.decisions} was decided for {table.device}, and the device is {device.name}. "
                f"Give --device {table.device}, or decide anew."
            )
        model = table.remembered(model)
        came = folded(model)
        check_skip(self.skip, model, came.model)
        older = table.way.kind == "static" or opset_of(came.model.onnx) < table.opset
        single = came.model if scheme.why_not_int8 or table.way.kind == "float" else in_single(came.model)
        taken = self._raised(single, ()) if older else single
        made, maker = replay(table, taken, scheme, skip=self.skip, was_half=single is not came.model)
        made = with_reasons(made, table)
        if maker.was_half and not made.changed:
            made = replace(made, model=came.model)  # as when it was decided
        nodes = integer_nodes(made.model) if scheme.fuses else {}
        facts = {"mode": "decisions", "device": device.name, "chosen": made.name, "integer_nodes": nodes}
        facts["target"] = target(device, "")
        outcome = _outcome(model, made, maker, facts, _skipped(made, came), (), None)
        assert outcome.decisions is not None
        if warning := unlike(table, outcome.layers, made, outcome.decisions["weights"]):
            facts["warning"] = warning
        return replace(outcome, facts=facts, decisions=None)  # there is one already, which may hold more

    def _maker(self, prepared: Model, scheme: Scheme, seen: Sequence[Arrays], context: Context) -> Maker:
        """Of candidates, with the ranges that the data show, where the mode needs them."""
        calibrated = Calibrated()
        if seen and (self.mode in ("auto", "static") or (self.mode == "fp16" and scheme.half_computes)):
            calibrated = look(
                prepared,
                seen,
                skip=self.skip,
                everything=scheme.half_computes,
                counted=self.mode == "auto" or (self.mode == "static" and self.calibration != "minmax"),
                symmetric=scheme.activations == "s8",
                products=scheme.products,
                wide=scheme.fuses,
                progress=context.progress,
            )
        whole, of_forms = calibrated.ranges()
        maker = Maker(prepared, scheme, whole, self.skip, of_forms, calibrated=calibrated)
        if not seen or self.mode == "fp16":
            return maker
        correction = BiasCorrection(prepared, seen, scheme.integer_bias) if self.correct else None
        other = cache(lambda: self._equalized(prepared, scheme, seen, context))
        return replace(maker.by(self.calibration), correction=correction, equalize=self.equalize, equalized=other)

    def _equalized(self, prepared: Model, scheme: Scheme, seen: Sequence[Arrays], context: Context) -> Maker | None:
        """Of candidates of the equalized model; None where nothing can be equalized and compute what it did."""
        found = shared_junctions(prepared)
        if not found:
            return None
        by = factors(found, channel_reaches(prepared, found, seen))
        made = rescaled(prepared, by)
        try:
            verify(prepared, made, batches=seen[:1])
        except VerificationError:
            return None
        return replace(self._maker(made, scheme, seen, context), factors=by)

    def _check(self, scheme: Scheme, device: Device, has_data: bool, model: Model) -> None:
        if self.mode in ("static", "dynamic") and scheme.why_not_int8:
            raise UsageError(f"quantize: mode {self.mode!r} on {device.name}: {scheme.why_not_int8}. Use --mode fp16.")
        if self.mode == "dynamic" and not scheme.fuses:
            raise UsageError(
                f"quantize: mode 'dynamic' on {device.name}: its tools take no ranges at run time. Use --mode static."
            )
        if self.mode == "static" and not has_data:
            raise UsageError(
                f"quantize: mode 'static' needs calibration data, and there is none for model {model.name!r}. "
                "Give --data; without it, --mode dynamic and --mode weights work."
            )

    def _raised(self, model: Model, seen: Sequence[Arrays]) -> Model:
        """The model in an opset that has what static int8 needs; auto does without where no converter gets there."""
        try:
            return raised(model, seen)
        except CompressError:
            if self.mode == "static":
                raise
            return model


def _outcome(
    model: Model,
    made: Candidate,
    maker: Maker,
    facts: Mapping[str, Any],
    skipped: tuple[Note, ...],
    unseen: Sequence[Arrays],
    looked: Study | None,
) -> Outcome:
    """All that is known of a candidate, its decision table included."""
    by = maker.of(made.way)
    rows = layer_rows(by.model, made, by.ranges, unseen, looked)
    table = document(made, maker, rows, device=str(facts["device"]), weights=weights_told(model))
    changed = _changed(model, made)
    if made.way.kind != "float":
        changed += (*notes(maker.fills), *((Note("", SINGLE),) if maker.was_half and changed else ()))
    return Outcome(made.model, changed, skipped, rows, facts, table)


def _unknown_mode(mode: str) -> str:
    if mode == "qat":
        return "mode 'qat', quantization-aware training, is not there yet."
    close = difflib.get_close_matches(mode, MODES, n=1)
    return f"there is no mode {mode!r}." + (f" Did you mean {close[0]!r}?" if close else "")


def _changed(model: Model, made: Candidate) -> tuple[Note, ...]:
    """What the candidate changed; where that is nothing, whether preparation alone made another file."""
    if made.changed or to_bytes(model) == to_bytes(made.model):
        return made.changed
    return (Note("", "constants and batch norms folded, traces stripped; no layer changed"),)


def _risk(made: Candidate, seen: Sequence[Arrays]) -> tuple[Note, ...]:
    """That too few samples were calibrated with, where ranges are theirs; one that comes again counts once."""
    text = too_few(distinct(seen), count(seen)) if made.calibration is not None and made.changed else ""
    return (Note("", text),) if text else ()


def _drawn(model: Model, seen: Sequence[Arrays]) -> tuple[Note, ...]:
    """That the network draws random numbers, unless two runs show that none of them matters."""
    text = told(model)
    return (Note("", text),) if text and not (seen and repeats(model, seen[0])) else ()


def _skipped(made: Candidate, came: Prepared) -> tuple[Note, ...]:
    """What stays in float and why, and what preparation left out; where nothing changed, always at least one reason."""
    unprepared = (Note("", came.left),) if came.left else ()
    foreign = tuple(foreign_layers(came.model))
    if made.changed or made.skipped:
        return (*made.skipped, *foreign, *unprepared)
    if is_quantized(made.model):
        return (Note("", "the network is quantized already"),)
    others = {weight.value.dtype for node in everywhere(made.model.onnx) for weight in weights_of(node, FLOATS)}
    if wide := sorted(str(kind) for kind in others - {ir.DataType.FLOAT}):
        return (Note("", f"its weights are {', '.join(wide)}, and stay so on this device"),)
    return (Note("", "the network has no layer with constant float32 weights"),)
