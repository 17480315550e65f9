"""Makes the compressed forms of one prepared model: each a whole model, with what changed and what stayed float."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import onnx_ir as ir

from compress.base import Note
from compress.quantization.calibrated import Calibrated
from compress.quantization.dynamic_int8 import has_loops, write_dynamic
from compress.quantization.half import compute_half, store_half
from compress.quantization.histogram import Range
from compress.quantization.onnx_weights import weights_of
from compress.quantization.origins import Ids, origins, ranges_by_origin, ranges_by_reader, readers
from compress.quantization.placement import STATIC, Placement, place
from compress.quantization.range_methods import Method
from compress.quantization.schemes import Scheme
from compress.quantization.static_int8 import as_operators, write_qdq
from compress.quantization.turned import shared_again, written_out
from compress.quantization.weights_only import write_weights
from export.folded import folded
from export.forms import MAIN
from export.naming import layer_of
from export.opset import in_opset
from export.prepare import opset_of
from models.errors import CompressError
from models.records import Arrays, Model

LOOPED = "dynamic with loops"
UNSEEN = "calibration has no data that passes it"
PAIRS_OPSET = 13  # the first whose DequantizeLinear takes a scale for each channel

Edited = tuple[ir.Model, list[Note], list[Note]]  # the network, what changed in it, what was skipped


@dataclass(frozen=True)
class Candidate:
    """A model that may be returned: how it was made, what changed, and what stayed in float and why.

    `calibration` is the method that its ranges are by, where it has some.
    """

    name: str
    model: Model
    changed: tuple[Note, ...] = ()
    skipped: tuple[Note, ...] = ()
    calibration: Method | None = None


@dataclass(frozen=True)
class Maker:
    """Makes candidates of one prepared model, whose forms are compressed as one.

    Args:
        ranges: what calibration saw in the main graph, by tensor name; empty where there is no data.
        of_forms: what it saw in each further form; one that could not be run has its ranges from the main graph.
        calibration: the method that the ranges are by.
        calibrated: what other methods can take theirs from.
        floats: layers of the main graph, and so of all forms, that do not compute in integers, each with the reason.
    """

    model: Model
    scheme: Scheme
    ranges: Mapping[str, Range]
    skip: Sequence[str] = ()
    of_forms: Mapping[str, Mapping[str, Range]] = field(default_factory=dict)
    calibration: Method = "minmax"
    calibrated: Calibrated | None = None
    floats: Mapping[str, str] = field(default_factory=dict)

    def by(self, method: Method) -> Maker:
        """The same with ranges by another method, from what calibration saw."""
        if self.calibrated is None or method == self.calibration:
            return self
        ranges, of_forms = self.calibrated.ranges(method)
        return replace(self, ranges=ranges, of_forms=of_forms, calibration=method)

    def static(
        self,
        *,
        per_channel: bool = True,
        operators: bool = False,
        products: bool = False,
        store_rest: bool = False,
    ) -> Candidate:
        """Weights and activations in int8, with the ranges that calibration saw.

        Args:
            per_channel: a weight scale for each output channel, and not one for the whole tensor.
            operators: write ONNX Runtime's integer operators themselves, and not the portable pairs that become them.
            products: compute products of two activations, as attention has them, in integers too.
            store_rest: store the weights of what stays in float in 8 bits.

        Raises:
            CompressError: the graph is older than opset 13; `raised` makes it newer.
        """
        further = {name: form.network.clone() for name, form in self.model.forms.items()}
        graphs: dict[str, ir.Model] = {MAIN: self.model.onnx.clone(), **further}
        for network in graphs.values():
            if opset_of(network) < PAIRS_OPSET:
                raise CompressError(f"the graph is of opset {opset_of(network)}, and could not be raised to 13")
            written_out(network)
        floats = self._floats(graphs, products)

        def edit(form: str, network: ir.Model) -> Edited:
            turned = written_out(network)
            placement, seen = self._placed(form, network, floats[form], products)
            computing = (*placement.layers, *(node for node in network.graph if node in placement.products))
            changed = [Note(n.name or "", f"{n.op_type} in int8, ranges from calibration") for n in computing]
            write_qdq(network, placement, seen, self.scheme, per_channel=per_channel)
            shared_again(network, turned)
            if operators and computing:
                network = as_operators(network)
            return self._finished(network, changed, placement.refused, store_rest)

        name = static_name(per_channel, operators, products)
        return replace(self._made(name, edit), calibration=self.calibration)

    def dynamic(self, *, per_channel: bool = True, store_rest: bool = False, loops: bool = False) -> Candidate:
        """Products with constant matrices and LSTM in int8, their activations rounded with the range of the moment.

        Args:
            per_channel: a weight scale for each output channel, and not one for the whole tensor.
            store_rest: store the weights of what stays in float in 8 bits.
            loops: write GRU and RNN as loops of integer products.
        """

        def edit(_: str, network: ir.Model) -> Edited:
            turned = written_out(network)
            changed, refused = write_dynamic(network, self.scheme, skip=self.skip, per_channel=per_channel, loops=loops)
            shared_again(network, turned)
            return self._finished(network, changed, refused, store_rest)

        return self._made(LOOPED if loops else "dynamic", edit)

    def has_loops(self) -> bool:
        """Whether a GRU or RNN in one of the forms can become a loop of integer products."""
        networks: list[Any] = [self.model.network, *(form.network for form in self.model.forms.values())]
        return any(has_loops(network, self.skip) for network in networks)

    def weights(self, *, per_channel: bool = True) -> Candidate:
        """Weights stored in int8, computed in float."""
        return self._made("weights", lambda _, n: (n, *write_weights(n, skip=self.skip, per_channel=per_channel)))

    def half(self) -> Candidate:
        """Half precision: computed in where the device does, else stored."""
        seen = self.by("minmax")  # what is clipped nowhere must not overflow anywhere

        def edit(form: str, network: ir.Model) -> Edited:
            if not self.scheme.half_computes:
                return (network, *store_half(network, skip=self.skip))
            return compute_half(network, seen._seen(form), skip=self.skip)

        return self._made("fp16", edit)

    def _made(self, name: str, edit: Callable[[str, ir.Model], Edited]) -> Candidate:
        changed: dict[str, Note] = {}
        skipped: dict[str, Note] = {}

        def edited(form: str, network: Any) -> ir.Model:
            made, new, left = edit(form, network.clone())
            changed.update({note.layer: note for note in new if note.layer not in changed})
            skipped.update({note.layer: note for note in left if note.layer not in skipped})
            return made

        model = replace(self.model, network=edited(MAIN, self.model.network))
        forms = {form: replace(part, network=edited(form, part.network)) for form, part in self.model.forms.items()}
        left = tuple(note for note in skipped.values() if note.layer not in changed)
        return Candidate(name, replace(model, forms=forms), tuple(changed.values()), left)

    def _seen(self, form: str) -> Mapping[str, Range]:
        """Ranges of a graph's own tensors."""
        return self.ranges if form == MAIN else self.of_forms.get(form, {})

    def _placed(
        self, form: str, network: ir.Model, floats: Mapping[str, str], products: bool
    ) -> tuple[Placement, Mapping[str, Range]]:
        """The placement in one graph and its ranges: those calibration saw in it, else the main graph's, by layer.

        Where both know a tensor and differ by no more than rounding it has the main graph's range, so that a layer
        rounds alike in all forms.
        """
        clips = self.scheme.activations == "u8"
        ids: Ids = {}
        known = ranges_by_origin(self.model.onnx, self.ranges, ids)
        own, numbers = self._seen(form), origins(network, ids)
        read = ranges_by_reader(self.model.onnx, self.ranges)

        def range_of(value: ir.Value) -> Range | None:
            mine, main = own.get(value.name or ""), known.get(numbers.get(value, -1))
            if mine is not None and (main is None or form == MAIN or not main.near(mine)):
                return mine
            return main or next((read[reader] for reader in readers(value) if reader in read), None)

        while True:
            placement = place(network, skip=self.skip, clips=clips, floats=floats, products=products)
            roots = {placement.root(value) for value in placement.rounded}
            found = {value.name or "": seen for value in roots if (seen := range_of(value)) is not None}
            missing = {value for value in roots if value.name not in found}
            if not missing:
                return placement, found
            floats = {**dict.fromkeys(_beside(placement, missing), UNSEEN), **floats}

    def _floats(self, graphs: Mapping[str, ir.Model], products: bool) -> dict[str, dict[str, str]]:
        """In each form the nodes that stay in float because their layer does in another one, with the reason."""
        floats: dict[str, dict[str, str]] = {form: dict(self.floats) if form == MAIN else {} for form in graphs}
        while len(graphs) > 1:
            nodes: dict[str, dict[str, str]] = {}
            refused: dict[str, str] = {}
            for form, network in graphs.items():
                placement, _ = self._placed(form, network, floats[form], products)
                nodes[form] = {node.name or "": layer_of(node) for node in placement.layers}
                left = {note.layer: note.text for note in placement.refused}
                for node in network.graph.all_nodes():
                    if node.op_type in STATIC and weights_of(node) and node.name in left:
                        refused.setdefault(layer_of(node), f"float in form {form!r}: {left[node.name]}")
            new = {
                form: {name: refused[layer] for name, layer in named.items() if layer in refused}
                for form, named in nodes.items()
            }
            if not any(new.values()):
                break
            floats = {form: {**floats[form], **new[form]} for form in graphs}
        return floats

    def _finished(self, network: ir.Model, changed: list[Note], refused: list[Note], store_rest: bool) -> Edited:
        """Where asked for, store in 8 bits what stays in float."""
        if not store_rest:
            return network, changed, refused
        stored, _ = write_weights(network, skip=self.skip)
        done = {note.layer for note in changed}
        names = {note.layer for note in stored}
        kept = [note for note in refused if note.layer not in names]
        return network, [*changed, *(note for note in stored if note.layer not in done)], kept


