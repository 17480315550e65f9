"""What travels with a network, as plain data and back: inputs, outputs, forms, labels, history."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from models.records import Form, InputSpec, Mfcc, Model, OutputSpec, Preprocess


def facts_to_data(model: Model) -> dict[str, Any]:
    """All of a model but its network and its sample; texts, numbers, lists and dicts."""
    data = {
        "inputs": [asdict(spec) for spec in model.inputs],
        "outputs": [asdict(spec) for spec in model.outputs],
        "forms": {
            name: {
                "inputs": [asdict(spec) for spec in form.inputs],
                "outputs": [asdict(spec) for spec in form.outputs],
                "method": form.method,
            }
            for name, form in model.forms.items()
        },
        "labels": list(model.labels),
        "preprocess": None if model.preprocess is None else asdict(model.preprocess),
        "history": [dict(step) for step in model.history],
        "typical": dict(model.typical),
        "name": model.name,
        "data": model.data,
    }
    plain: dict[str, Any] = json.loads(json.dumps(data, default=_plain))  # numpy's numbers would need their pickle
    return plain


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)


def facts_from_data(data: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments for a Model.

    Raises:
        ValueError, TypeError, KeyError: something is missing, too much, or of another type.
    """
    typical = {_text(k): _whole(v) for k, v in dict(data["typical"]).items()}
    return {
        "inputs": tuple(_input(spec) for spec in data["inputs"]),
        "outputs": tuple(_output(spec) for spec in data["outputs"]),
        "forms": {
            _text(name): Form(
                inputs=tuple(_input(spec) for spec in form["inputs"]),
                outputs=tuple(_output(spec) for spec in form["outputs"]),
                method=_text(form["method"]),
            )
            for name, form in dict(data["forms"]).items()
        },
        "labels": tuple(_text(label) for label in data["labels"]),
        "preprocess": None if data["preprocess"] is None else _preprocess(dict(data["preprocess"])),
        "history": tuple(dict(step) for step in data["history"]),
        "typical": typical,
        "name": _text(data["name"]),
        "data": _text(data["data"]),
    }


def _input(data: Mapping[str, Any]) -> InputSpec:
    spec = InputSpec(**{**data, "dims": _dims(data["dims"])})
    for text in (spec.name, spec.dtype, spec.state_of or ""):
        _text(text)
    return spec


def _output(data: Mapping[str, Any]) -> OutputSpec:
    spec = OutputSpec(**{**data, "dims": _dims(data["dims"])})
    for text in (spec.name, spec.dtype):
        _text(text)
    if not isinstance(spec.own_width, bool):
        raise TypeError(f"own_width {spec.own_width!r}")
    return spec


def _dims(value: Any) -> tuple[int | str, ...]:
    if not isinstance(value, (list, tuple)) or any(type(d) not in (int, str) or d in (0, "") for d in value):
        raise ValueError(f"dimensions {value!r}")
    return tuple(value)


def _preprocess(data: dict[str, Any]) -> Preprocess:
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    return Preprocess(**{**fields, "mfcc": Mfcc(**fields["mfcc"]) if fields.get("mfcc") else None})


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _whole(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"{value!r} is no size")
    return value
