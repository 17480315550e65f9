"""Cost of a lifted network: it is run once, and each node is counted by the shapes it saw. Conventions: `cost.py`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import fx, nn

from export.counts import Cost, LayerCost, Step, gathered, peak_bytes
from export.einsum import einsum_macs
from export.lifted import MAIN, Lifted, attribute, device_of, evaluating, tensors
from models.records import Model
from models.recurrent import PeepholeLSTM, ResetFirstGRU, SigmoidRNN

_Shapes = Sequence[Any]  # of a node's arguments, as they were given; tensors stay tensors
_VIEWS = frozenset(
    "view reshape flatten squeeze unsqueeze expand permute transpose t alias detach select slice narrow unbind split "
    "split_with_sizes chunk _unsafe_view movedim unflatten swapaxes contiguous dropout".split()
)
_RECURRENT = (nn.LSTM, nn.GRU, nn.RNN, PeepholeLSTM, ResetFirstGRU, SigmoidRNN, nn.LSTMCell, nn.GRUCell, nn.RNNCell)


def torch_cost(model: Model, sizes: Mapping[str, int]) -> Cost:
    """Cost of a lifted model's main form at the sizes."""
    network: Any = model.network
    rows: list[LayerCost] = []
    steps: list[Step] = []
    given: list[tuple[str, int]] = []
    outputs: list[str] = []
    values: dict[fx.Node, Any] = {}
    with evaluating(network):
        for node, value in network.trace(MAIN, *tensors(model.inputs, sizes, device=device_of(network))):
            values[node] = _shadow(value)
            if node.op == "placeholder":
                given.append((node.name, _nbytes(value)))
            elif node.op == "output":
                outputs = [read.name for read in node.all_input_nodes]
            elif node.op in ("call_module", "call_function"):
                rows.append(_row(network, node, values))
                shares = node.all_input_nodes[0].name if _is_view(network, node) and node.all_input_nodes else None
                steps.append(Step([(node.name, _nbytes(value))], [n.name for n in node.all_input_nodes], shares))
    parameters = list(network.parameters())
    stored = parameters + list(network.buffers())
    return Cost(
        parameters=sum(p.numel() for p in parameters),
        macs=sum(row.macs for row in rows),
        integer_macs=0,
        bytes=sum(tensor.nbytes for tensor in stored),
        peak_activation_bytes=peak_bytes(steps, given, outputs),
        layers=gathered(_parameters_once(network, rows)),
    )


def macs_of(node: fx.Node, module: nn.Module | None, args: _Shapes, kwargs: Mapping[str, Any], out: Any) -> int:
    """Multiply-adds of one call; tensors among the arguments need only a shape."""
    if module is not None:
        return _module_macs(module, args, out)
    name = node.target._schema.name.removeprefix("aten::") if isinstance(node.target, torch._ops.OpOverload) else ""
    count = _FUNCTIONS.get(name)
    return count(args, kwargs, out) if count else 0


def _row(network: Lifted, node: fx.Node, values: dict[fx.Node, Any]) -> LayerCost:
    args = fx.node.map_arg(node.args, values.__getitem__)
    kwargs = fx.node.map_arg(node.kwargs, values.__getitem__)
    module = network.get_submodule(str(node.target)) if node.op == "call_module" else None
    out = values[node]
    layer = str(node.target) if module is not None else node.name
    kind = type(module).__name__ if module is not None else str(node.target).removeprefix("aten.").partition(".")[0]
    first = out[0] if isinstance(out, tuple | list) else out
    macs = macs_of(node, module, args, kwargs, first)
    return LayerCost(layer=layer, type=kind, macs=macs, out_bytes=_nbytes(out))


