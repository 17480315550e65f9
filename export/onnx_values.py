"""What flows while an ONNX graph is interpreted in torch: tensors, constants, and sizes on the host.

Sizes never become tensors: Shape gives a numpy array of ints (symbolic ones while a module is traced), and arithmetic
on it stays in numpy, so that free dimensions stay free.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from models.errors import LiftError

Host = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Constant:
    """An initializer: its numbers, and where its tensor lies in the module (None: not as a tensor of the module)."""

    array: Host
    owner: torch.nn.Module
    path: str | None

    def tensor(self) -> torch.Tensor:
        """The parameter or buffer as it is now."""
        if self.path is None:
            return torch.tensor(self.array)
        owner, _, name = self.path.rpartition(".")
        found: torch.Tensor = getattr(self.owner.get_submodule(owner), name)
        return found


@dataclass(frozen=True, eq=False)
class Call:
    """One node: its operator, opset, attributes as Python values, and how many outputs are wanted."""

    op: str
    name: str
    opset: int
    attributes: Mapping[str, Any]
    outputs: int

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute's value, or the default."""
        return self.attributes.get(name, default)

    def refuse(self, reason: str) -> LiftError:
        """The error for what this node asks and the torch form cannot do."""
        return LiftError(
            f"lift: operator {self.op} at node '{self.name}' {reason}. Passes that work on ONNX itself (quantize) "
            "still take this file; for the others load the network from its PyTorch source.",
            layer=self.name,
            operation=self.op,
        )

    def axes(self, inputs: Sequence[Any], place: int = 1) -> list[int] | None:
        """Axes, an attribute in old opsets and an input in new ones; None where they are left out."""
        if "axes" in self.attributes:
            return [int(a) for a in self.attributes["axes"]]
        if len(inputs) > place and inputs[place] is not None:
            return [int(a) for a in self.host(inputs[place]).reshape(-1)]
        return None

    def host(self, value: Any) -> Host:
        """A value whose numbers are needed while the graph is laid out: sizes, axes, pads.

        Raises:
            LiftError: it depends on the data.
        """
        if isinstance(value, Constant):
            return value.array
        if isinstance(value, np.ndarray):
            return value
        raise self.refuse("takes a size or an axis that depends on the data, and the torch form has none such")

    def ints(self, value: Any) -> list[Any]:
        """The host value as a flat list of ints, symbolic ones among them."""
        return list(self.host(value).reshape(-1).tolist())


def on_host(*values: Any) -> bool:
    """Whether every value is known without the data."""
    return all(v is None or isinstance(v, Constant | np.ndarray) for v in values)


def tensor(value: Any, like: torch.Tensor | None = None) -> torch.Tensor:
    """A value as a tensor; sizes are put into one, on the device of `like`."""
    if isinstance(value, Constant):
        return value.tensor()
    if isinstance(value, np.ndarray):
        device = like.device if like is not None else None
        if value.dtype != object:
            return torch.tensor(value, device=device)
        parts = [torch.scalar_tensor(v, dtype=_dtype_of(v), device=device) for v in value.reshape(-1)]
        return torch.stack(parts).reshape(value.shape)
    found: torch.Tensor = value
    return found


def operand(value: Any, other: Any) -> Any:
    """One side of an element-wise operation: a single number as such, if that cannot change the result's rank."""
    array = value.array if isinstance(value, Constant) else value
    if (
        isinstance(array, np.ndarray)
        and array.size == 1
        and isinstance(other, torch.Tensor)
        and array.ndim <= other.ndim
    ):
        if not (
            isinstance(value, Constant) and value.path is not None and isinstance(value.tensor(), torch.nn.Parameter)
        ):
            return array.reshape(-1)[0] if array.dtype == object else array.item()
    return tensor(value, other if isinstance(other, torch.Tensor) else None)


def _dtype_of(value: Any) -> torch.dtype:
    if isinstance(value, bool | np.bool_ | torch.SymBool):
        return torch.bool
    return torch.float32 if isinstance(value, float | np.floating | torch.SymFloat) else torch.int64
