"""Parameters, bytes and multiply-adds of a network as polynomials in its widths; conventions as in `export.cost`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import fx, nn

from export.cost_torch import macs_of
from export.lifted import MAIN, device_of, evaluating, tensors
from models.records import Model, sizes_of
from models.recurrent import PeepholeLSTM, ResetFirstGRU, SigmoidRNN

from .axes import Axis, Dim, size_of
from .polynomial import Polynomial, constant, product, scaled, size_in, total
from .ties import Call, Dims, Ties

_RECURRENT = (nn.RNNBase, nn.RNNCellBase, PeepholeLSTM, ResetFirstGRU, SigmoidRNN)


def parameters_in(ties: Ties, numbers: Mapping[Axis, int]) -> Polynomial:
    """Elements of all parameters, shared ones once."""
    return _elements(ties, numbers, ties.network.parameters(), weight=lambda tensor: 1)


def bytes_in(ties: Ties, numbers: Mapping[Axis, int]) -> Polynomial:
    """Bytes of all parameters and buffers as stored."""
    stored = (*ties.network.parameters(), *ties.network.buffers())
    return _elements(ties, numbers, stored, weight=lambda tensor: tensor.element_size())


def _elements(ties: Ties, numbers: Mapping[Axis, int], of: Iterable[torch.Tensor], weight: Any) -> Polynomial:
    parts = [constant(0)]
    for tensor in of:
        tied = ties.tensors.get(id(tensor))
        sizes = constant(tensor.numel()) if tied is None else product(size_in(dim, numbers) for dim in tied.dims)
        parts.append(scaled(sizes, weight(tensor)))
    return Polynomial.of(total(parts))


def macs_in(ties: Ties, numbers: Mapping[Axis, int], model: Model) -> Polynomial:
    """Multiply-adds of the main form at batch 1 and the typical sizes.

    Each node is counted once by `export.cost_torch`. How the count follows the widths is known from the dimensions
    that it multiplies; free letters, which the analysis runs at other sizes, are a factor that stays.

    Args:
        ties: the analysis of this very model.
        numbers: which width each axis has.
        model: whose network the ties are of.
    """
    parts = [constant(0)]
    for node, counted in _counted(model).items():
        products = _multiplied(Call(ties, node))
        whole = sum(math.prod(map(size_of, dims)) for dims in products)
        if not whole:
            parts.append(constant(counted))
            continue
        follows = total(product(size_in(dim, numbers) for dim in dims) for dims in products)
        parts.append(scaled(follows, counted / whole))
    return Polynomial.of(total(parts))


def _counted(model: Model) -> dict[fx.Node, int]:
    """The multiply-adds of each node of the main form that has some."""
    network: Any = model.network
    values: dict[fx.Node, Any] = {}
    counted: dict[fx.Node, int] = {}
    with evaluating(network):
        for node, value in network.trace(MAIN, *tensors(model.inputs, sizes_of(model), device=device_of(network))):
            values[node] = _shape_alone(value)
            if node.op in ("call_module", "call_function"):
                module = network.get_submodule(str(node.target)) if node.op == "call_module" else None
                args = fx.node.map_arg(node.args, values.__getitem__)
                kwargs: Any = fx.node.map_arg(node.kwargs, values.__getitem__)
                first = values[node][0] if isinstance(value, tuple | list) and value else values[node]
                if macs := macs_of(node, module, args, kwargs, first):
                    counted[node] = macs
    return counted


def _shape_alone(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return torch.empty_like(value, device="meta")
    return type(value)(map(_shape_alone, value)) if isinstance(value, tuple | list) else value


def _multiplied(call: Call) -> list[Dims]:
    """The dimensions whose sizes are multiplied to a node's multiply-adds; several products are added up."""
    given = call.ties.dims.get(call.node)
    out: Dims = given if isinstance(given, tuple) else ()
    if call.node.op == "call_module":
        return _by_module(call, out)
    kind = call.kind
    if "conv" in kind:
        transposed = "transpose" in kind or bool(call.arguments.get("transposed"))
        return [(*(call.dims("input") if transposed else out), *call.dims("weight")[1:])]
    if kind == "linear":
        return [(*out, call.dims("input")[-1])]
    if kind in ("matmul", "mm", "bmm", "mv", "dot", "inner"):
        return [(*out, call.dims(0)[-1])]
    if kind in ("addmm", "baddbmm", "addmv"):
        return [(*out, call.dims(1)[-1])]
    if kind == "scaled_dot_product_attention":
        query, key, value = (call.dims(name) for name in ("query", "key", "value"))
        return [(*query[:-1], key[-2], width) for width in (query[-1], value[-1])]
    if kind == "einsum":
        return _by_letters(call)
    return []


def _by_module(call: Call, out: Dims) -> list[Dims]:
    module, x = call.module, call.dims(0)
    if isinstance(module, nn.Linear):
        return [(*out, x[-1])]
    if isinstance(module, nn.modules.conv._ConvNd):
        transposed = isinstance(module, nn.modules.conv._ConvTransposeNd)
        return [(*(x if transposed else out), *call.weight("weight")[1:])]
    if isinstance(module, nn.Bilinear):
        _, one, other = call.weight("weight")
        return [(*out, one, other), (*out, one)]
    if isinstance(module, _RECURRENT):
        return [(*x[:-1], *call.ties.tensor(p)) for p in module.parameters() if p.dim() == 2]
    return []


def _by_letters(call: Call) -> list[Dims]:
    """All letters of an einsum; where several operands fold in, each costs the same product."""
    letters: dict[str, Dim] = {}
    operands = str(call["equation"]).replace(" ", "").partition("->")[0].split(",")
    for operand, node in zip(operands, call["tensors"], strict=True):
        dims = call.dims(node)
        if len(dims) != len(operand):
            return []  # "...": nothing of it can be cut
        letters |= {letter: dim for letter, dim in zip(operand, dims, strict=True) if size_of(dim) != 1}
    return [tuple(letters.values())]