def _parameters_once(network: Lifted, rows: Sequence[LayerCost]) -> list[LayerCost]:
    """The rows, and one more for each module that has parameters; tied ones count at the first that holds them."""
    seen: set[int] = set()
    found = list(rows)
    used = {str(n.target) for graph in network.graphs.values() for n in graph.nodes if n.op == "get_attr"}
    for layer in dict.fromkeys(row.layer for row in rows):
        try:
            module = network.get_submodule(layer)
        except AttributeError:
            continue
        own = [p for p in module.parameters() if id(p) not in seen]
        seen |= {id(p) for p in own}
        elements, nbytes = sum(p.numel() for p in own), sum(p.nbytes for p in own)
        nbytes += sum(b.nbytes for b in module.buffers())
        found.append(LayerCost(layer=layer, type=type(module).__name__, parameters=elements, bytes=nbytes))
    for path in sorted(used):
        tensor = attribute(network, path)
        if isinstance(tensor, nn.Parameter) and id(tensor) not in seen:
            seen.add(id(tensor))
            found.append(LayerCost(layer=path, type="Parameter", parameters=tensor.numel(), bytes=tensor.nbytes))
    return found


def _module_macs(module: nn.Module, args: _Shapes, out: Any) -> int:
    x = args[0]
    if isinstance(module, nn.Linear):
        return int(out.numel() * module.in_features)
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        return int(x.numel() * math.prod(module.weight.shape[1:]))
    if isinstance(module, nn.modules.conv._ConvNd):
        return int(out.numel() * math.prod(module.weight.shape[1:]))
    if isinstance(module, nn.Bilinear):
        return int(out.numel() * module.in1_features * (module.in2_features + 1))
    if isinstance(module, _RECURRENT):
        rows = x.numel() // x.shape[-1]  # steps x batch
        # matrices alone: a peephole is element by element, a bias is added
        return int(rows * sum(p.numel() for p in module.parameters() if p.dim() == 2))
    return 0


def _convolution(args: _Shapes, kwargs: Mapping[str, Any], out: Any) -> int:
    return int(out.numel() * math.prod(args[1].shape[1:]))


def _any_convolution(args: _Shapes, kwargs: Mapping[str, Any], out: Any) -> int:
    transposed = len(args) > 6 and args[6]
    return _transposed_convolution(args, kwargs, out) if transposed else _convolution(args, kwargs, out)


def _transposed_convolution(args: _Shapes, kwargs: Mapping[str, Any], out: Any) -> int:
    return int(args[0].numel() * math.prod(args[1].shape[1:]))


def _product(args: _Shapes, kwargs: Mapping[str, Any], out: Any) -> int:
    """Matrix product of the first two arguments: every element of the result is a sum over the shared dimension."""
    return int(out.numel() * args[0].shape[-1])


def _added_product(args: _Shapes, kwargs: Mapping[str, Any], out: Any) -> int:
    return _product(args[1:], kwargs, out)


def _attention(args: _Shapes, kwargs: Mapping[str, Any], out: Any) -> int:
    query, key, value = args[0].shape, args[1].shape, args[2].shape  # (..., length, width)
    return int(math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1]))


def _einsum(args: _Shapes, kwargs: Mapping[str, Any], out: Any) -> int:
    return einsum_macs(str(args[0]), [operand.shape for operand in args[1]])


_FUNCTIONS: dict[str, Callable[[_Shapes, Mapping[str, Any], Any], int]] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _convolution),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _transposed_convolution),
    "convolution": _any_convolution,
    **dict.fromkeys(("linear", "matmul", "mm", "bmm", "mv", "dot", "inner"), _product),
    **dict.fromkeys(("addmm", "baddbmm", "addmv"), _added_product),
    "scaled_dot_product_attention": _attention,
    "einsum": _einsum,
}


def _is_view(network: Lifted, node: fx.Node) -> bool:
    if node.op == "call_module":
        return isinstance(network.get_submodule(str(node.target)), nn.Identity | nn.modules.dropout._DropoutNd)
    if isinstance(node.target, torch._ops.OpOverload):
        return node.target._schema.name.removeprefix("aten::") in _VIEWS
    return True  # what takes a tuple apart, and arithmetic on sizes


def _shadow(value: Any) -> Any:
    """A value with its shapes and without its numbers."""
    if isinstance(value, torch.Tensor):
        return torch.empty_like(value, device="meta")
    if isinstance(value, tuple | list):
        return type(value)(_shadow(part) for part in value)
    return value


def _nbytes(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return value.nbytes
    return sum(_nbytes(part) for part in value) if isinstance(value, tuple | list) else 0
