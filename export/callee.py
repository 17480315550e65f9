"""A method of a user's module as a function of tensors in order to tensors in order, with names on both sides."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from models.errors import LiftError
from models.records import InputSpec


class Running:
    """Which submodules run, by name, the innermost last; an object of its own, since tracing undoes attributes."""

    def __init__(self) -> None:
        self.names: list[str] = []


class Callee(nn.Module):
    """Calls the method with its inputs by name, where the names are the method's, else in order.

    Attributes:
        names: of the outputs; known once it has run.
        running: the submodules that are running.
    """

    def __init__(self, module: nn.Module, method: str, inputs: Sequence[InputSpec]) -> None:
        super().__init__()
        if not callable(getattr(module, method, None)):
            raise LiftError(f"lift: {type(module).__name__} has no method '{method}'.", operation=method)
        self.module = module
        self.method = method
        self.inputs = tuple(inputs)
        self.keywords = _keywords(getattr(module, method), inputs)
        self.names: tuple[str, ...] = ()
        self.running = Running()

    def forward(self, *args: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The tensors among what the method gives, however nested."""
        self.running.names.clear()
        call = self.module if self.method == "forward" else getattr(self.module, self.method)
        found = call(**dict(zip(self.keywords, args, strict=True))) if self.keywords else call(*args)
        named = list(_flattened(found, ""))
        if not named:
            raise LiftError(f"lift: '{self.method}' of {type(self.module).__name__} gives no tensor.")
        self.names = _names([name for name, _ in named])
        return tuple(tensor for _, tensor in named)

    @property
    def layer(self) -> str:
        """The innermost submodule that was running; "" for the module itself."""
        return self.running.names[-1] if self.running.names else ""


def _keywords(method: Callable[..., Any], inputs: Sequence[InputSpec]) -> tuple[str, ...]:
    try:
        parameters = inspect.signature(method).parameters.values()
    except (TypeError, ValueError):
        return ()
    known = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    names = tuple(spec.name for spec in inputs)
    return names if known.issuperset(names) else ()


def _flattened(value: Any, name: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Each tensor in a nested value with its name; numbers and None, which no runtime would give, are left out."""
    if isinstance(value, torch.Tensor):
        yield name, value
        return
    for key, part in _parts(value):
        key = re.sub(r"\W", "_", key)
        yield from _flattened(part, f"{name}_{key}" if name else key)


def _parts(value: Any) -> list[tuple[str, Any]]:
    if value is None or isinstance(value, (bool, int, float, str, torch.SymInt, torch.SymFloat, torch.SymBool)):
        return []
    if isinstance(value, Mapping):
        return [(str(key), part) for key, part in value.items()]
    if dataclasses.is_dataclass(value):
        return [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value)]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return list(zip(value._fields, value, strict=True))
    if isinstance(value, (tuple, list)):
        return [(str(i), part) for i, part in enumerate(value)]
    raise LiftError(f"lift: the network gives a {type(value).__name__}, in which no tensors can be found.")


def _names(paths: Sequence[str]) -> tuple[str, ...]:
    if list(paths) in ([""], ["0"]):
        return ("y",)
    taken: list[str] = []
    for path in paths:
        name = f"output_{path}" if path[:1].isdigit() else path
        taken.append(name if name not in taken else f"{name}_{len(taken)}")
    return tuple(taken)


@contextmanager
def watched(callee: Callee) -> Iterator[None]:
    """Meanwhile, `callee.layer` follows which submodule runs; after an error it still names the innermost."""
    handles = []
    running = callee.running.names
    for name, layer in callee.module.named_modules():
        if name and not isinstance(layer, torch.jit.ScriptModule):
            handles.append(layer.register_forward_pre_hook(lambda *_, n=name: running.append(n)))
            handles.append(layer.register_forward_hook(lambda *_: running.pop() and None))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
