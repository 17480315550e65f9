"""Makes the compressed forms of one prepared model: each a whole model, with what changed and what stayed float."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import onnx_ir as ir

from compress.base import Note, Progress
from compress.calibration import Range, ranges
from compress.dynamic_int8 import write_dynamic
from compress.half import compute_half, store_half
from compress.placement import Placement, place
from compress.schemes import Scheme
from compress.static_int8 import as_operators, write_qdq
from compress.weights_only import write_weights
from export.opset import in_opset
from export.prepare import fold, opset_of
from models.errors import CompressError
from models.records import Arrays, Model

PAIRS_OPSET = 13  # the first whose DequantizeLinear takes a scale for each channel

Edited = tuple[ir.Model, list[Note], list[Note]]  # the network, what changed in it, what was skipped


@dataclass(frozen=True)
class Candidate:
    """A model that may be returned: how it was made, what changed, and what stayed in float and why."""

    name: str
    model: Model
    changed: tuple[Note, ...] = ()
    skipped: tuple[Note, ...] = ()


@dataclass(frozen=True)
class Maker:
    """Makes candidates of one prepared model, whose forms are compressed as one.

    Args:
        ranges: what calibration saw in the main graph, by tensor name; empty where there is no data.
    """

    model: Model
    scheme: Scheme
    ranges: Mapping[str, Range]
    skip: Sequence[str] = ()

    def static(self, *, per_channel: bool = True, operators: bool = False, store_rest: bool = False) -> Candidate:
        """Weights and activations in int8, with the ranges that calibration saw.

        Args:
            per_channel: a weight scale for each output channel, and not one for the whole tensor.
            operators: write ONNX Runtime's integer operators themselves, and not the portable pairs that become them.
            store_rest: store the weights of what stays in float in 8 bits.

        Raises:
            CompressError: the graph is older than opset 13; `raised` makes it newer.
        """

        def edit(network: ir.Model) -> Edited:
            if opset_of(network) < PAIRS_OPSET:
                raise CompressError(f"the graph is of opset {opset_of(network)}, and could not be raised to 13")
            placement, seen = self._placed(network)
            changed = [Note(n.name or "", f"{n.op_type} in int8, ranges from calibration") for n in placement.layers]
            write_qdq(network, placement, seen, self.scheme, per_channel=per_channel)
            if operators and placement.layers:
                network = as_operators(network)
            return self._finished(network, changed, placement.refused, store_rest)

        return self._made(static_name(per_channel, operators), edit)

    def dynamic(self, *, per_channel: bool = True, store_rest: bool = False) -> Candidate:
        """Products with constant matrices and LSTM in int8, their activations rounded with the range of the moment."""

        def edit(network: ir.Model) -> Edited:
            changed, refused = write_dynamic(network, self.scheme, skip=self.skip, per_channel=per_channel)
            return self._finished(network, changed, refused, store_rest)

        return self._made("dynamic", edit)

    def weights(self, *, per_channel: bool = True) -> Candidate:
        """Weights stored in int8, computed in float."""
        return self._made("weights", lambda n: (n, *write_weights(n, skip=self.skip, per_channel=per_channel)))

    def half(self) -> Candidate:
        """Half precision: computed in where the device does, else stored."""

        def edit(network: ir.Model) -> Edited:
            if not self.scheme.half_computes:
                return (network, *store_half(network, skip=self.skip))
            return compute_half(network, self.ranges, skip=self.skip)

        return self._made("fp16", edit)

    def _made(self, name: str, edit: Callable[[ir.Model], Edited]) -> Candidate:
        changed: dict[str, Note] = {}
        skipped: dict[str, Note] = {}

        def edited(network: Any) -> ir.Model:
            made, new, left = edit(network.clone())
            changed.update({note.layer: note for note in new if note.layer not in changed})
            skipped.update({note.layer: note for note in left if note.layer not in skipped})
            return made

        model = replace(self.model, network=edited(self.model.network))
        forms = {form: replace(part, network=edited(part.network)) for form, part in self.model.forms.items()}
        left = tuple(note for note in skipped.values() if note.layer not in changed)
        return Candidate(name, replace(model, forms=forms), tuple(changed.values()), left)

    def _placed(self, network: ir.Model) -> tuple[Placement, Mapping[str, Range]]:
        """The placement in one graph and its ranges; a further form has them from the main graph, layer by layer."""
        clips = self.scheme.activations == "u8"
        unseen: frozenset[str] = frozenset()
        known = by_origin(self.model.network, self.ranges)  # type: ignore[arg-type]
        while True:
            placement = place(network, skip=self.skip, clips=clips, unseen=unseen)
            roots = {placement.root(value) for value in placement.rounded}
            found = {value.name or "": known[origin(value)] for value in roots if origin(value) in known}
            missing = {value for value in roots if value.name not in found}
            if not missing:
                return placement, found
            unseen |= _beside(placement, missing)

    def _finished(self, network: ir.Model, changed: list[Note], refused: list[Note], store_rest: bool) -> Edited:
        """Where asked for, store in 8 bits what stays in float."""
        if not store_rest:
            return network, changed, refused
        stored, _ = write_weights(network, skip=self.skip)
        done = {note.layer for note in changed}
        names = {note.layer for note in stored}
        kept = [note for note in refused if note.layer not in names]
        return network, [*changed, *(note for note in stored if note.layer not in done)], kept


def static_name(per_channel: bool, operators: bool) -> str:
    """What a static candidate is called."""
    return f"static per {'channel' if per_channel else 'tensor'}{' QOperator' if operators else ''}"


def raised(model: Model) -> Model:
    """The model with its graphs in opset 13 at least, where a DequantizeLinear takes a scale for each channel.

    Raises:
        CompressError: a graph is older, and no converter raises it.
    """

    def newer(network: Any) -> Any:
        return network if opset_of(network) >= PAIRS_OPSET else in_opset(network, PAIRS_OPSET)

    forms = {name: replace(form, network=newer(form.network)) for name, form in model.forms.items()}
    made = replace(model, network=newer(model.network), forms=forms)
    changed = made.network is not model.network or any(forms[n].network is not model.forms[n].network for n in forms)
    return fold(made) if changed else model


def origin(value: ir.Value) -> tuple[str, int]:
    """Where a tensor comes from, in words that two forms of a network share: the node that gives it, or its name."""
    node = value.producer()
    return (value.name or "", -1) if node is None else (node.name or "", value.index() or 0)


def by_origin(network: ir.Model, seen: Mapping[str, Range]) -> dict[tuple[str, int], Range]:
    """Ranges by where their tensors come from."""
    values = [*network.graph.inputs, *(value for node in network.graph for value in node.outputs)]
    return {origin(value): seen[value.name] for value in values if value.name and value.name in seen}


def _beside(placement: Placement, missing: set[ir.Value]) -> frozenset[str]:
    """Names of the layers that read or give a tensor whose range nobody knows, all of them if none does so directly."""
    names = {
        node.name or ""
        for node in placement.layers
        if placement.root(node.inputs[0]) in missing or any(v in missing for v in placement.results(node))  # type: ignore[arg-type]
    }
    return frozenset(names or {node.name or "" for node in placement.layers})


def calibrate(
    model: Model,
    batches: Iterable[Arrays],
    *,
    skip: Sequence[str] = (),
    everything: bool = False,
    progress: Progress | None = None,
) -> dict[str, Range]:
    """Ranges of the main graph's tensors that static int8 may round, or of all it computes."""
    network = model.network
    placement = place(network, skip=skip)  # type: ignore[arg-type]
    names = [placement.root(value).name or "" for value in placement.rounded]
    if everything:
        names += [value.name for node in network.graph for value in node.outputs if value.name]  # type: ignore[union-attr]
    return ranges(model, names, batches, progress=progress) if names else {}
