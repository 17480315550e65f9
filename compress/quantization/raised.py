"""Raises old graphs to the first opset whose DequantizeLinear takes a scale for each channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from export.folded import folded
from export.opset import in_opset
from export.reading import opset_of
from models.records import Arrays, Model

PAIRS_OPSET = 13  # the first whose DequantizeLinear takes a scale for each channel


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
