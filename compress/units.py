"""Which units of a network can be removed: channels, hidden units, heads, widths, with all that mentions them.

Every form is run once on small inputs, so that each value has plain sizes, and walked once, rule by rule. What is left
whole and not frozen is a group of units: removing one of them removes its index from every weight in the group.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import fx

from export.lifted import MAIN, Lifted, attribute, device_of, evaluating, tensors
from models.records import InputSpec, Model, OutputSpec, sizes_of

from .axes import Axis, Mismatch, Product, axes_of, freeze, resolve, terms_of
from .layer_rules import rule_for
from .shape_rules import MOVING, item
from .ties import Call, Dims, Given, Rule, Tied, Ties
from .unit_rules import COMPUTING, computes_pointwise, pointwise, unknown

RULES: dict[str, Rule] = {**COMPUTING, **MOVING}
_APART = (3, 5, 7, 11, 13)  # sizes for the free letters: unlike each other, and never 1, which would broadcast


@dataclass(frozen=True)
class Group:
    """Units that are tied: where their indices are, and why they cannot be removed, or "".

    Attributes:
        layer: the first layer that makes them.
        size: how many there are.
        places: weight and dimension, as in "features.0.weight[0]".
    """

    layer: str
    size: int
    places: tuple[str, ...]
    reason: str
    axis: Axis = field(repr=False, compare=False)

    def __str__(self) -> str:
        """One line a person can read."""
        fate = f"kept: {self.reason}" if self.reason else "can be cut"
        return f"{self.layer or 'the network'}: {self.size} units in {', '.join(self.places)}; {fate}"


def groups(model: Model, *, skip: Sequence[str] = ()) -> list[Group]:
    """All groups of units of a lifted model, in the order of its layers; those that cannot be cut say why.

    Args:
        model: its network is a lifted graph.
        skip: patterns of layers that are left as they are.
    """
    return list(groups_of(analyse(model, skip=skip)))


def analyse(model: Model, *, skip: Sequence[str] = ()) -> Ties:
    """Walk all forms of a model and tie what belongs together; changes nothing."""
    network = model.network
    assert isinstance(network, Lifted)
    names: dict[int, tuple[str, ...]] = {}
    tensors_of = (network.named_parameters(remove_duplicate=False), network.named_buffers(remove_duplicate=False))
    for name, tensor in (pair for named in tensors_of for pair in named):
        names[id(tensor)] = (*names.get(id(tensor), ()), name)
    ties = Ties(network, names)
    signatures = {MAIN: (model.inputs, model.outputs), **{n: (f.inputs, f.outputs) for n, f in model.forms.items()}}
    ties.seen = _seen(model)
    for form, (inputs, outputs) in signatures.items():
        given = iter(inputs)
        states: dict[str, Dims] = {}
        for node in network.graphs[form].nodes:
            if node.op == "placeholder":
                ties.dims[node] = _input(next(given), ties.seen[node], states)
            elif node.op == "output":
                _freeze_outputs(ties, node, outputs, states)
            else:
                ties.dims[node] = _followed(ties, node)
    _skip(ties, skip)
    _keep_alike(ties)
    _one_per_product(ties)
    _keep_alike(ties)
    return ties


def _seen(model: Model) -> dict[fx.Node, Any]:
    """The sizes of every value in one run of each form, at the first of these sizes that the network takes."""
    typical = sizes_of(model)
    apart = dict(zip(typical, _APART * len(typical), strict=False))
    first = dict(list(apart.items())[:1])
    for letters in (apart, {**typical, **first}):
        with suppress(RuntimeError, ValueError, IndexError, TypeError):
            return _run(model, letters)
    return _run(model, typical)


def _run(model: Model, letters: Mapping[str, int]) -> dict[fx.Node, Any]:
    network, seen = model.network, {}
    assert isinstance(network, Lifted)
    with evaluating(network):
        for form, inputs in ((MAIN, model.inputs), *((name, f.inputs) for name, f in model.forms.items())):
            for node, value in network.trace(form, *tensors(inputs, letters, device=device_of(network))):
                seen[node] = _sizes(value)
    return seen


def _skip(ties: Ties, patterns: Sequence[str]) -> None:
    for tied in ties.tensors.values():
        for pattern in patterns:
            if any(fnmatchcase(_layer(name), pattern) for name in tied.names):
                for dim in tied.dims:
                    freeze(dim, f"'{pattern}' is skipped")


def _sizes(value: Any) -> Any:
    """The shape of a tensor as a tuple, of several as a list, a number as it is."""
    if isinstance(value, torch.Tensor):
        return tuple(value.shape)
    return [_sizes(v) for v in value] if isinstance(value, tuple | list) else value


def _input(spec: InputSpec, shape: Sequence[int], states: dict[str, Dims]) -> Dims:
    """Dimensions of an input are never cut, but for the width of a state: the network hands it to itself."""
    why = f"it is an input, '{spec.name}', of the model"
    dims: Dims = tuple(
        Axis(n, frozen="" if spec.state_of and not isinstance(d, str) else why)
        for n, d in zip(shape, spec.dims, strict=True)
    )
    if spec.state_of:
        states[spec.state_of] = dims
    return dims


def _freeze_outputs(ties: Ties, node: fx.Node, outputs: Sequence[OutputSpec], states: Mapping[str, Dims]) -> None:
    for value, spec in zip(node.args[0], outputs, strict=True):  # type: ignore[arg-type]
        dims = ties.dims.get(value)  # type: ignore[arg-type]
        if isinstance(dims, tuple) and spec.name in states:
            for dim, state in zip(dims, states[spec.name], strict=True):
                Call(ties, node).tie(dim, state)
        for dim in dims if isinstance(dims, tuple) and spec.name not in states else ():
            freeze(dim, f"it is an output, '{spec.name}', of the model")


def _followed(ties: Ties, node: fx.Node) -> Given:
    """What its rule says of a node; a call that the rule was not written for is frozen like one without a rule."""
    call = Call(ties, node)
    try:
        return _rule(ties, node)(call)
    except (Mismatch, LookupError, TypeError, ValueError):
        return unknown(call)


def _rule(ties: Ties, node: fx.Node) -> Rule:
    if node.op == "get_attr":
        return lambda call: ties.tensor(attribute(ties.network, str(node.target)))
    if node.op == "call_module":
        return rule_for(ties.network.get_submodule(str(node.target)))
    if not isinstance(node.target, torch._ops.OpOverload):
        return _plain
    if computes_pointwise(node):
        return pointwise
    return RULES.get(node.target._schema.name.split("::")[-1], unknown)


def _plain(call: Call) -> Given:
    """Python's own functions: taking a tuple apart, arithmetic on sizes."""
    several = call.node.args[0] if call.node.args else None
    if isinstance(several, fx.Node) and isinstance(call.ties.dims.get(several), list):
        return item(call)
    return unknown(call)


