"""Which inputs of a foreign network are states: what one step gives and the next one takes. Imports no torch."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace

from models.errors import UsageError, did_you_mean
from models.records import InputSpec, Model, OutputSpec

_ALIKE = 0.4  # of two names' letters: "h" and "hn", "state" and "stateN", "past_key" and "present_key"


def with_states(model: Model, pairs: Sequence[str]) -> Model:
    """The model with `INPUT=OUTPUT` pairs as states, zero before the first step.

    Raises:
        UsageError: the model is no ONNX file; a pair is written otherwise, names what is not there, or two that cannot
            be the same.
    """
    if pairs and not model.is_onnx:
        raise UsageError(f"--state {pairs[0]!r} is for an ONNX file, whose states are inputs and outputs of its own.")
    inputs, outputs = {spec.name: spec for spec in model.inputs}, {spec.name: spec for spec in model.outputs}
    for pair in pairs:
        name, equals, given_by = (part.strip() for part in pair.partition("="))
        if not equals:
            raise UsageError(f"--state {pair!r} is not written as INPUT=OUTPUT, for example h=h_next.")
        for word, known, kind in ((name, inputs, "input"), (given_by, outputs, "output")):
            if word not in known:
                raise UsageError(
                    f"--state {pair!r}: the model has no {kind} {word!r}; it has {', '.join(map(repr, known))}."
                    f"{did_you_mean(word, list(known))}"
                )
        if not _may_be(inputs[name], outputs[given_by]):
            raise UsageError(
                f"--state {pair!r}: the input is {_said(inputs[name])} and the output {_said(outputs[given_by])}; a "
                "state comes out as it goes in."
            )
        inputs[name] = replace(inputs[name], state_of=given_by)
    return replace(model, inputs=tuple(inputs.values()))


def likely_states(model: Model, names: Sequence[str]) -> list[str]:
    """`INPUT=OUTPUT` for those of these inputs that an output of their type, shape and likely name goes on from."""
    found = [
        (difflib.SequenceMatcher(None, spec.name, output.name).ratio(), spec.name, output.name)
        for spec in model.inputs
        if spec.name in names
        for output in model.outputs
        if _may_be(spec, output)
    ]
    pairs: dict[str, str] = {}
    for alike, name, output in sorted(found, reverse=True):
        if alike >= _ALIKE and name not in pairs and output not in pairs.values():
            pairs[name] = output
    return [f"{name}={pairs[name]}" for name in names if name in pairs]


def _may_be(spec: InputSpec, output: OutputSpec) -> bool:
    """Whether the output can be the state one step later; a length that is a letter may be anything."""
    pairs = zip(spec.dims, output.dims, strict=False)
    same = all(isinstance(a, str) or isinstance(b, str) or a == b for a, b in pairs)
    return spec.dtype == output.dtype and len(spec.dims) == len(output.dims) > 0 and same


def _said(spec: InputSpec | OutputSpec) -> str:
    return f"{spec.dtype}[{','.join(map(str, spec.dims))}]"