def static_name(per_channel: bool, operators: bool, products: bool = False) -> str:
    """What a static candidate is called."""
    return (
        f"static per {'channel' if per_channel else 'tensor'}"
        f"{' with products' if products else ''}{' QOperator' if operators else ''}"
    )


def raised(model: Model, batches: Sequence[Arrays] = ()) -> Model:
    """The model with its graphs in opset 13 at least, where a DequantizeLinear takes a scale for each channel.

    Raises:
        CompressError: a graph is older, and no converter raises it so that it does the same on the batches.
    """

    def newer(network: Any) -> Any:
        return network if opset_of(network) >= PAIRS_OPSET else in_opset(network, PAIRS_OPSET)

    forms = {name: replace(form, network=newer(form.network)) for name, form in model.forms.items()}
    made = replace(model, network=newer(model.network), forms=forms)
    changed = made.network is not model.network or any(forms[n].network is not model.forms[n].network for n in forms)
    return folded(made, batches, reference=model).model if changed else model


def _beside(placement: Placement, missing: set[ir.Value]) -> frozenset[str]:
    """Names of the layers that read or give a tensor whose range nobody knows, all of them if none does so directly."""
    names = {
        node.name or ""
        for node in placement.chosen - placement.carriers
        if any(placement.root(v) in missing for v in (*placement.reads(node), *placement.results(node)))
    }
    return frozenset(names or {node.name or "" for node in placement.chosen - placement.carriers})
