"""Which nodes call the same layer: a name says it no better than the tool that gave it, so the weight has to agree.

A network may use one layer twice, and its forms share their layers; what is found out about one call then holds for
all. But in `net/Conv`, `net/Conv_1` the name before the stroke is a scope, and each of them has a weight of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from compress.quantization.onnx_weights import Weight, array, everywhere, weights_of
from export.forms import MAIN
from export.naming import layer_of

Array = np.ndarray[Any, Any]
Key = tuple[str, int]  # the name of a layer, and which of the weights under that name it is


def calls(graphs: Mapping[str, ir.Model]) -> dict[str, dict[str, Key]]:
    """The layer that each node with a constant weight calls, by form and by the name of the node.

    In one graph two calls read the same constant the same way round; across graphs they read the same numbers.

    Args:
        graphs: in float, by form; only looked at.
    """
    known: dict[str, list[dict[str, Weight]]] = {}  # layer -> of each of its weights what it is in each form
    found: dict[str, dict[str, Key]] = {form: {} for form in graphs}
    for form, network in graphs.items():
        for node in everywhere(network):
            if weights := weights_of(node):
                layer = layer_of(node)
                found[form][node.name or ""] = layer, _place(weights[0], form, known.setdefault(layer, []))
    return found


def sharing(
    graphs: Mapping[str, ir.Model], layers: Mapping[str, Mapping[str, Key]], names: Sequence[str]
) -> dict[str, set[str]]:
    """By form, all nodes that call the layers which these nodes of the main graph call, or read a weight of theirs.

    Args:
        graphs: by form.
        layers: what each node calls, by form.
        names: of nodes of the main graph.
    """
    keys = {layers[MAIN][name] for name in names if name in layers[MAIN]}
    found = {}
    for form, network in graphs.items():
        read = {n.name or "": {weight.value for weight in weights_of(n)} for n in everywhere(network)} if keys else {}
        weights = {value for name, key in layers[form].items() if key in keys for value in read.get(name, ())}
        found[form] = {name for name, values in read.items() if values & weights}
    return found


def _place(weight: Weight, form: str, known: list[dict[str, Weight]]) -> int:
    """Where a weight stands among those of its layer, the last place being made for one that is new."""
    for place, forms in enumerate(known):
        if form in forms and _is(forms[form], weight):
            return place
    for place, forms in enumerate(known):
        if form not in forms and np.array_equal(_turned(next(iter(forms.values()))), _turned(weight)):
            forms[form] = weight
            return place
    known.append({form: weight})
    return len(known) - 1


def _is(one: Weight, other: Weight) -> bool:
    return one.value is other.value and one.channel_axes == other.channel_axes


def _turned(weight: Weight) -> Array:
    """Its numbers, channels first: a matrix is stored the other way round for another operator."""
    numbers: Array = np.moveaxis(array(weight.value), weight.channel_axes, range(len(weight.channel_axes)))
    return numbers
