"""Takes the shifts of one candidate off its biases: found once in the main graph, taken in each of its forms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import onnx_ir as ir

from compress.quantization.bias_correction import Means, shift
from compress.quantization.calls import Key
from export.forms import MAIN


class Correction(Protocol):
    """Says by how much the channels of a main graph's layers are too large on average."""

    def __call__(self, network: ir.Model, way: object, *, rest: bool = False) -> Means:
        """Of layers in integers, or of the rest, whose weights alone are stored so."""
        ...


@dataclass(frozen=True)
class Shifting:
    """Of one candidate.

    Args:
        correction: None where nothing is to be corrected.
        layers: what each node calls, by form; the forms share layers, and so shifts.
        integer_bias: whether a layer in integers has its bias in int32.
        found: shifts of the layers in integers that were taken, by node of the main graph.
        stored: those of the layers that compute in float behind stored integers.
    """

    correction: Correction | None
    layers: Mapping[str, Mapping[str, Key]]
    integer_bias: bool
    found: Means = field(default_factory=dict)
    stored: Means = field(default_factory=dict)

    def __call__(self, form: str, network: ir.Model, key: object, *, rest: bool = False) -> None:
        """Edit the biases of a form in place; the main graph's turn is first.

        Args:
            form: its name.
            network: its graph.
            key: what tells this network from others of the model; hashable.
            rest: of the layers that compute in float behind stored integers, and not of the others.
        """
        if self.correction is None:
            return
        found = self.stored if rest else self.found
        if form == MAIN:
            asked = self.correction(network, key, rest=rest)
            taken = shift(network, asked, integer_bias=self.integer_bias, rest=rest)
            found.update({name: asked[name] for name in taken})
        else:
            shift(network, self._in(form, found), integer_bias=self.integer_bias, rest=rest)

    def _in(self, form: str, found: Means) -> Means:
        main = self.layers[MAIN]
        known = {main[name]: by for name, by in found.items() if name in main}
        return {name: known[layer] for name, layer in self.layers[form].items() if layer in known}
