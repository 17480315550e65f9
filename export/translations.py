"""Operations that torch's exporter does not translate, or not rightly, in ONNX's own operators.

What runs over a length that may be free (a running product, a running maximum) is written without a loop: position i
reduces over a row in which all that comes after it is replaced by what changes nothing. That takes memory for a square
of the length, and no kernel but those that every runtime has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from onnxscript import opset18

from models.errors import CompressError

op: Any = opset18  # by its annotations no result of one operator may go into another
_ATEN = torch.ops.aten
# of the inverse error function, the highest power first
_INSIDE: tuple[float, ...] = (2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087)
_INSIDE += (-0.00125372503, -0.00417768164, 0.246640727, 1.50140941)
_OUTSIDE: tuple[float, ...] = (-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773)
_OUTSIDE += (-0.0076224613, 0.00943887047, 1.00167406, 2.83297682)


def conv3d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Sequence[int] = (1, 1, 1),
    padding: Sequence[int] = (0, 0, 0),
    dilation: Sequence[int] = (1, 1, 1),
    groups: int = 1,
) -> Any:
    """Without a bias the library writes one of zeros, (out, 2), which no runtime has to take."""
    strides, pads, dilations = (list(values) * (3 // len(values)) for values in (stride, padding, dilation))
    given = (x, weight) if bias is None else (x, weight, bias)
    return op.Conv(*given, strides=strides, pads=pads * 2, dilations=dilations, group=groups)


def adaptive_avg_pool3d(x: Any, output_size: Sequence[int]) -> Any:
    """Windows of one size, where the sizes asked for divide those that are there."""
    found = list(x.shape)[-3:]
    if not all(isinstance(n, int) and n % m == 0 for n, m in zip(found, output_size, strict=True)):
        raise CompressError(
            f"export: an adaptive average pooling of {_by(found)} to {_by(output_size)} has windows of several sizes, "
            "for which ONNX has no operator. Ask for sizes that divide those of the input."
        )
    window = [n // m for n, m in zip(found, output_size, strict=True)]
    return op.AveragePool(x, kernel_shape=window, strides=window)


def _by(sizes: Sequence[object]) -> str:
    return " x ".join(map(str, sizes))


def cdist(x1: Any, x2: Any, p: float = 2.0, compute_mode: int | None = None) -> Any:
    """All distances between rows, (..., M, K) and (..., N, K) to (..., M, N), from their differences."""
    apart = op.Sub(op.Unsqueeze(x1, _ints(-2)), op.Unsqueeze(x2, _ints(-3)))
    if p in (1.0, 2.0):
        reduce = op.ReduceL1 if p == 1.0 else op.ReduceL2
        return reduce(apart, _ints(-1), keepdims=0)
    apart = op.Abs(apart)
    if math.isinf(p):
        return op.ReduceMax(apart, _ints(-1), keepdims=0)
    if p == 0:
        return op.ReduceSum(op.Sign(apart), _ints(-1), keepdims=0)
    summed = op.ReduceSum(op.Pow(apart, _like(p, x1)), _ints(-1), keepdims=0)
    return op.Pow(summed, _like(1 / p, x1))


def hypot(a: Any, b: Any) -> Any:
    """The length of (a, b)."""
    return op.Sqrt(op.Add(op.Mul(a, a), op.Mul(b, b)))


def fmax(a: Any, b: Any) -> Any:
    """The larger one, or the one that is a number."""
    return _of_numbers(a, b, op.Max(a, b))


def fmin(a: Any, b: Any) -> Any:
    """The smaller one, or the one that is a number."""
    return _of_numbers(a, b, op.Min(a, b))


def _of_numbers(a: Any, b: Any, chosen: Any) -> Any:
    return op.Where(op.IsNaN(a), b, op.Where(op.IsNaN(b), a, chosen))


def amax(x: Any, dim: Sequence[int] = (), keepdim: bool = False) -> Any:
    """The library wants dimensions; none are all of them."""
    return op.ReduceMax(x, *([_ints(*dim)] if dim else []), keepdims=int(keepdim))


def amin(x: Any, dim: Sequence[int] = (), keepdim: bool = False) -> Any:
    """As `amax`."""
    return op.ReduceMin(x, *([_ints(*dim)] if dim else []), keepdims=int(keepdim))


def erfinv(x: Any) -> Any:
    """The error function's inverse, to single precision.

    Giles, "Approximating the erfinv function", GPU Computing Gems 2 (2010): a polynomial in w = -log(1 - x^2), or in
    its root near the ends.
    """
    one = _like(1.0, x)
    w = op.Neg(op.Log(op.Mul(op.Sub(one, x), op.Add(one, x))))
    inside = _polynomial([_like(c, x) for c in _INSIDE], op.Sub(w, _like(2.5, x)))
    outside = _polynomial([_like(c, x) for c in _OUTSIDE], op.Sub(op.Sqrt(w), _like(3.0, x)))
    found = op.Mul(op.Where(op.Less(w, _like(5.0, x)), inside, outside), x)
    return op.Where(op.Equal(op.Abs(x), one), op.Mul(x, _like(math.inf, x)), found)


def _polynomial(coefficients: Sequence[Any], x: Any) -> Any:
    value, *rest = coefficients
    for coefficient in rest:
        value = op.Add(op.Mul(value, x), coefficient)
    return value


def rrelu(x: Any, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, generator: Any = None) -> Any:
    """Out of training the slope is the mean of those that training draws."""
    return op.LeakyRelu(x, alpha=(lower + upper) / 2)


def cumprod(x: Any, dim: int, *, dtype: Any = None) -> Any:
    """The product of all up to a position, whatever their signs."""
    if not len(x.shape):
        return op.Identity(x)
    return op.ReduceProd(_so_far(x, dim % len(x.shape), 1.0), _ints(dim % len(x.shape) + 1), keepdims=0)


def cummax(x: Any, dim: int) -> tuple[Any, Any]:
    """The largest up to a position, and the last place where it was."""
    return _running(x, dim, -math.inf, op.ReduceMax, op.ArgMax)


def cummin(x: Any, dim: int) -> tuple[Any, Any]:
    """The smallest up to a position, and the last place where it was."""
    return _running(x, dim, math.inf, op.ReduceMin, op.ArgMin)


def _running(x: Any, dim: int, nothing: float, reduce: Any, find: Any) -> tuple[Any, Any]:
    dim = dim % len(x.shape)
    rows = _so_far(x, dim, nothing)
    return reduce(rows, _ints(dim + 1), keepdims=0), find(rows, axis=dim + 1, keepdims=0, select_last_index=1)


def _so_far(x: Any, dim: int, nothing: float) -> Any:
    """A new dimension before `dim`, of the same length: at i all up to i, and behind it what changes nothing."""
    length = op.Squeeze(op.Shape(x, start=dim, end=dim + 1))
    places = op.Range(op.Constant(value_int=0), length, op.Constant(value_int=1))
    behind = len(x.shape) - dim - 1
    now = op.Unsqueeze(places, _ints(*range(1, 2 + behind)))
    then = op.Unsqueeze(places, _ints(*range(1, 1 + behind))) if behind else places
    return op.Where(op.LessOrEqual(then, now), op.Unsqueeze(x, _ints(dim)), _like(nothing, x))


def median(x: Any, dim: int, keepdim: bool = False) -> tuple[Any, Any]:
    """The lower one of the two in the middle, and its place: the last of the smaller half."""
    values, places = _smaller_half(x, dim % len(x.shape))
    last = [op.Gather(found, op.Constant(value_int=-1), axis=dim) for found in (values, places)]
    values, places = (op.Unsqueeze(found, _ints(dim)) for found in last) if keepdim else last
    return values, places


def median_of_all(x: Any) -> Any:
    """The same of all elements."""
    values, _ = _smaller_half(op.Reshape(x, _ints(-1)), 0)
    return op.Gather(values, op.Constant(value_int=-1), axis=0)


def _smaller_half(x: Any, dim: int) -> tuple[Any, Any]:
    length = op.Shape(x, start=dim, end=dim + 1)
    half = op.Div(op.Add(length, _ints(1)), _ints(2))
    found: tuple[Any, Any] = op.TopK(x, half, axis=dim, largest=0)
    return found


def searchsorted(
    row: Any, values: Any, *, out_int32: bool = False, right: bool = False, side: str | None = None, sorter: Any = None
) -> Any:
    """A value's place in a sorted row: how many there lie before it."""
    before = op.LessOrEqual if right or side == "right" else op.Less
    row = row if sorter is None else op.GatherElements(row, sorter, axis=-1)
    found = op.Cast(before(op.Unsqueeze(row, _ints(-2)), op.Unsqueeze(values, _ints(-1))), to=ir.DataType.INT64)
    return op.Cast(op.ReduceSum(found, _ints(-1), keepdims=0), to=ir.DataType.INT32 if out_int32 else ir.DataType.INT64)


