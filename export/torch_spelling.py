"""An operation of a lifted graph as a person writes it: `x.reshape(n, 2)`, `F.gelu(x)`, `a + b`.

What torch binds under the operation's own name takes the same arguments, so most need no table. What has no such name
is called as `torch.ops.aten`, which is always right.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import BuiltinFunctionType
from typing import Any

import torch
from torch import fx
from torch.nn import functional as F

from export.operations import makes_a_tensor, name_of

_INFIX = {
    **dict(add="+", sub="-", mul="*", div="/", matmul="@", pow="**", remainder="%", floor_divide="//"),
    **dict(eq="==", ne="!=", lt="<", le="<=", gt=">", ge=">=", bitwise_and="&", bitwise_or="|", bitwise_xor="^"),
}
_PYTHON_INFIX = {**_INFIX, "floordiv": "//", "truediv": "/", "mod": "%", "and_": "&", "or_": "|"}
_PREFIX = {"neg": "-", "bitwise_not": "~"}
_METHODS = frozenset(
    """
    reshape permute expand repeat transpose unsqueeze squeeze flatten unflatten chunk split split_with_sizes
    tensor_split unbind narrow movedim expand_as type_as masked_fill softmax log_softmax sum mean amax amin argmax
    argmin cumsum detach new_zeros new_ones new_full t flip roll repeat_interleave gather unfold tile
    """.split()
)
_SPREAD = frozenset("reshape permute expand repeat tile".split())  # take their list as single numbers
_PROPERTIES = {"numpy_T": "T", "mT": "mT"}
# functions of Python in torch.nn.functional whose arguments come in the operation's order, so many of them at most
_WRAPPERS = {
    **dict(relu=1, relu6=1, silu=1, mish=1, hardswish=1, hardsigmoid=1, leaky_relu=2, hardtanh=3, elu=2, glu=2, pad=4),
    **dict(adaptive_avg_pool2d=2, adaptive_avg_pool3d=2, max_pool1d=6, max_pool2d=6, max_pool3d=6),
}
_NORMS = ("layer_norm", "group_norm")  # their last argument is a backend's switch
_END = 2**63 - 1


@dataclass(frozen=True)
class Text:
    """An expression; `loose` where it wants brackets before anything is put beside it."""

    text: str
    loose: bool = False

    @property
    def tight(self) -> str:
        """For an operand, or what a method is called on."""
        return f"({self.text})" if self.loose else self.text


Value = Callable[[fx.Node], Text]


def spelled(node: fx.Node, value: Value, device: str) -> Text:
    """A call_function node as an expression.

    Args:
        node: its target is an allowed operation.
        value: the expression for a node before it.
        device: the expression for where new tensors shall lie.
    """
    name = name_of(node.target)
    assert name is not None
    if not name.startswith("aten."):
        return _python(name, node.args, value)
    kwargs = {key: literal(v, value) for key, v in node.kwargs.items()}
    if makes_a_tensor(node.target):
        kwargs["device"] = device
    kind, overload = name.split(".")[1:]
    special = _SPECIAL.get(kind)
    found = special(node, value) if special is not None and not kwargs else None
    if found is not None:
        return found
    if kind in _INFIX and len(node.args) == 2 and not kwargs:
        return _infix(_INFIX[kind], node.args, value)
    if kind in _PREFIX and len(node.args) == 1:
        return Text(f"{_PREFIX[kind]}{operand(node.args[0], value).tight}", loose=True)
    args, by_name = _places(node, kwargs, value)
    if kind in _METHODS:
        on, rest = operand(args[0], value).tight, args[1:]
        spread = kind in _SPREAD and len(rest) == 1 and isinstance(rest[0], list | tuple) and rest[0]
        return Text(f"{on}.{kind}{_call(rest[0] if spread else rest, by_name, value)}")
    function = _function(kind, len(args))
    if function is None:
        return Text(f"torch.ops.aten.{kind}.{overload}{_call(node.args, kwargs, value)}")
    return Text(f"{function}{_call(args[:5], {}, value) if kind in _NORMS else _call(args, by_name, value)}")


def literal(found: Any, value: Value) -> str:
    """An argument as it is written; nodes in it by `value`."""
    if isinstance(found, fx.Node):
        return value(found).text
    if isinstance(found, list):
        return f"[{', '.join(literal(v, value) for v in found)}]"
    if isinstance(found, tuple):
        return f"({', '.join(literal(v, value) for v in found)}{',' if len(found) == 1 else ''})"
    if isinstance(found, float) and not math.isfinite(found):
        return f'float("{found}")'
    return json.dumps(found) if isinstance(found, str) else str(found)


def operand(found: Any, value: Value) -> Text:
    """An argument beside an operator; a negative number is loose."""
    if isinstance(found, fx.Node):
        return value(found)
    return Text(literal(found, value), loose=isinstance(found, int | float) and found < 0)


def _python(name: str, args: Sequence[Any], value: Value) -> Text:
    module, _, kind = name.partition(".")
    if kind == "getitem":
        return Text(f"{operand(args[0], value).tight}[{literal(args[1], value)}]")
    if module == "operator" and kind in _PYTHON_INFIX:
        return _infix(_PYTHON_INFIX[kind], args, value)
    if module == "operator" and kind in ("neg", "not_"):
        return Text(f"{'-' if kind == 'neg' else 'not '}{operand(args[0], value).tight}", loose=True)
    called = {"builtins": kind, "operator": kind}.get(module, name)
    return Text(f"{'math.sqrt' if name == 'torch.sym_sqrt' else called}{_call(args, {}, value)}")


def _infix(sign: str, args: Sequence[Any], value: Value) -> Text:
    one, other = (operand(v, value).tight for v in args)
    return Text(f"{one} {sign} {other}", loose=True)


def _function(kind: str, count: int) -> str | None:
    """A public function that takes the operation's arguments as they are."""
    if kind.startswith("_"):
        return None
    if count <= _WRAPPERS.get(kind, 0) or kind in _NORMS:
        return f"F.{kind}"
    group, _, rest = kind.partition("_")
    if group in ("linalg", "special") and isinstance(getattr(getattr(torch, group), rest, None), BuiltinFunctionType):
        return f"torch.{group}.{rest}"
    for module, found in (("F", F), ("torch", torch)):
        if isinstance(getattr(found, kind, None), BuiltinFunctionType):
            return f"{module}.{kind}"
    return None


