"""Where a network sums over units: in which operation, over which dimension, and how much each unit adds there.

An operation that sums over a dimension, such as y = W x, adds up what its indices contribute: index j contributes the
outer product of x_j, over all samples and positions, with the column W_j. The square of the product's Frobenius norm
is |x_j|^2 |W_j|^2, its energy here. (In a convolution contributions to one position overlap, and the energies are
added as if they did not. The order of summation, biases and gates do not matter.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from export.einsum import operands_and_result
from models.recurrent import PeepholeLSTM, ResetFirstGRU, SigmoidRNN

from .axes import Dim, size_of
from .ties import Call, Dims, Ties

Values = Mapping[fx.Node, Any]
_PRODUCTS = {  # kind -> the arguments that are multiplied, in order
    "matmul": ("self", "other"),
    "mm": ("self", "mat2"),
    "bmm": ("self", "mat2"),
    "mv": ("self", "vec"),
    "dot": ("self", "tensor"),
    "addmm": ("mat1", "mat2"),
    "baddbmm": ("batch1", "batch2"),
}


@dataclass(frozen=True)
class Contraction:
    """A dimension that an operation sums over, and the energy of each of its indices in this batch, (size,)."""

    dim: Dim
    energy: torch.Tensor


def contractions(ties: Ties, node: fx.Node, values: Values) -> Iterator[Contraction]:
    """What a node sums over, always the same ones in the same order; nothing for an operation without products.

    Args:
        ties: the analysis of the network.
        node: of one of its graphs.
        values: of all that the node takes, and its own.
    """
    call = Call(ties, node)
    if node.op == "call_module":
        found = _layer(call, values)
    elif node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):
        found = _function(call, values)
    else:
        return
    for dim, energy in found:
        if size_of(dim) == len(energy):  # else a length, which differs from data to data
            yield Contraction(dim, energy)


def _layer(call: Call, values: Values) -> Iterator[tuple[Dim, torch.Tensor]]:
    module: Any = call.module
    given = [(call.dims(node), values[node]) for node in call.node.all_input_nodes if call.is_tensor(node)]
    if not given:
        return
    (dims, x), *more = given
    if isinstance(module, nn.Linear):
        yield dims[-1], _energy(x, -1, module.weight, 1)
    elif isinstance(module, nn.Bilinear):
        (other, y), *_ = more or given
        yield dims[-1], _energy(x, -1, module.weight, 1)
        yield other[-1], _energy(y, -1, module.weight, 2)
    elif isinstance(module, _ConvNd):
        yield _convolution(dims, x, module.weight, module.groups, transposed=isinstance(module, _ConvTransposeNd))
    elif isinstance(module, nn.RNN | nn.LSTM | nn.GRU | PeepholeLSTM | ResetFirstGRU | SigmoidRNN):
        yield from _recurrent(call, values)
    elif isinstance(module, nn.RNNCellBase):
        yield dims[-1], _energy(x, -1, module.weight_ih, 1)
        for hidden, h in more[:1]:
            yield hidden[-1], _energy(h, -1, module.weight_hh, 1)


def _function(call: Call, values: Values) -> Iterator[tuple[Dim, torch.Tensor]]:
    def given(name: str) -> tuple[Dims, torch.Tensor]:
        return call.dims(name), values[call.arguments[name]]

    if call.kind == "linear":
        (dims, x), (_, weight) = given("input"), given("weight")
        yield dims[-1], _energy(x, -1, weight, 1)
    elif call.kind in _PRODUCTS:
        (dims, x), (_, y) = (given(name) for name in _PRODUCTS[call.kind])
        yield dims[-1], _energy(x, -1, y, -1 if y.ndim == 1 else -2)
    elif call.kind == "scaled_dot_product_attention":
        (dims, query), (_, key) = given("query"), given("key")
        yield dims[-1], _energy(query, -1, key, -1)
    elif call.kind.startswith("conv") and "weight" in call.arguments:
        (dims, x), (_, weight) = given("input"), given("weight")
        transposed = bool(call.arguments.get("transposed")) or "transpose" in call.kind
        yield _convolution(dims, x, weight, int(call["groups"]), transposed=transposed)
    elif call.kind == "einsum":
        yield from _einsum(call, values)


def _einsum(call: Call, values: Values) -> Iterator[tuple[Dim, torch.Tensor]]:
    """Indices that two operands share and the result lacks."""
    nodes = call["tensors"]
    operands, result = operands_and_result(str(call["equation"]), [values[node].ndim for node in nodes])
    if len(operands) != 2 or any(len(set(indices)) != len(indices) for indices in operands):
        return
    for index in operands[0]:
        if index in operands[1] and index not in result:
            here, there = (indices.index(index) for indices in operands)
            yield call.dims(nodes[0])[here], _energy(values[nodes[0]], here, values[nodes[1]], there)


def _energy(x: torch.Tensor, place: int, weight: torch.Tensor, along: int) -> torch.Tensor:
    """|x_j|^2 |W_j|^2 for each index of two dimensions that are multiplied and summed over."""
    return _squares(x, place) * _squares(weight, along)


def _squares(values: torch.Tensor, place: int) -> torch.Tensor:
    """Sums of squares over all other dimensions."""
    return values.detach().movedim(place, 0).flatten(1).square().sum(1, dtype=torch.float64).cpu()


def _convolution(
    dims: Dims, x: torch.Tensor, weight: torch.Tensor, groups: int, *, transposed: bool
) -> tuple[Dim, torch.Tensor]:
    """Over its input channels; weights are (out, in / groups, ...), or transposed (in, out / groups, ...)."""
    place = x.ndim - weight.ndim + 1
    if not transposed:  # one row a group, and in it the channels of the group
        weight = weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
    return dims[place], _energy(x, place, weight, 0)


def _recurrent(call: Call, values: Values) -> Iterator[tuple[Dim, torch.Tensor]]:
    """Over the inputs and over the hidden units of each layer and direction, their states at all steps.

    Inside an LSTM with a projection the hidden units are not seen: only what is projected is.
    """
    module: Any = call.module
    x, *states = (values[node] for node in call.node.all_input_nodes)
    for layer in range(module.num_layers):
        suffixes = [f"l{layer}", f"l{layer}_reverse"][: 2 if module.bidirectional else 1]
        inner = call.node in values and module.num_layers == 1
        made = values[call.node][0] if inner else _one_layer(module, layer, suffixes, x, states)
        for suffix, part in zip(suffixes, made.chunk(len(suffixes), -1), strict=True):
            into, back = getattr(module, f"weight_ih_{suffix}"), getattr(module, f"weight_hh_{suffix}")
            yield call.ties.tensor(into)[1], _energy(x, -1, into, 1)
            yield call.ties.tensor(back)[1], _energy(part, -1, back, 1)
        x = made


def _one_layer(
    module: Any, layer: int, suffixes: list[str], x: torch.Tensor, states: list[torch.Tensor]
) -> torch.Tensor:
    """The sequence that one layer of several gives, which torch keeps to itself."""
    more = {"nonlinearity": module.nonlinearity} if isinstance(module, nn.RNN) else {}
    more |= {"proj_size": module.proj_size} if isinstance(module, nn.LSTM) else {}
    flags = {name: getattr(module, name) for name in ("bias", "batch_first", "bidirectional")}
    alone = type(module)(x.shape[-1], module.hidden_size, **flags, **more).to(x.device, x.dtype).eval()
    for name, parameter in module.named_parameters():
        kind, _, suffix = name.rpartition("_l")
        if f"l{suffix}" in suffixes:
            getattr(alone, f"{kind}_l0{suffix.lstrip('0123456789')}").data = parameter.detach()
    rows = slice(layer * len(suffixes), (layer + 1) * len(suffixes))
    first = [state[rows].contiguous() for state in states]
    sequence: torch.Tensor = alone(x, tuple(first) if len(first) == 2 else first[0] if first else None)[0]
    return sequence
