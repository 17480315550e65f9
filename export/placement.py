"""Where each layer of a traced program goes: under which name, as which module, shared with which other call."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram

from export.layer_nodes import LayerCall, layer_call
from export.layers import DROPOUTS, build, kind_of, put, settings_of
from export.lifted import Lifted
from export.pieces import Source, shared_pieces, sources, weights_of

_FAMILIES: tuple[type[Any], ...] = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)


def layer_name(node: fx.Node) -> str:
    """The submodule in which a node was traced, as the user named it; "" for the module itself."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    name = re.sub(r"@\d+", "", str(stack[-1][0])) if stack else ""
    return name.removeprefix("module").removeprefix(".") if name.startswith("module") else ""


@dataclass(eq=False)
class Placement:
    """The names of all layers of some programs over one module, and the modules that go there.

    Args:
        module: the user's, without parametrizations.
    """

    module: nn.Module
    layers: dict[str, nn.Module] = field(default_factory=dict)
    homes: dict[int, str] = field(default_factory=dict)  # id of a tensor -> the name under which it now lies
    paths: dict[fx.Node, str] = field(default_factory=dict)
    calls: dict[fx.Node, LayerCall] = field(default_factory=dict)
    known: dict[fx.Node, Source] = field(default_factory=dict)
    _keys: dict[Any, str] = field(default_factory=dict)

    def place(self, programs: Sequence[ExportedProgram]) -> None:
        """Decide for every layer in the programs; `paths` then names each node's."""
        weights: dict[fx.Node, dict[str, Source]] = {}
        for program in programs:
            self.known |= sources(program, self.module)
            for node in program.graph.nodes:
                call = layer_call(node)
                found = weights_of(call, self.known) if call else None
                if call is not None and found is not None:
                    self.calls[node], weights[node] = call, found
                if node.target is torch.ops.compress.recurrent.default:
                    self._recurrent(node)
        self._leave_shared(programs, weights)
        owned = {node: self._own(node, self.calls[node].kind, weights[node]) for node in weights}
        for node in sorted(weights, key=lambda n: not owned[n]):  # layers of the user's first, then what is nobody's
            self._one(node, weights[node], owned[node])

    def _leave_shared(self, programs: Sequence[ExportedProgram], weights: dict[fx.Node, dict[str, Source]]) -> None:
        """Leave operations alone whose weights are cut from a parameter that is used otherwise too."""
        while True:
            uses = []
            for node, source in self.known.items():
                for user in node.users:
                    if user not in self.known:
                        as_weight = user in weights and node in self.calls[user].weights.values()
                        uses.append((source, as_weight and node not in self.calls[user].arguments))
            bad = shared_pieces(weights.values(), uses)
            gone = [n for n, found in weights.items() if any(id(s.tensor) in bad and s.cuts for s in found.values())]
            if not gone:
                return
            for node in gone:
                del weights[node], self.calls[node]

    def _own(self, node: fx.Node, kind: type[nn.Module], weights: dict[str, Source]) -> str:
        """The user's own layer that this call is, by name; "" where it is none."""
        name = layer_name(node)
        layer = self.module.get_submodule(name)
        family = next((f for f in _FAMILIES if issubclass(kind, f)), DROPOUTS if kind in DROPOUTS else kind)
        if not isinstance(layer, family) or next(layer.children(), None) is not None:
            return ""
        mine = {id(t) for t in layer.parameters(recurse=False)}
        if mine != {id(s.tensor) for n, s in weights.items() if not n.startswith("running")}:
            return ""
        return clear(name or kind.__name__.lower())

    def _one(self, node: fx.Node, weights: dict[str, Source], own: str) -> None:
        call = self.calls[node]
        dropout = call.kind in DROPOUTS
        pieces = tuple((name, source.key) for name, source in weights.items())
        key = (call.kind, tuple(call.settings.items()), pieces, own, node if dropout and not own else None)
        path = self._keys.get(key)
        if path is None:
            tied = any(id(s.tensor) in self.homes for s in weights.values())
            if (own and own in self.layers) or (tied and not own):
                return  # the weight of another layer, used in another way: stays an operation on it
            path = own or self._unowned(node, call, weights)
            self._keys[key] = path
            self._make(path, node, weights, own)
        self.paths[node] = path

    def _make(self, path: str, node: fx.Node, weights: dict[str, Source], own: str) -> None:
        call = self.calls[node]
        layer = build(call.kind, call.settings)
        for name, source in weights.items():
            tensor = source.tensor
            if source.cells is not None:
                value = source.value(tensor.detach()).clone(memory_format=torch.contiguous_format)
                tensor = nn.Parameter(value, requires_grad=tensor.requires_grad)
            else:
                self.homes.setdefault(id(tensor), f"{path}.{name}")
            put(layer, name, tensor)
        original = self.module.get_submodule(layer_name(node)) if own else None
        if isinstance(layer, _FAMILIES) and layer.track_running_stats:
            seen = getattr(original, "num_batches_tracked", None)
            put(layer, "num_batches_tracked", torch.tensor(0) if seen is None else seen)
            layer.momentum = getattr(original, "momentum", layer.momentum)  # None, a plain average, is traced as 0
        self.layers[path] = layer.eval()

    def _recurrent(self, node: fx.Node) -> None:
        name = str(node.args[2])
        original = self.module.get_submodule(name)
        kind = kind_of(original)
        assert kind is not None
        path = clear(name or kind.__name__.lower())
        self.paths[node] = path
        if path not in self.layers:
            layer = build(kind, settings_of(original, kind))
            for weight in layer._parameters:
                tensor = original._parameters[weight]
                put(layer, weight, tensor)
                self.homes.setdefault(id(tensor), f"{path}.{weight}")
            self.layers[path] = layer.eval()

    def _unowned(self, node: fx.Node, call: LayerCall, weights: dict[str, Source]) -> str:
        """A name for a layer written as a function: its weight's owner where that has nothing else, else below it."""
        kind = call.kind.__name__.lower()
        if "weight" not in weights:
            return self._free(layer_name(node), "dropout" if call.kind in DROPOUTS else kind)
        source = weights["weight"]
        parent, _, name = source.path.rpartition(".")
        owner = self.module.get_submodule(parent)
        used = {id(s.tensor) for s in weights.values()}
        everything = {id(t) for t in (*owner.parameters(), *owner.buffers())}
        whole = all(s.cells is None or call.transposed for s in weights.values())
        if parent and whole and everything <= used and next(owner.children(), None) is None and self._is_free(parent):
            return parent
        stem = name.removesuffix("weight").rstrip("_") or kind
        if self._is_free(source.path, but=source.path) and name == _projection(source, stem):
            return source.path
        return self._free(parent, _projection(source, stem))

    def _free(self, parent: str, name: str) -> str:
        while parent and any(parent == p or parent.startswith(f"{p}.") for p in self.layers):
            parent, _, last = parent.rpartition(".")
            name = f"{last}_{name}"
        name = f"{parent}.{name}" if parent else name
        number = 1
        while not self._is_free(name if number == 1 else f"{name}_{number}"):
            number += 1
        return name if number == 1 else f"{name}_{number}"

    def _is_free(self, path: str, *, but: str = "") -> bool:
        taken = any(p == path or p.startswith(f"{path}.") or path.startswith(f"{p}.") for p in self.layers)
        return not taken and clear(path) == path and (path == but or not _is_tensor(self.module, path))


def clear(path: str) -> str:
    """The name itself, or with a stroke behind its first part where `Lifted` has an attribute of that name."""
    top, dot, rest = path.partition(".")
    return f"{top}_{dot}{rest}" if hasattr(_EMPTY, top) else path


_EMPTY = Lifted()


def _is_tensor(module: nn.Module, path: str) -> bool:
    owner, _, name = path.rpartition(".")
    try:
        parent = module.get_submodule(owner)
    except AttributeError:
        return False
    return name in parent._parameters or name in parent._buffers


def _projection(source: Source, stem: str) -> str:
    """Names the pieces of a stacked projection: q_proj, k_proj, v_proj of an attention's three, else by number."""
    if source.cells is None:
        return stem
    rows, left = source.tensor.shape[0], source.cells.shape[0]
    if source.cells.numel() == source.tensor.numel():
        return stem
    first = int(source.cells.flatten()[0]) // max(source.tensor[0].numel(), 1)
    if stem == "in_proj" and 3 * left in (rows, 2 * rows) and first % (rows // 3) == 0:
        thirds = range(3 * first // rows, 3 * (first + left) // rows)
        return "".join("qkv"[third] for third in thirds) + "_proj"
    return f"{stem}_{first // max(left, 1)}"
