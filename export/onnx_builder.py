"""How layers are made from the nodes of an ONNX graph: each once, under its name, with its weights shared or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir
import torch
from torch import nn

from export.naming import layer_of
from export.onnx_values import Host

Run = Callable[..., Any]


@dataclass
class Builder:
    """What a builder needs to know and to make.

    Attributes:
        root: the module that all layers are put into.
        ranks: number of dimensions of each value, from a run.
        parameters: initializer -> the parameter made from it, so that tied weights stay tied.
        made: what a layer was made from -> its module, so that one used twice stays one.
    """

    root: nn.Module
    ranks: Mapping[str, int]
    parameters: dict[tuple[str, str], nn.Parameter] = field(default_factory=dict)
    made: dict[Any, tuple[str, nn.Module]] = field(default_factory=dict)

    def parameter(self, value: ir.Value, change: Callable[[Host], Host] | None = None, how: str = "") -> nn.Parameter:
        """The parameter of an initializer, changed in a way that `how` names."""
        key = (value.name or "", how)
        if key not in self.parameters:
            array = constant(value)
            assert array is not None
            self.parameters[key] = nn.Parameter(torch.tensor(change(array) if change else array))
        return self.parameters[key]

    def layer(
        self, node: ir.Node, weights: Sequence[ir.Value | None], make: Callable[[], nn.Module], key: Any
    ) -> nn.Module:
        """The module made for these weights and settings before, or a new one under the layer's name."""
        whole_key = (node.op_type, tuple(None if w is None else w.name for w in weights), key)
        if whole_key not in self.made:
            module = make().eval()
            self.made[whole_key] = put(self.root, name_for(node, weights), module), module
        return self.made[whole_key][1]


def put(root: nn.Module, path: str, module: nn.Module) -> str:
    """Place a module under a dotted name, with a number behind it where the name is taken; gives the name."""
    owner, owners, last = owner_of(root, path)
    name, count = last, 0
    while hasattr(owner, name):
        count += 1
        name = f"{last}_{count}"
    owner.add_module(name, module)
    return ".".join([*owners, name])


def owner_of(root: nn.Module, path: str) -> tuple[nn.Module, list[str], str]:
    """The module that shall hold what a dotted name names, made where it is not there; its path; the last part."""
    *owners, last = path.split(".")
    owner = root
    for i, part in enumerate(owners):
        while hasattr(owner, part) and part not in owner._modules:
            part += "_"
        if part not in owner._modules:
            owner.add_module(part, nn.Module())
        owner, owners[i] = owner.get_submodule(part), part
    return owner, owners, last


def name_for(node: ir.Node, weights: Sequence[ir.Value | None]) -> str:
    """A dotted module name: from the node (`features.3/Conv`), its weight (`features.3.weight`), or its operator."""
    layer = layer_of(node) if node.name else ""
    if layer and layer != node.name and clean(layer):
        return clean(layer)
    first = next((w.name for w in weights if w is not None and w.name), "")
    stem, dot, last = first.rpartition(".")
    if dot and last in ("weight", "bias", "W", "R", "B") and clean(stem):
        return clean(stem)
    return clean(layer or node.op_type) or node.op_type.lower()


def clean(name: str) -> str:
    """A node's name as a module's: the older exporter's `/layer1/layer1.0/conv1` is `layer1.0.conv1`.

    >>> clean("/layer1/layer1.0/conv1"), clean("conv1/BiasAdd:0"), clean("a b")
    ('layer1.0.conv1', 'conv1.BiasAdd_0', 'a_b')
    """
    path = ""
    for part in (p for p in name.split("/") if p):
        inside = part == path or part.startswith(f"{path}.")
        path = part if not path or inside else f"{path}.{part}"
    parts = ["".join(c if c.isalnum() or c == "_" else "_" for c in part) for part in path.split(".")]
    return ".".join(part for part in parts if part)


def constant(value: ir.Value | None) -> Host | None:
    """The numbers of an initializer; None for anything else."""
    if value is None or not value.is_initializer() or value.const_value is None or value.is_graph_input():
        return None
    return value.const_value.numpy()


def has_floats(value: ir.Value | None) -> bool:
    """Whether a value is a constant of floats."""
    array = constant(value)
    return array is not None and array.dtype.kind == "f"
