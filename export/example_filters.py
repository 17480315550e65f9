"""A convolution with filters made for each example, as one operation whose number of groups nobody has to know.

Networks that make filters as they run lay the examples side by side as channels, (1, N * in, H, W), and convolve in N
groups. ONNX and layers want the number of groups written down. The same is a product of each example's filters with
its unfolded picture: (N, out, in * taps) @ (N, in * taps, positions).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

_ATEN = torch.ops.aten
Make = Callable[[Any, tuple[Any, ...]], Any]  # an operation and its arguments -> its node in the new graph


def has_filters_of_each(node: fx.Node) -> bool:
    """Whether it is a convolution of pictures with as many groups as examples, which can be written as a product."""
    if node.target is not _ATEN.conv2d.default:
        return False
    values = _arguments(node)
    if not isinstance(values["groups"], fx.Node):
        return False
    weight, x, out = (tensor.meta["val"].shape for tensor in (values["weight"], values["input"], node))
    sizes = (*weight[1:], *x[2:], *out[2:])
    return len(x) == 4 and x[0] == 1 and all(isinstance(size, int) for size in sizes)


def as_product(node: fx.Node, use: Callable[[fx.Node], Any], make: Make) -> Any:
    """Write it down, with `use` for the values of nodes and `make` for new ones; gives the last."""
    values = _arguments(node)
    _, inputs, *kernel = values["weight"].meta["val"].shape
    examples = use(values["groups"])
    x = make(_ATEN.reshape.default, (use(values["input"]), [examples, inputs, *values["input"].meta["val"].shape[2:]]))
    steps = [list(values[name]) * (2 // len(values[name])) for name in ("dilation", "padding", "stride")]
    unfolded = make(_ATEN.im2col.default, (x, kernel, *steps))
    filters = make(_ATEN.reshape.default, (use(values["weight"]), [examples, -1, inputs * kernel[0] * kernel[1]]))
    product = make(_ATEN.matmul.default, (filters, unfolded))
    if values["bias"] is not None:
        bias = make(_ATEN.reshape.default, (use(values["bias"]), [examples, -1, 1]))
        product = make(_ATEN.add.Tensor, (product, bias))
    return make(_ATEN.reshape.default, (product, [1, -1, *node.meta["val"].shape[2:]]))


def _arguments(node: fx.Node) -> dict[str, Any]:
    schema = node.target._schema.arguments  # type: ignore[union-attr]
    values = {a.name: a.default_value for a in schema if a.has_default_value()}
    return values | {a.name: value for a, value in zip(schema, node.args, strict=False)} | dict(node.kwargs)
