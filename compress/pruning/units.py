"""Which units of a network can be removed: channels, hidden units, heads, widths, with all that mentions them.

Every form is run once on small inputs, so that each value has plain sizes, and walked once, rule by rule. What is left
whole and not frozen is a group of units: removing one of them removes its index from every weight in the group.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import torch
from torch import fx

from export.forms import MAIN, own_names, parts
from export.lifted import Lifted, attribute, device_of, evaluating, tensors
from models.records import Form, InputSpec, Model, OutputSpec, sizes_of

from .axes import Axis, Mismatch, Product, axes_of, freeze, resolve, terms_of, unify
from .dead_units import Watch, keep_what_shows
from .layer_rules import rule_for
from .norm_rules import NORMS
from .pick_rules import PICKING
from .pixel_rules import PIXELS
from .product_rules import PRODUCTS
from .shape_rules import MOVING, item
from .ties import Call, Dims, Given, Rule, Tied, Ties
from .unit_rules import COMPUTING, computes_pointwise, pointwise, unknown

RULES: dict[str, Rule] = {**COMPUTING, **PRODUCTS, **NORMS, **MOVING, **PICKING, **PIXELS}
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
    forms = parts(model)
    ties.seen = _seen(model, lambda _, value: _sizes(value))
    border = Border(forms)
    for form, signature in forms.items():
        given = iter(signature.inputs)
        for node in network.graphs[form].nodes:
            if node.op == "placeholder":
                ties.dims[node] = border.taken(form, next(given), ties.seen[node])
            elif node.op == "output":
                border.given(form, signature.outputs, Call(ties, node))
            else:
                ties.dims[node] = _followed(ties, node)
    _skip(ties, skip)
    _keep_alike(ties)
    _one_per_product(ties)
    _keep_alike(ties)
    keep_what_shows(ties, partial(_seen, model))
    _keep_alike(ties)
    return ties


def _seen(model: Model, watch: Watch) -> dict[fx.Node, Any]:
    """What `watch` makes of every value in one run of each form, at the first of these sizes that the network takes."""
    typical = sizes_of(model)
    apart = dict(zip(typical, _APART * len(typical), strict=False))
    first = dict(list(apart.items())[:1])
    for letters in (apart, {**typical, **first}):
        with suppress(RuntimeError, ValueError, IndexError, TypeError):
            return _run(model, letters, watch)
    return _run(model, typical, watch)


def _run(model: Model, letters: Mapping[str, int], watch: Watch) -> dict[fx.Node, Any]:
    network, seen = model.network, {}
    assert isinstance(network, Lifted)
    with evaluating(network):
        for form, part in parts(model).items():
            for node, value in network.trace(form, *tensors(part.inputs, letters, device=device_of(network))):
                seen[node] = watch(node, value)
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


class Border:
    """Where tensors come into the forms and leave them: what others see is frozen, what is the network's own is tied.

    A state that comes out is the one that goes in at the next step, and what one form hands to another is one thing:
    index by index they are tied, however many forms name it.
    """

    def __init__(self, forms: Mapping[str, Model | Form]) -> None:
        self.own = {form: own_names(forms, form) for form in forms}
        fed = [spec for form in forms.values() for spec in form.inputs if spec.state_of]
        self.state = {spec.state_of: spec.name for spec in fed}
        self.met: dict[str, list[tuple[tuple[int | str, ...], Dims]]] = {}

    def taken(self, form: str, spec: InputSpec, shape: Sequence[int]) -> Dims:
        """The dimensions of an input."""
        own = spec.name in self.own[form]
        why = f"it is an input, '{spec.name}', of {_named(form)}"
        dims: Dims = tuple(
            Axis(n, frozen="" if own and not isinstance(d, str) else why) for n, d in zip(shape, spec.dims, strict=True)
        )
        self._meet(spec, dims)
        return dims

    def given(self, form: str, outputs: Sequence[OutputSpec], call: Call) -> None:
        """Note what a form gives."""
        for value, spec in zip(call.node.args[0], outputs, strict=True):  # type: ignore[arg-type]
            dims = call.ties.dims.get(value)  # type: ignore[arg-type]
            if not isinstance(dims, tuple):
                continue
            own = spec.name in self.own[form] and len(dims) == len(spec.dims)
            for i, dim in enumerate(dims):
                if not own or isinstance(spec.dims[i], str):
                    freeze(dim, f"it is an output, '{spec.name}', of {_named(form)}")
            self._meet(spec, dims)

    def _meet(self, spec: InputSpec | OutputSpec, dims: Dims) -> None:
        """Tie it to what goes by the same name elsewhere."""
        if not any(spec.name in own for own in self.own.values()):
            return
        met = self.met.setdefault(self.state.get(spec.name, spec.name), [])
        for others, other in met[:1]:
            if len(other) != len(dims):
                for dim in (*other, *dims):
                    freeze(dim, f"'{spec.name}' has {len(other)} dimensions in one form and {len(dims)} in another")
                continue
            for mine, theirs, a, b in zip(dims, other, spec.dims, others, strict=True):
                if not isinstance(a, str) and not isinstance(b, str):
                    unify(theirs, mine, f"'{spec.name}' is put together in different ways in two forms")
        met.append((spec.dims, dims))


def _named(form: str) -> str:
    return "the model" if form == MAIN else f"form '{form}'"


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
        if all(dim == whole[0] for dim in whole):
            continue  # the same indices, however they are put together
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