def _places(node: fx.Node, kwargs: Mapping[str, str], value: Value) -> tuple[tuple[Any, ...], dict[str, str]]:
    """Arguments left to their places, and by name: a bare yes or no, `keepdim=True`, and what follows it."""
    assert isinstance(node.target, torch._ops.OpOverload)
    first = next((i for i, v in enumerate(node.args) if i and isinstance(v, bool)), len(node.args))
    names = [argument.name for argument in node.target._schema.arguments]
    named = {n: literal(v, value) for n, v in zip(names[first:], node.args[first:], strict=False)}
    return node.args[:first], {**named, **kwargs}


def _call(args: Sequence[Any], kwargs: Mapping[str, str], value: Value) -> str:
    return f"({', '.join([*(literal(v, value) for v in args), *(f'{key}={text}' for key, text in kwargs.items())])})"


def _slice(node: fx.Node, value: Value) -> Text | None:
    given: tuple[Any, ...] = (*node.args, *(None, 0, None, None, 1)[len(node.args) :])
    x, dim, start, end, step = given
    inside = ("" if start in (0, None) else operand(start, value).text) + ":"
    inside += "" if end in (_END, None) else operand(end, value).text
    return _indexed(x, dim, inside if step == 1 else f"{inside}:{literal(step, value)}", value)


def _select(node: fx.Node, value: Value) -> Text | None:
    x, dim, index = node.args
    return _indexed(x, dim, literal(index, value), value)


def _indexed(x: Any, dim: Any, inside: str, value: Value) -> Text | None:
    if not isinstance(dim, int):
        return None
    places = [*[":"] * dim, inside] if dim >= 0 else ["...", inside, *[":"] * (-dim - 1)]
    return Text(f"{operand(x, value).tight}[{', '.join(places)}]")


def _index(node: fx.Node, value: Value) -> Text | None:
    x, indices = node.args
    assert isinstance(indices, list | tuple)
    places = [":" if i is None else literal(i, value) for i in indices]
    return Text(f"{operand(x, value).tight}[{', '.join(places)}]")


def _size(node: fx.Node, value: Value) -> Text | None:
    return Text(f"{operand(node.args[0], value).tight}.shape[{literal(node.args[1], value)}]")


def _rsub(node: fx.Node, value: Value) -> Text | None:
    return _infix("-", node.args[1::-1], value) if len(node.args) == 2 else None


def _embedding(node: fx.Node, value: Value) -> Text | None:
    return Text(f"F.embedding{_call(node.args[1::-1], {}, value)}") if len(node.args) == 2 else None


def _einsum(node: fx.Node, value: Value) -> Text | None:
    equation, tensors = node.args[:2]
    assert isinstance(tensors, list | tuple)
    if len(node.args) > 2 or len(tensors) > 2:  # torch.einsum chooses an order of its own for three
        return None
    return Text(f"torch.einsum{_call([equation, *tensors], {}, value)}")


def _to(node: fx.Node, value: Value) -> Text | None:
    if len(node.args) != 2 or not isinstance(node.args[1], torch.dtype):
        return None
    return Text(f"{operand(node.args[0], value).tight}.to({node.args[1]})")


def _property(node: fx.Node, value: Value) -> Text | None:
    name = str(name_of(node.target)).split(".")[1]
    return Text(f"{operand(node.args[0], value).tight}.{_PROPERTIES[name]}")


def _resize(node: fx.Node, value: Value) -> Text | None:
    if not str(name_of(node.target)).endswith(".vec"):
        return None
    x, size, *rest = node.args
    align = rest[0] if len(rest) == 2 else None
    how = {"scale_factor": rest[-1]} if size is None else {"size": size}
    kind = str(name_of(node.target)).split(".")[1].removeprefix("_").removeprefix("upsample_")
    mode = "nearest-exact" if "exact" in kind else kind[:-2]
    kwargs = {**{k: literal(v, value) for k, v in how.items()}, "mode": json.dumps(mode)}
    if align is not None:
        kwargs["align_corners"] = str(align)
    return Text(f"F.interpolate{_call([x], kwargs, value)}")


_SPECIAL: dict[str, Callable[[fx.Node, Value], Text | None]] = {
    "slice": _slice,
    "select": _select,
    "index": _index,
    "sym_size": _size,
    "rsub": _rsub,
    "embedding": _embedding,
    "einsum": _einsum,
    "to": _to,
    **dict.fromkeys(_PROPERTIES, _property),
    **dict.fromkeys(
        "upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_linear1d upsample_bilinear2d "
        "upsample_trilinear3d upsample_bicubic2d _upsample_nearest_exact1d _upsample_nearest_exact2d".split(),
        _resize,
    ),
}
