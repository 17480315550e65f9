"""What to do where a network does not run on the inputs that were described for it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from models.records import InputSpec

_NAMED = re.compile(r"invalid data type 'str'|'Tensor' object has no attribute|takes \d+ positional arguments? but \d+")
_IN_NUMPY = ("float16", "float32", "float64")


def remedy(module: nn.Module, inputs: Sequence[InputSpec], reason: str) -> str:
    """A sentence or two, by what the network is and what it said.

    Args:
        module: the user's.
        inputs: as described.
        reason: what torch or the network raised.
    """
    if "type" in reason and (other := _other_type(module, inputs)):
        return other
    if _NAMED.search(reason):
        names = [spec.name for spec in inputs]
        given = ", ".join(f"'{name}': {name}" for name in names)
        return (
            "If forward looks tensors up by name in one argument, wrap it in a module that takes them one by one: "
            f"def forward(self, {', '.join(names)}): return self.net({{{given}}})."
        )
    return "If the sizes are wrong, write numbers in place of letters, or give a size for each letter."


def _other_type(module: nn.Module, inputs: Sequence[InputSpec]) -> str:
    """What is said where all weights are of one type of number, and inputs of another; "" where they are not."""
    types = {str(p.dtype).removeprefix("torch.") for p in module.parameters() if p.is_floating_point()}
    others = [spec for spec in inputs if spec.dtype in _IN_NUMPY and spec.dtype not in types]
    if len(types) != 1 or not others:
        return ""
    (kind,) = types
    if kind not in _IN_NUMPY:
        return f"Its weights are {kind}, which no input can be: make it float32 by net.float()."
    told = " ".join(f"--input {_as_text(replace(spec, dtype=kind))}" for spec in others)
    return f"Its weights are {kind}: write {told}, or make it float32 by net.float()."


def _as_text(spec: InputSpec) -> str:
    return f"{spec.name}:{spec.dtype}[{','.join(map(str, spec.dims))}]"
