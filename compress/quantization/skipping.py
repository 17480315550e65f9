"""Patterns of layers that stay in float: one that names nothing is a slip of the pen, and is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from compress.quantization.onnx_weights import FLOATS, everywhere, is_skipped, weights_of
from models.errors import UsageError, did_you_mean
from models.records import Model

_SHOWN = 8


def check_skip(patterns: Sequence[str], *models: Model) -> None:
    """Hold each pattern to the nodes of all forms, as the file has them and as they are called when it is prepared.

    Raises:
        UsageError: it names none of them.
    """
    parts: list[Any] = [part for model in models for part in (model, *model.forms.values())]
    nodes = [node for part in parts for node in everywhere(part.network) if node.name] if patterns else []
    for pattern in patterns:
        if any(is_skipped(node.name or "", [pattern]) for node in nodes):
            continue
        layers = list(dict.fromkeys(node.name or "" for node in nodes if weights_of(node, FLOATS)))
        more = " ..." if len(layers) > _SHOWN else ""
        near = did_you_mean(pattern.strip("*"), layers) or f" Its layers are {', '.join(layers[:_SHOWN])}{more}."
        raise UsageError(f"quantize: skip {pattern!r} names no layer of model {models[0].name!r}.{near}")
