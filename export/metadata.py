"""What travels with a graph inside its file: labels, preprocessing, history, states, a sample, as texts. No torch."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from models.errors import ModelFileError
from models.records import InputSpec, Mfcc, Model, Preprocess

PREFIX = "compress."
SCHEMA = 1
_OWN_FIELDS = ("state_of", "initial", "high", "usual")
_MADE_WITH = ("compress-nn", "onnx", "onnx-ir", "onnxscript", "torch")


def write_metadata(model: Model, forms: Mapping[str, str] = {}) -> dict[str, str]:
    """Our metadata as ONNX stores them: text by key; what is empty is left out.

    Args:
        model: whose facts they are.
        forms: file name of each further form.
    """
    facts: dict[str, Any] = {
        "schema": SCHEMA,
        "name": model.name,
        "data": model.data,
        "labels": list(model.labels),
        "preprocess": _without_defaults(asdict(model.preprocess)) if model.preprocess else None,
        "history": [dict(step) for step in model.history],
        "typical": dict(model.typical),
        "inputs": input_facts(model),
        "forms": dict(forms),
        "versions": versions(),
    }
    texts = {PREFIX + key: _text(value) for key, value in facts.items() if value not in (None, "", [], {})}
    if model.sample:
        texts[PREFIX + "sample"] = _pack(model.sample)
    return texts


def read_metadata(model: Model, source: str) -> tuple[Model, dict[str, str]]:
    """The model with all that its graph's metadata say, and the file name of each further form.

    Raises:
        ModelFileError: metadata of ours that cannot be read, or of a later version of this package.
    """
    texts = {k.removeprefix(PREFIX): t for k, t in model.onnx.metadata_props.items() if k.startswith(PREFIX)}
    if not texts:
        return model, {}
    try:
        facts = {key: json.loads(text) for key, text in texts.items() if key != "sample"}
        if facts.get("schema", 0) > SCHEMA:
            raise ModelFileError(
                f"{source!r} was written by a later version of compress (schema {facts['schema']}, known is {SCHEMA}). "
                "Update: pip install -U compress-nn"
            )
        model = replace(
            model,
            inputs=with_input_facts(model, facts.get("inputs", {})).inputs,
            labels=tuple(facts.get("labels", ())),
            preprocess=_preprocess(facts.get("preprocess")),
            history=tuple(facts.get("history", ())),
            typical=dict(facts.get("typical", {})),
            name=facts.get("name", model.name),
            data=facts.get("data", ""),
            sample=_unpack(texts["sample"]) if "sample" in texts else None,
        )
        return model, {str(name): str(file) for name, file in facts.get("forms", {}).items()}
    except ModelFileError:
        raise
    except Exception as error:
        raise ModelFileError(
            f"{source!r}: the metadata that compress wrote into it are broken ({error}). "
            "Make the file again, or remove its metadata that begin with 'compress.'."
        ) from error


def input_facts(model: Model) -> dict[str, dict[str, Any]]:
    """What is known of inputs besides the graph, by name, as JSON has it: states, numbers beside the rows."""
    return {spec.name: own for spec in model.inputs if (own := _input_facts(spec) | _settled(model, spec))}


def with_input_facts(model: Model, facts: Mapping[str, Mapping[str, Any]]) -> Model:
    """The model with such facts; what is no input of it is left out."""
    return replace(model, inputs=tuple(replace(spec, **_known(facts.get(spec.name, {}))) for spec in model.inputs))


def versions() -> dict[str, str]:
    """The packages a file is made with; those that are not installed are left out."""
    found = {}
    for package in _MADE_WITH:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _input_facts(spec: InputSpec) -> dict[str, Any]:
    plain = InputSpec(name=spec.name, dtype=spec.dtype, dims=spec.dims)
    return {key: getattr(spec, key) for key in _OWN_FIELDS if getattr(spec, key) != getattr(plain, key)}


def _settled(model: Model, spec: InputSpec) -> dict[str, Any]:
    """The dimensions of a state where the graph itself does not say them."""
    if spec.state_of is None or not model.is_onnx:
        return {}
    shape = next((value.shape for value in model.onnx.graph.inputs if value.name == spec.name), None)
    dims = [dim if isinstance(dim, int) else dim.value for dim in shape or ()]
    return {} if dims == list(spec.dims) else {"dims": list(spec.dims)}


def _known(facts: Mapping[str, Any]) -> dict[str, Any]:
    known = {key: value for key, value in facts.items() if key in _OWN_FIELDS}
    return known | ({"dims": tuple(facts["dims"])} if "dims" in facts else {})


def _without_defaults(facts: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in facts.items() if value is not None}


def _preprocess(facts: dict[str, Any] | None) -> Preprocess | None:
    if facts is None:
        return None
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in facts.items()}
    return Preprocess(**{**fields, "mfcc": Mfcc(**fields["mfcc"]) if fields.get("mfcc") else None})


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{value!r} cannot be written into a file's metadata")


def _pack(sample: Mapping[str, Any]) -> str:
    packed = zlib.compress(save_arrays({name: sample[name] for name in sorted(sample)}), 9)
    return base64.b85encode(packed).decode()


def _unpack(text: str) -> dict[str, Any]:
    return dict(load_arrays(zlib.decompress(base64.b85decode(text))))
