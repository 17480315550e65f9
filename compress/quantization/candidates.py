"""Makes the compressed forms of one prepared model: each a whole model, with what changed and what stayed float."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from compress.base import Note
from compress.quantization.bias_correction import Means
from compress.quantization.calibrated import Calibrated
from compress.quantization.calls import Key, calls, sharing
from compress.quantization.dynamic_int8 import has_loops, write_dynamic
from compress.quantization.equalize import Name
from compress.quantization.half import compute_half, store_exact_half, store_half
from compress.quantization.histogram import Range
from compress.quantization.masks import Fills
from compress.quantization.onnx_weights import everywhere, exactly, weights_of
from compress.quantization.placing import Placing
from compress.quantization.raised import PAIRS_OPSET
from compress.quantization.range_methods import Method
from compress.quantization.schemes import Scheme
from compress.quantization.shifting import Correction, Shifting
from compress.quantization.static_int8 import as_operators, write_qdq
from compress.quantization.turned import read_from_kernel, shared_again, written_out
from compress.quantization.ways import Way
from compress.quantization.weights_only import write_weights
from export.forms import MAIN
from export.reading import opset_of
from models.errors import CompressError
from models.records import Model

IN_INT8 = re.compile(r"\w+ in int8, ")  # how a note begins that says a layer computes so
UNSEEN = "calibration has no data that passes it"
Edited = tuple[ir.Model, list[Note], list[Note]]  # the network, what changed in it, what was skipped

_FLOAT = Way(kind="float")


@dataclass(frozen=True)
class Candidate:
    """A model that may be returned: how it was made, what changed, and what stayed in float and why.

    `shifts` were taken off its biases, by node of the main graph; `stored_shifts` off those of layers in float whose
    weights are stored in integers. `floats` stay in float beside those that the maker leaves so.
    """

    name: str
    model: Model
    changed: tuple[Note, ...] = ()
    skipped: tuple[Note, ...] = ()
    way: Way = _FLOAT
    shifts: Means = field(default_factory=dict)
    stored_shifts: Means = field(default_factory=dict)
    floats: frozenset[str] = frozenset()

    @property
    def calibration(self) -> Method | None:
        """The method that its ranges are by, where it has some."""
        return self.way.calibration if self.way.kind == "static" else None


@dataclass(frozen=True)
class Maker:
    """Makes candidates of one prepared model, whose forms are compressed as one.

    Args:
        ranges: what calibration saw in the main graph, by tensor name; empty where there is no data.
        of_forms: what it saw in each further form; one that could not be run has its ranges from the main graph.
        calibration: the method that the ranges are by.
        calibrated: what other methods can take theirs from.
        floats: layers of the main graph, and so of all forms, that do not compute in integers, each with the reason.
        equalize: whether static int8 shall be of the equalized model from the start.
        correction: gives the shifts to take off the biases of a main graph in int8, by what tells it from others.
        factors: what the channels of the model were divided by, where it is an equalized one.
        equalized: gives a maker of the equalized model; None where it has nothing to equalize.
        fills: what masks of the model are filled with, where that is nearer than it was.
        original: the model before that; None where it is the same.
        stored: how the weights of single layers in float are stored, where it is not as the way says: "int8 weights"
            or "float16".
        was_half: whether constants came in half precision: what float needs of them is stored so again.
        unseen: why a layer stays in float that reads or gives a tensor without a range.
    """

    model: Model
    scheme: Scheme
    ranges: Mapping[str, Range]
    skip: Sequence[str] = ()
    of_forms: Mapping[str, Mapping[str, Range]] = field(default_factory=dict)
    calibration: Method = "minmax"
    calibrated: Calibrated | None = None
    floats: Mapping[str, str] = field(default_factory=dict)
    equalize: bool = False
    correction: Correction | None = None
    factors: Mapping[Name, np.ndarray[Any, Any]] = field(default_factory=dict)
    equalized: Callable[[], Maker | None] = lambda: None
    fills: Fills = field(default_factory=dict)
    original: Model | None = None
    stored: Mapping[str, str] = field(default_factory=dict)
    was_half: bool = False
    unseen: str = UNSEEN

    def of(self, way: Way) -> Maker:
        """The maker whose model and ranges a way takes."""
        other = self.equalized() if way.equalize else None
        maker = self
        if other is not None:
            maker = replace(
                other,
                floats=self.floats,
                scheme=self.scheme,
                stored=self.stored,
                was_half=self.was_half,
                fills=self.fills,
                original=self.original,
            )
        if self.correction is None:
            maker = replace(maker, correction=None)
        return maker.by(way.calibration) if way.kind == "static" else maker

    def by(self, method: Method) -> Maker:
        """The same with ranges by another method, from what calibration saw."""
        if self.calibrated is None or method == self.calibration:
            return self
        ranges, of_forms = self.calibrated.ranges(method)
        return replace(self, ranges=ranges, of_forms=of_forms, calibration=method)

    def make(self, way: Way) -> Candidate:
        """A candidate, made so, of a kind that the device has.

        Raises:
            CompressError: pairs for a graph older than opset 13; `raised` makes it newer.
        """
        if way.unsigned != self.scheme.unsigned:
            return replace(self, scheme=replace(self.scheme, unsigned=way.unsigned)).make(way)
        if way.kind == "static":
            return self.of(way)._static(way)
        if way.kind == "dynamic":
            return self._dynamic(way)
        if way.kind == "weights":
            return self._weights(way)
        return self._half(way) if way.kind == "fp16" else Candidate(way.name, self.model)

    def _static(self, way: Way) -> Candidate:
        """Weights and activations in int8, with the ranges that calibration saw."""
        further = {name: form.network.clone() for name, form in self.model.forms.items()}
        graphs: dict[str, ir.Model] = {MAIN: self.model.onnx.clone(), **further}
        for network in graphs.values():
            if opset_of(network) < PAIRS_OPSET:
                raise CompressError(f"the graph is of opset {opset_of(network)}, and could not be raised to 13")
            written_out(network)
        layers = calls(graphs)
        floats = self.placing.floats(graphs, layers, self.floats)
        unsigned = sharing(graphs, layers, way.unsigned_layers)
        shifting = self._shifting(layers)

        def edit(form: str, network: ir.Model) -> Edited:
            turned = written_out(network)
            placement, seen = self.placing.placed(form, network, floats[form], wide=way.wide)
            computing = (*placement.layers, *(node for node in everywhere(network) if node in placement.products))
            changed = [Note(n.name or "", f"{n.op_type} in int8, ranges from calibration") for n in computing]
            refused = placement.refused
            write_qdq(network, placement, seen, self.scheme, per_channel=way.per_channel, unsigned=unsigned[form])
            weights = (way.per_channel, way.unsigned, way.unsigned_layers)
            shifting(form, network, (*weights, way.calibration, way.wide, frozenset(floats[form])))
            if way.dynamic_rest:
                more, refused = self._dynamic_rest(network, way, floats[form], refused, unsigned[form])
                changed += more
            taken = shared_again(network, turned)
            if way.operators and computing:
                network = as_operators(network)
            return self._finished(form, network, changed, refused, taken, way, shifting)

        return self._made(way, edit, shifting)

    def _dynamic_rest(
        self,
        network: ir.Model,
        way: Way,
        floats: Mapping[str, str],
        refused: Sequence[Note],
        unsigned: Collection[str],
    ) -> tuple[list[Note], list[Note]]:
        """Ranges of the moment for what has no static kernel; what shall stay in float does."""
        skip = (*self.skip, *map(exactly, floats))
        changed, left = self._write_dynamic(network, way, skip, unsigned)
        done = {note.layer for note in changed}
        texts = {note.layer: note for note in (*left, *refused) if note.layer not in done}
        return changed, list(texts.values())

    def _weights(self, way: Way) -> Candidate:
        """Weights stored in int8, and nothing computed in them."""
        shifting = self._shifting()

        def edit(form: str, network: ir.Model) -> Edited:
            changed, refused = write_weights(network, skip=self.skip, per_channel=way.per_channel)
            shifting(form, network, way, rest=True)
            return network, changed, refused

        return self._made(way, edit, shifting)

    def _shifting(self, layers: Mapping[str, Mapping[str, Key]] | None = None) -> Shifting:
        """Of one candidate; what its nodes call is found out where it is not given."""
        return Shifting(self.correction, layers or calls(self._graphs()), self.scheme.integer_bias)

    def _graphs(self) -> dict[str, ir.Model]:
        further: dict[str, Any] = {name: form.network for name, form in self.model.forms.items()}
        return {MAIN: self.model.onnx, **further}

    def _dynamic(self, way: Way) -> Candidate:
        """Products with constant matrices and LSTM in int8, their activations rounded with the range of the moment."""
        skip = (*self.skip, *map(exactly, self.floats))
        shifting = self._shifting()
        unsigned = sharing(self._graphs(), shifting.layers, way.unsigned_layers)

        def edit(form: str, network: ir.Model) -> Edited:
            turned = written_out(network)
            changed, refused = self._write_dynamic(network, way, skip, unsigned[form])
            taken = shared_again(network, turned)
            return self._finished(form, network, changed, refused, taken, way, shifting)

        return self._made(way, edit, shifting)

    def _write_dynamic(
        self, network: ir.Model, way: Way, skip: Sequence[str], unsigned: Collection[str]
    ) -> tuple[list[Note], list[Note]]:
        scales = way.per_channel
        return write_dynamic(network, self.scheme, skip=skip, per_channel=scales, loops=way.loops, unsigned=unsigned)

    def has_loops(self) -> bool:
        """Whether a GRU or RNN in one of the forms can become a loop of integer products."""
        return any(has_loops(network, self.skip) for network in self._graphs().values())

    def _half(self, way: Way) -> Candidate:
        """Half precision: computed in where the device does, else stored."""
        seen = self.by("minmax")  # what is clipped nowhere must not overflow anywhere

        def edit(form: str, network: ir.Model) -> Edited:
            if not self.scheme.half_computes:
                return (network, *store_half(network, skip=self.skip))
            return compute_half(network, seen.placing.seen(form), skip=self.skip)

        return self._made(way, edit)

    def _made(self, way: Way, edit: Callable[[str, ir.Model], Edited], shifting: Shifting | None = None) -> Candidate:
        changed: dict[str, Note] = {}
        skipped: dict[str, Note] = {}

        def edited(form: str, network: Any) -> ir.Model:
            made, new, left = edit(form, network.clone())
            changed.update({note.layer: note for note in new if note.layer not in changed})
            skipped.update({note.layer: note for note in left if note.layer not in skipped})
            if self.was_half:
                store_exact_half(made)
            return made

        model = replace(self.model, network=edited(MAIN, self.model.network))
        forms = {form: replace(part, network=edited(form, part.network)) for form, part in self.model.forms.items()}
        left = tuple(note for note in skipped.values() if note.layer not in changed)
        shifts = ({}, {}) if shifting is None else (shifting.found, shifting.stored)
        return Candidate(way.name, replace(model, forms=forms), tuple(changed.values()), left, way, *shifts)

    @property
    def placing(self) -> Placing:
        """Where what computes in integers is placed, with these ranges."""
        return Placing(self.model, self.scheme, self.skip, self.ranges, self.of_forms, self.unseen)

    def _finished(
        self,
        form: str,
        network: ir.Model,
        changed: list[Note],
        refused: list[Note],
        taken: Mapping[str, str],
        way: Way,
        shifting: Shifting,
    ) -> Edited:
        """Read from a kernel what it has `taken`; where asked for, store in fewer bits what stays in float."""
        stored = read_from_kernel(network, taken, self.skip)
        usual = "float16" if way.half_rest else "int8 weights"
        halves = [n for n in everywhere(network) if self.stored.get(n.name or "", usual) == "float16"]
        if halves and way.store_rest:
            weights = {weight.value for node in halves for weight in weights_of(node)}
            stored += store_half(network, skip=self.skip, weights=weights)[0]
        if way.store_rest:
            stored += write_weights(network, skip=self.skip)[0]
            shifting(form, network, (replace(way, operators=False), frozenset(self.floats)), rest=True)
        why = {note.layer: note.text for note in refused if note.text == self.unseen} | dict(self.floats)
        stored = [Note(n.layer, f"{n.text}: {why[n.layer]}") if n.layer in why else n for n in stored]
        done = {note.layer for note in changed}
        names = {note.layer for note in stored}
        kept = [Note(n.layer, self.floats.get(n.layer, n.text)) for n in refused if n.layer not in names]
        return network, [*changed, *(note for note in stored if note.layer not in done)], kept
