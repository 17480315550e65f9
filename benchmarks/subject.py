"""A model as it would be shipped, and the arrays it is timed on. Imports no torch for an ONNX model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from export.same_inputs import Place, known_lengths, same_arrays, same_numbers, usual_sizes
from export.session import check_arrays
from models.errors import UsageError
from models.records import Arrays, Model, example, sizes_of


@dataclass(frozen=True)
class Subject:
    """A model as it would be shipped, and what it is timed on."""

    name: str
    model: Model
    sizes: Mapping[str, int]
    inputs: Arrays

    @property
    def batch(self) -> int:
        """The size of the first input's first dimension; 1 where it has none."""
        first = next((spec for spec in self.model.inputs if spec.dims and spec.state_of is None), None)
        return 1 if first is None else int(self.inputs[first.name].shape[0])


def named(models: Sequence[Model]) -> list[tuple[Model, str]]:
    """Each model with a name of its own: a second one of the same name gets a number."""
    names: list[str] = []
    for model in models:
        name, count = model.name or "model", 2
        while name in names:
            name, count = f"{model.name or 'model'} ({count})", count + 1
        names.append(name)
    return list(zip(models, names, strict=True))


def subjects(
    models: Sequence[Model], batch: int, sizes: Mapping[str, int], data: Arrays | None, seed: int
) -> list[Subject]:
    """Each model as it would be shipped, all timed on the same arrays: what one takes as another does, it is given too.

    A length that only some of the models know, as a file of ours knows its data's, is that of the others too.

    Raises:
        UsageError, DataError: as `as_shipped`.
    """
    models = same_numbers(models)
    known = known_lengths(models)
    made = [as_shipped(model, name, batch, sizes, data, seed, known=known) for model, name in named(models)]
    shared = same_arrays([one.model for one in made], [one.inputs for one in made])
    return [replace(one, inputs=inputs) for one, inputs in zip(made, shared, strict=True)]


def as_shipped(
    model: Model,
    name: str,
    batch: int,
    sizes: Mapping[str, int],
    data: Arrays | None,
    seed: int,
    *,
    known: Mapping[Place, int] = MappingProxyType({}),
) -> Subject:
    """Export a model where it is torch, and find what it is timed on.

    Args:
        model: torch or ONNX.
        name: it goes by.
        batch: size of the first input's first dimension, where that is free.
        sizes: of free letters, as asked.
        data: arrays to time on; random ones otherwise.
        seed: of those.
        known: lengths by input and axis, where nobody asks for others.

    Raises:
        UsageError: a letter it does not have, or a size out of range.
        DataError: data do not fit it.
    """
    if not model.is_onnx:
        from export.to_onnx import to_onnx  # needs torch, which a command on ONNX files never loads

        model = to_onnx(model)
    model = replace(model, name=name)
    chosen = _sizes(model, batch, sizes, known)
    if data is None:
        return Subject(name, model, chosen, example(model.inputs, chosen, seed=seed))
    states = {spec.name for spec in model.inputs if spec.state_of is not None}
    inputs = {**{k: v for k, v in example(model.inputs, chosen).items() if k in states}, **data}
    check_arrays(model.inputs, inputs, name)
    for spec in model.inputs:
        chosen.update({d: n for d, n in zip(spec.dims, inputs[spec.name].shape, strict=True) if isinstance(d, str)})
    return Subject(name, model, chosen, inputs)


def _sizes(model: Model, batch: int, asked: Mapping[str, int], known: Mapping[Place, int]) -> dict[str, int]:
    """A size for every free letter, the batch among them."""
    usual = usual_sizes(model, known)
    letters = {d for spec in model.inputs for d in spec.dims if isinstance(d, str)}
    for letter, size in asked.items():
        if letter not in letters:
            raise UsageError(
                f"benchmark: model {model.name!r} has no free dimension {letter!r}; "
                f"it has {', '.join(sorted(letters)) or 'none'}."
            )
        if size < 1:
            raise UsageError(f"benchmark: the size of {letter!r} must be at least 1, and is {size}.")
    first = next((spec.dims[0] for spec in model.inputs if spec.dims and spec.state_of is None), None)
    if isinstance(first, str):
        return sizes_of(model, **{**usual, first: batch, **asked})
    if batch not in (1, first):
        raise UsageError(
            f"benchmark: batch {batch} asked of model {model.name!r}, whose first dimension is fixed at {first}. "
            "Export it with a free one, or leave --batch out."
        )
    return sizes_of(model, **{**usual, **asked})


def weights_dtype(model: Model) -> str:
    """The type that most of an ONNX model's weights have, by their number; "float32" where it has none."""
    counts: dict[str, int] = {}
    network: Any = model.network
    for graph in network.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                kind = value.const_value.dtype.name.lower()
                kind = {"float": "float32", "double": "float64"}.get(kind, kind)
                counts[kind] = counts.get(kind, 0) + int(value.const_value.size)
    return max(counts, key=lambda kind: counts[kind], default="float32")