def stable_sort(x: Any, *, stable: bool | None = None, dim: int = -1, descending: bool = False) -> tuple[Any, Any]:
    """ONNX says of equals that the earlier one comes first, whichever way it sorts."""
    dim = dim % len(x.shape)
    found: tuple[Any, Any] = op.TopK(x, op.Shape(x, start=dim, end=dim + 1), axis=dim, largest=int(descending))
    return found


def _like(value: float, x: Any) -> Any:
    """A number of the type of a tensor that comes from outside: what is made here has no known type yet."""
    return op.Constant(value=ir.tensor(np.asarray(value, x.dtype.numpy())))


def _ints(*values: int) -> Any:
    return op.Constant(value_ints=list(values))


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    _ATEN.conv3d.default: conv3d,
    _ATEN._adaptive_avg_pool3d.default: adaptive_avg_pool3d,
    _ATEN.cdist.default: cdist,
    _ATEN.hypot.default: hypot,
    _ATEN.fmax.default: fmax,
    _ATEN.fmin.default: fmin,
    _ATEN.amax.default: amax,
    _ATEN.amin.default: amin,
    _ATEN.erfinv.default: erfinv,
    _ATEN.rrelu.default: rrelu,
    _ATEN.cumprod.default: cumprod,
    _ATEN.cummax.default: cummax,
    _ATEN.cummin.default: cummin,
    _ATEN.median.dim: median,
    _ATEN.median.default: median_of_all,
    _ATEN.searchsorted.Tensor: searchsorted,
    _ATEN.sort.stable: stable_sort,
}
