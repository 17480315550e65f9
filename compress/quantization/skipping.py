"""Patterns of layers that stay in float: one that names nothing is a slip of the pen, and is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from compress.quantization.onnx_weights import FLOATS, everywhere, is_skipped, weights_of
from models.errors import UsageError, did_you_mean
from models.records import Model

_SHOWN = 8


def check_skip(patterns: Sequence[str], given: Model, prepared: Model) -> None:
    """Hold each pattern to the nodes of all forms, as they are called when the file is prepared.

    A node of the file that is not there any more, a batch norm, may be named too: nothing of it is left to quantize.

    Raises:
        UsageError: it names none, or only layers of the file that have another name in what is made of it.
    """
    nodes = [node for node in _named(prepared) if patterns]
    layers = list(dict.fromkeys(node.name or "" for node in nodes if weights_of(node, FLOATS)))
    for pattern in patterns:
        if any(is_skipped(node.name or "", [pattern]) for node in nodes):
            continue
        before = [node for node in _named(given) if is_skipped(node.name or "", [pattern])]
        if before and not any(weights_of(node, FLOATS) for node in before):
            continue
        more = " ..." if len(layers) > _SHOWN else ""
        near = did_you_mean(pattern.strip("*"), layers) or f" Its layers are {', '.join(layers[:_SHOWN])}{more}."
        what = "is another layer after preparation" if before else "names no layer"
        raise UsageError(f"quantize: skip {pattern!r} {what} of model {given.name!r}.{near}")


def _named(model: Model) -> list[ir.Node]:
    parts: list[Any] = [model, *model.forms.values()]
    return [node for part in parts for node in everywhere(part.network) if node.name]