def _keep_alike(ties: Ties) -> None:
    """Where layers keep the same number of units, one that cannot be cut, or not as a whole, keeps all."""
    for dims in ties.alike:
        whole = [resolve(dim) for dim in dims]
        reasons = [axis.frozen for dim in whole for axis in axes_of(dim) if axis.frozen]
        if not reasons and not all(isinstance(dim, Axis) for dim in whole):
            reasons = ["layers of one size are put together in different ways"]
        for dim in whole if reasons else ():
            freeze(dim, reasons[0])


def _one_per_product(ties: Ties) -> None:
    """Where units come in rows (heads, groups), whole rows go: what is inside a row stays."""
    for tied in ties.tensors.values():
        for term in (term for dim in tied.dims for term in terms_of(dim) if isinstance(term, Product)):
            free = [axis for axis in dict.fromkeys(axes_of(term)) if not axis.frozen]
            for axis in free[1:]:
                axis.frozen = f"it is the inside of {free[0].size} units that go as a whole"


def groups_of(ties: Ties) -> Iterator[Group]:
    """The groups in an analysis, in the order in which layers meet them."""
    places: dict[Axis, list[tuple[Tied, int]]] = {}
    for tied in ties.tensors.values():
        for position, dim in enumerate(tied.dims):
            for axis in axes_of(dim):
                places.setdefault(axis, []).append((tied, position))
    for axis, found in places.items():
        if axis.is_unit and any(isinstance(t.tensor, torch.nn.Parameter) for t, _ in found):
            text = tuple(dict.fromkeys(f"{name}[{i}]" for tied, i in found for name in tied.names))
            yield Group(_layer((*found[0][0].names, "")[0]), axis.size, text, axis.frozen, axis)


def _layer(name: str) -> str:
    return name.rpartition(".")[0]
