"""What a foreign network takes, as told by a person: `x:float32[N,3,32,32]`, or by arrays of one batch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from models.errors import DataError, UsageError
from models.records import Arrays, InputSpec

_FORM = re.compile(r"(?P<name>[A-Za-z_][\w.]*):(?P<dtype>\w+)\[(?P<dims>[^\[\]]*)\]")
_DTYPES = ("float32", "float16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")
_NARROWER = {"float64": "float32"}  # what numpy makes unasked, and no network takes


def parse_input(text: str) -> InputSpec:
    """The input that `name:type[dims]` describes; dims are numbers, or letters for free ones.

    >>> parse_input("x:float32[N,3,32,32]").dims
    ('N', 3, 32, 32)

    Raises:
        UsageError: it is not written like that.
    """
    found = _FORM.fullmatch(text.strip().replace(" ", ""))
    if found is None:
        raise UsageError(f"--input {text!r} is not written as name:type[dims], for example x:float32[N,3,32,32].")
    if found["dtype"] not in _DTYPES:
        raise UsageError(f"--input {text!r}: no type named {found['dtype']!r}. Types are {', '.join(_DTYPES)}.")
    return InputSpec(name=found["name"], dtype=found["dtype"], dims=tuple(_dims(text, found["dims"])))


def _dims(text: str, dims: str) -> Iterable[int | str]:
    for part in dims.split(",") if dims else ():
        if part.isdecimal() and int(part) > 0:
            yield int(part)
        elif part.isidentifier():
            yield part
        else:
            raise UsageError(f"--input {text!r}: {part!r} is neither a size above 0 nor a letter for a free one.")


def inputs_of(arrays: Arrays) -> tuple[InputSpec, ...]:
    """The inputs that arrays of one batch describe: the first dimension free, the others as found.

    >>> inputs_of({"x": np.zeros((4, 3), np.float32)})[0].dims
    ('N', 3)

    Raises:
        DataError: an array has no dimension to count rows by, or holds objects.
    """
    specs = []
    for name, array in arrays.items():
        if array.ndim == 0 or array.dtype.hasobject or array.dtype.kind not in "fiub":
            found = f"{array.dtype}{list(array.shape)}"
            raise DataError(f"data: array {name!r} is {found}; wanted numbers, one row a sample.")
        dtype = _NARROWER.get(str(array.dtype), str(array.dtype))
        specs.append(InputSpec(name=name, dtype=dtype, dims=("N", *array.shape[1:]), high=_high(array)))
    return tuple(specs)


def _high(array: np.ndarray[Any, Any]) -> int | None:
    return int(array.max()) + 1 if array.dtype.kind in "iu" and array.size else None


def in_order_of(
    arguments: Sequence[str], specs: Sequence[InputSpec], *, required: int, whose: str
) -> tuple[InputSpec, ...]:
    """The inputs in the order of a module's `forward`; a lone input takes the argument's name.

    Args:
        arguments: names of the arguments of `forward`, in order.
        specs: what was told, in any order.
        required: how many of the arguments have no default.
        whose: the module, for the message.

    Raises:
        UsageError: a name is not among the arguments, or a required argument was not told.
    """
    named: Mapping[str, InputSpec] = {spec.name: spec for spec in specs}
    if len(specs) == 1 and required <= 1 and arguments and specs[0].name not in arguments:
        return (InputSpec(**{**vars(specs[0]), "name": arguments[0]}),)
    unknown = [name for name in named if name not in arguments]
    missing = [name for name in arguments[:required] if name not in named]
    if unknown or missing:
        parts = [f"{', '.join(map(repr, unknown))} is no argument of it"] if unknown else []
        parts += [f"{', '.join(map(repr, missing))} was not told"] if missing else []
        raise UsageError(
            f"{whose}: forward takes ({', '.join(arguments)}), and {' and '.join(parts)}. "
            "Name the arrays of --data, or each --input, as its arguments."
        )
    return tuple(named[name] for name in arguments if name in named)
