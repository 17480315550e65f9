"""Operators of ONNX on sizes: arrays of ints, symbolic ones among them, so that free sizes stay free."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from export.onnx_values import Call, Host

HostFunction = Callable[..., Any]


def _elementwise(function: Callable[..., Any]) -> HostFunction:
    apply = np.frompyfunc(function, function.__code__.co_argcount if hasattr(function, "__code__") else 2, 1)

    def run(call: Call, *arrays: Host) -> Host:
        return _tidy(apply(*[a.astype(object) for a in arrays]))

    return run


def _tidy(values: Any) -> Host:
    """Plain numbers as an int64, float32 or bool array; anything symbolic as objects."""
    array = np.asarray(values, dtype=object)
    flat = list(array.reshape(-1))
    if any(isinstance(v, torch.SymInt | torch.SymFloat | torch.SymBool) for v in flat):
        return array
    kinds = {type(v.item() if isinstance(v, np.generic) else v) for v in flat}
    dtype = np.bool_ if kinds == {bool} else np.float32 if float in kinds else np.int64
    return array.astype(dtype)


def _divide(a: Any, b: Any) -> Any:
    """ONNX divides integers towards zero."""
    if isinstance(a, float | torch.SymFloat) or isinstance(b, float | torch.SymFloat):
        return a / b
    if isinstance(a, torch.SymInt) or isinstance(b, torch.SymInt):
        return a // b  # sizes are not negative
    return math.trunc(a / b) if b else 0


def _choose(condition: Any, a: Any, b: Any) -> Any:
    return a if bool(condition) else b


def _largest(a: Any, b: Any) -> Any:
    return torch.sym_max(a, b)


def _smallest(a: Any, b: Any) -> Any:
    return torch.sym_min(a, b)


def _cast(call: Call, x: Host) -> Host:
    from export.onnx_dtypes import torch_dtype

    dtype = torch_dtype(call.get("to"))
    if dtype.is_floating_point:
        change: Callable[[Any], Any] = torch.sym_float
    elif dtype == torch.bool:
        change = bool
    else:
        change = torch.sym_int
    return _tidy(np.frompyfunc(change, 1, 1)(x.astype(object)))


def _gather(call: Call, x: Host, indices: Host) -> Host:
    return _tidy(np.take(x, indices.astype(np.int64), axis=call.get("axis", 0)))


def _concat(call: Call, *parts: Host) -> Host:
    same = {part.dtype for part in parts}
    joined = np.concatenate([p if len(same) == 1 else p.astype(object) for p in parts], axis=call.get("axis", 0))
    return _tidy(joined) if joined.dtype == object else joined


def _unsqueeze(call: Call, x: Host, *rest: Host) -> Host:
    axes = call.axes((x, *rest)) or []
    rank = x.ndim + len(axes)
    for axis in sorted(a % rank for a in axes):
        x = np.expand_dims(x, axis)
    return x


def _squeeze(call: Call, x: Host, *rest: Host) -> Host:
    axes = call.axes((x, *rest))
    return np.squeeze(x, tuple(axes) if axes is not None else None)


def _slice(call: Call, x: Host, *rest: Any) -> Host:
    starts, ends, axes, steps = slice_ranges(call, (x, *rest), x.ndim)
    index = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        end = None if end >= 2**31 - 1 or end <= -(2**31) else end
        index[axis] = slice(start, end, step)
    return x[tuple(index)]


def slice_ranges(call: Call, inputs: tuple[Any, ...], rank: int) -> tuple[list[Any], list[Any], list[int], list[int]]:
    """Starts, ends, axes and steps of a Slice: attributes before opset 10, inputs since."""
    if call.opset < 10:
        starts, ends = list(call.get("starts")), list(call.get("ends"))
        axes, steps = call.get("axes"), None
    else:
        starts, ends = call.ints(inputs[1]), call.ints(inputs[2])
        axes = call.ints(inputs[3]) if len(inputs) > 3 and inputs[3] is not None else None
        steps = call.ints(inputs[4]) if len(inputs) > 4 and inputs[4] is not None else None
    axes = [int(a) % rank for a in axes] if axes is not None else list(range(len(starts)))
    return starts, ends, axes, [int(s) for s in steps] if steps is not None else [1] * len(starts)


def _reshape(call: Call, x: Host, shape: Host) -> Host:
    return x.reshape([int(s) if int(s) else x.shape[i] for i, s in enumerate(shape.reshape(-1))])


def _range(call: Call, start: Host, limit: Host, step: Host) -> Any:
    parts = [v.reshape(-1)[0] for v in (start, limit, step)]
    if any(isinstance(v, torch.SymInt) for v in parts):
        return torch.arange(*parts)
    return np.arange(*(v.item() if isinstance(v, np.generic) else v for v in parts)).astype(start.dtype)


def _filled(call: Call, shape: Host) -> Any:
    value = call.get("value")
    array = np.zeros(1, np.float32) if value is None else value.numpy()
    sizes = list(shape.reshape(-1).tolist())
    if any(isinstance(s, torch.SymInt) for s in sizes) or len(sizes) != 1:
        return torch.full([*sizes], array.reshape(-1)[0].item(), dtype=torch.from_numpy(array.copy()).dtype)
    return np.full(sizes, array.reshape(-1)[0], array.dtype)


def _expand(call: Call, x: Host, shape: Host) -> Any:
    sizes = list(shape.reshape(-1).tolist())
    if any(isinstance(s, torch.SymInt) for s in sizes):
        return NotImplemented
    return (
        x * np.ones(sizes, np.int64)
        if x.dtype == object
        else np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(sizes)))
    )


def _reduce(function: Callable[[Any, Any], Any]) -> HostFunction:
    def run(call: Call, x: Host, *rest: Any) -> Host:
        axes = call.axes((x, *rest))
        if axes not in (None, [0]) or x.ndim > 1:
            return NotImplemented  # type: ignore[no-any-return]
        flat = list(x.reshape(-1))
        total = flat[0]
        for value in flat[1:]:
            total = function(total, value)
        return _tidy([total] if call.get("keepdims", 1) else total)

    return run


def _split(call: Call, x: Host, *rest: Any) -> Any:
    axis = call.get("axis", 0)
    sizes = call.get("split") or (call.ints(rest[0]) if rest and rest[0] is not None else None)
    sizes = sizes or [-(-x.shape[axis] // call.outputs)] * call.outputs
    return tuple(np.split(x, np.cumsum(sizes)[:-1], axis=axis))


def _minimum_of(function: Callable[[Any, Any], Any]) -> HostFunction:
    pair = np.frompyfunc(function, 2, 1)

    def run(call: Call, *arrays: Host) -> Host:
        found = arrays[0].astype(object)
        for array in arrays[1:]:
            found = pair(found, array.astype(object))
        return _tidy(found)

    return run


def _not(a: Any) -> Any:
    return not bool(a)


def _pair(function: Any) -> HostFunction:
    return _elementwise(lambda a, b: function(a, b))


HOST: dict[str, HostFunction] = {
    "Add": _pair(operator.add), "Sub": _pair(operator.sub), "Mul": _pair(operator.mul), "Div": _pair(_divide),
    "Mod": _pair(operator.mod), "Pow": _pair(operator.pow), "Neg": _elementwise(lambda a: -a),
    "Abs": _elementwise(lambda a: abs(a)), "Floor": _elementwise(lambda a: torch.sym_float(math.floor(a))),
    "Ceil": _elementwise(lambda a: torch.sym_float(math.ceil(a))), "Sqrt": _elementwise(lambda a: torch._sym_sqrt(a)),  # type: ignore[attr-defined]
    "Equal": _pair(operator.eq), "Less": _pair(operator.lt), "Greater": _pair(operator.gt),
    "LessOrEqual": _pair(operator.le), "GreaterOrEqual": _pair(operator.ge), "Not": _elementwise(_not),
    "And": _pair(lambda a, b: bool(a) and bool(b)), "Or": _pair(lambda a, b: bool(a) or bool(b)),
    "Where": _elementwise(_choose), "Min": _minimum_of(_smallest), "Max": _minimum_of(_largest),
    "Cast": _cast, "Gather": _gather, "Concat": _concat, "Unsqueeze": _unsqueeze, "Squeeze": _squeeze,
    "Slice": _slice, "Reshape": _reshape, "Range": _range, "ConstantOfShape": _filled, "Expand": _expand,
    "ReduceProd": _reduce(operator.mul), "ReduceSum": _reduce(operator.add), "ReduceMax": _reduce(_largest),
    "ReduceMin": _reduce(_smallest), "Split": _split, "Identity": lambda call, x: x,
    "Flatten": lambda call, x: x.reshape(1, -1) if call.get("axis", 1) == 0 else NotImplemented,
    "Transpose": lambda call, x: x.transpose(call.get("perm")),
    "Size": lambda call, x: np.asarray(x.size, np.int64), "Shape": lambda call, x: np.asarray(x.shape, np.int64),
}  # fmt: skip
