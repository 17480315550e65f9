"""Where integers are placed in each form of a model, so that a layer is in int8 in all forms or in none."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from compress.quantization.calls import Key
from compress.quantization.carriers import CARRIERS, EXACT
from compress.quantization.histogram import Range
from compress.quantization.onnx_weights import weights_of
from compress.quantization.origins import Ids, origins, ranges_by_origin, ranges_by_reader, readers
from compress.quantization.placement import STATIC, Placement, place
from compress.quantization.schemes import Scheme
from export.forms import MAIN
from models.records import Model


@dataclass(frozen=True)
class Placing:
    """Of the forms of one model, by what calibration saw in them.

    Args:
        model: in float.
        scheme: of the device.
        skip: patterns of layers that stay in float.
        ranges: of the main graph's tensors, by name.
        of_forms: of the tensors of each further form; of one that could not be run they are the main graph's.
        unseen: why a layer stays in float that reads or gives a tensor without a range.
    """

    model: Model
    scheme: Scheme
    skip: Sequence[str]
    ranges: Mapping[str, Range]
    of_forms: Mapping[str, Mapping[str, Range]] = field(default_factory=dict)
    unseen: str = ""

    def seen(self, form: str) -> Mapping[str, Range]:
        """Ranges of a graph's own tensors."""
        return self.ranges if form == MAIN else self.of_forms.get(form, {})

    def place(self, network: ir.Model, floats: Mapping[str, str], starting: Collection[str] = EXACT) -> Placement:
        """What computes in integers in a network, but for these layers, as the device has it.

        Where the runtime fuses nothing, nothing starts from float: what a vendor's tool makes of it nobody here sees.
        """
        return place(
            network,
            skip=self.skip,
            clips=self.scheme.activations == "u8",
            floats=floats,
            products=self.scheme.products,
            starting=starting if self.scheme.fuses else (),
        )

    def placed(
        self, form: str, network: ir.Model, floats: Mapping[str, str], *, wide: bool = False
    ) -> tuple[Placement, Mapping[str, Range]]:
        """The placement in one graph and its ranges: those calibration saw in it, else the main graph's, by layer.

        Where both know a tensor and differ by no more than rounding it has the main graph's range, so that a layer
        rounds alike in all forms. Carriers start from float tensors only where the ranges of those are known.
        """
        ids: Ids = {}
        known = ranges_by_origin(self.model.onnx, self.ranges, ids)
        own, numbers = self.seen(form), origins(network, ids)
        read = ranges_by_reader(self.model.onnx, self.ranges)

        def range_of(value: ir.Value) -> Range | None:
            mine, main = own.get(value.name or ""), known.get(numbers.get(value, -1))
            if mine is not None and (main is None or form == MAIN or not main.near(mine)):
                return mine
            return main or next((read[reader] for reader in readers(value) if reader in read), None)

        tiers: tuple[Collection[str], ...] = (CARRIERS, EXACT, ()) if wide else (EXACT, ())
        starting, *fewer = tiers
        while True:
            placement = self.place(network, floats, starting)
            roots = {placement.root(value) for value in placement.rounded}
            found = {value.name or "": seen for value in roots if (seen := range_of(value)) is not None}
            missing = {value for value in roots if value.name not in found}
            if not missing:
                return placement, found
            if fewer:
                starting, *fewer = fewer
                continue
            starting, *fewer = tiers
            floats = {**dict.fromkeys(_beside(placement, missing), self.unseen), **floats}

    def floats(
        self, graphs: Mapping[str, ir.Model], layers: Mapping[str, Mapping[str, Key]], asked: Mapping[str, str]
    ) -> dict[str, dict[str, str]]:
        """In each form the nodes that stay in float because their layer does in another one, with the reason.

        Args:
            graphs: by form.
            layers: what each node calls, by form.
            asked: layers of the main graph that stay in float in any case.
        """
        floats: dict[str, dict[str, str]] = {form: dict(asked) if form == MAIN else {} for form in graphs}
        while len(graphs) > 1:
            placed: dict[str, list[str]] = {}
            refused: dict[Key, str] = {}
            for form, network in graphs.items():
                placement, _ = self.placed(form, network, floats[form])
                placed[form] = [node.name or "" for node in placement.layers]
                left = {note.layer: note.text for note in placement.refused}
                for node in network.graph.all_nodes():
                    if node.op_type in STATIC and weights_of(node) and node.name in left:
                        refused.setdefault(layers[form][node.name], f"float in form {form!r}: {left[node.name]}")
            new = {
                form: {name: refused[layers[form][name]] for name in names if layers[form][name] in refused}
                for form, names in placed.items()
            }
            if not any(new.values()):
                break
            floats = {form: {**floats[form], **new[form]} for form in graphs}
        return floats


def _beside(placement: Placement, missing: set[ir.Value]) -> frozenset[str]:
    """Names of the layers that read or give a tensor whose range nobody knows, all of them if none does so directly."""
    names = {
        node.name or ""
        for node in placement.chosen - placement.carriers
        if any(placement.root(v) in missing for v in (*placement.reads(node), *placement.results(node)))
    }
    return frozenset(names or {node.name or "" for node in placement.chosen - placement.carriers})
