"""Operators of ONNX element by element, and reductions, as torch functions."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from export.onnx_dtypes import torch_dtype
from export.onnx_values import Call, operand, tensor

Function = Callable[..., Any]


def _unary(function: Callable[[Tensor], Any]) -> Function:
    return lambda call, x: function(tensor(x))


def _binary(function: Callable[[Any, Any], Any]) -> Function:
    def run(call: Call, a: Any, b: Any) -> Any:
        left, right = operand(a, b), operand(b, a)
        if not isinstance(left, Tensor) and not isinstance(right, Tensor):
            left = tensor(a)
        return function(left, right)

    return run


def _compare(function: Callable[[Any, Any], Any]) -> Function:
    return _binary(lambda a, b: function(tensor(np.asarray(a)) if not isinstance(a, Tensor) else a, b))


def _divide(a: Any, b: Any) -> Any:
    whole = not any(
        v.is_floating_point() if isinstance(v, Tensor) else isinstance(v, float | torch.SymFloat) for v in (a, b)
    )
    return torch.div(a, b, rounding_mode="trunc") if whole else a / b


def _modulo(call: Call, a: Any, b: Any) -> Any:
    return _binary(torch.fmod if call.get("fmod", 0) else torch.remainder)(call, a, b)


def _variadic(function: Callable[[Any, Any], Any]) -> Function:
    def run(call: Call, *values: Any) -> Any:
        found = tensor(values[0])
        for value in values[1:]:
            found = function(found, tensor(value, found))
        return found

    return run


def _mean(call: Call, *values: Any) -> Any:
    return _variadic(torch.add)(call, *values) / len(values)


def _cast(call: Call, x: Any) -> Tensor:
    found: Tensor = tensor(x).to(torch_dtype(call.get("to")))
    return found


def _clip(call: Call, x: Any, low: Any = None, high: Any = None) -> Tensor:
    if call.opset < 11:
        low, high = call.get("min"), call.get("max")
        return torch.clamp(tensor(x), low, high)
    bounds = [None if b is None else operand(b, tensor(x)) for b in (low, high)]
    if any(isinstance(b, Tensor) for b in bounds):
        return torch.clamp(tensor(x), *(b if b is None or isinstance(b, Tensor) else torch.tensor(b) for b in bounds))
    # the largest float is how exporters write "no bound"
    low, high = (None if b is not None and abs(b) >= 3.4e38 else b for b in bounds)
    if (low, high) == (0.0, 6.0):
        return F.relu6(tensor(x))
    return torch.clamp(tensor(x), low, high) if (low, high) != (None, None) else tensor(x)


def _softmax(function: Callable[..., Tensor]) -> Function:
    def run(call: Call, data: Any) -> Tensor:
        x = tensor(data)
        if call.opset >= 13:
            return function(x, dim=call.get("axis", -1))
        axis = call.get("axis", 1) % max(x.dim(), 1)
        if axis == x.dim() - 1:
            return function(x, dim=-1)
        return function(x.flatten(axis), dim=-1).reshape(x.shape)  # before opset 13: over all axes from this one on

    return run


def _reduce(function: Callable[[Tensor, list[int], bool], Tensor]) -> Function:
    def run(call: Call, data: Any, axes: Any = None) -> Tensor:
        x = tensor(data)
        chosen = call.axes((x, axes))
        if not chosen and call.get("noop_with_empty_axes", 0):
            return x
        return function(
            x, [a % x.dim() for a in chosen] if chosen else list(range(x.dim())), bool(call.get("keepdims", 1))
        )

    return run


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = torch.prod(x, axis, keepdim=keep)
    return x


def _arg(function: Callable[..., Tensor]) -> Function:
    def run(call: Call, x: Any) -> Tensor:
        if call.get("select_last_index", 0):
            raise call.refuse("asks for the last of equal elements (select_last_index), which torch has not")
        return function(tensor(x), dim=call.get("axis", 0), keepdim=bool(call.get("keepdims", 1)))

    return run


def _hardmax(call: Call, data: Any) -> Tensor:
    x, axis = tensor(data), call.get("axis", -1 if call.opset >= 13 else 1)
    chosen = x.argmax(axis, keepdim=True)
    return torch.zeros_like(x).scatter(axis, chosen, torch.ones_like(x))


def _selu(call: Call, x: Any) -> Tensor:
    alpha, gamma = call.get("alpha", 1.67326319217681884765625), call.get("gamma", 1.05070102214813232421875)
    found: Tensor = F.elu(tensor(x), alpha) * gamma
    return found


def _is_inf(call: Call, data: Any) -> Tensor:
    x = tensor(data)
    above, below = call.get("detect_positive", 1), call.get("detect_negative", 1)
    return torch.isinf(x) & ((x > 0) if not below else (x < 0) if not above else torch.ones_like(x, dtype=torch.bool))


def _power(call: Call, a: Any, b: Any) -> Any:
    found = _binary(operator.pow)(call, a, b)
    return found.to(a.dtype) if isinstance(a, Tensor) else found


def _shrink(call: Call, data: Any) -> Tensor:
    x, bias, lambd = tensor(data), call.get("bias", 0.0), call.get("lambd", 0.5)
    return torch.where(x < -lambd, x + bias, torch.where(x > lambd, x - bias, torch.zeros_like(x)))


def _cumsum(call: Call, data: Any, axis: Any) -> Tensor:
    x, along = tensor(data), int(call.host(axis).reshape(-1)[0])
    given = x.flip(along) if call.get("reverse", 0) else x
    sums = torch.cumsum(given, along, dtype=x.dtype)
    sums = sums - given if call.get("exclusive", 0) else sums
    return sums.flip(along) if call.get("reverse", 0) else sums


def _leaky(call: Call, x: Any) -> Tensor:
    return F.leaky_relu(tensor(x), call.get("alpha", 0.01))


def _hard_sigmoid(call: Call, x: Any) -> Tensor:
    alpha, beta = call.get("alpha", 0.2), call.get("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return F.hardsigmoid(tensor(x))
    return torch.clamp(tensor(x) * alpha + beta, 0, 1)


def _prelu(call: Call, data: Any, slope: Any) -> Tensor:
    x = tensor(data)
    return torch.where(x < 0, x * operand(slope, x), x)


def _gelu(call: Call, x: Any) -> Tensor:
    return F.gelu(tensor(x), approximate=call.get("approximate", "none"))


def _elu(call: Call, x: Any) -> Tensor:
    return F.elu(tensor(x), call.get("alpha", 1.0))


def _l1(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return x.abs().sum(axes, keepdim=keep)


def _unit_length(call: Call, x: Any) -> Tensor:
    return F.normalize(tensor(x), p=call.get("p", 2), dim=call.get("axis", -1), eps=1e-30)


def _mean_variance(call: Call, data: Any) -> Tensor:
    x, axes = tensor(data), list(call.get("axes", [0, 2, 3]))
    centred = x - x.mean(axes, keepdim=True)
    return centred / (centred.square().mean(axes, keepdim=True).sqrt() + 1e-9)


ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "Add": _binary(operator.add),
    "Sub": _binary(operator.sub),
    "Mul": _binary(operator.mul),
    "Div": _binary(_divide),
    "Pow": _power,
    "Mod": _modulo,
    "Min": _variadic(torch.minimum),
    "Max": _variadic(torch.maximum),
    "Sum": _variadic(torch.add),
    "Mean": _mean,
    "Equal": _compare(torch.eq),
    "Less": _compare(torch.lt),
    "Greater": _compare(torch.gt),
    "LessOrEqual": _compare(torch.le),
    "GreaterOrEqual": _compare(torch.ge),
    "And": _binary(torch.logical_and),
    "Or": _binary(torch.logical_or),
    "Xor": _binary(torch.logical_xor),
    "Not": _unary(torch.logical_not),
    "IsNaN": _unary(torch.isnan),
    "IsInf": _is_inf,
    "Abs": _unary(torch.abs),
    "Neg": _unary(torch.neg),
    "Exp": _unary(torch.exp),
    "Log": _unary(torch.log),
    "Sqrt": _unary(torch.sqrt),
    "Reciprocal": _unary(torch.reciprocal),
    "Floor": _unary(torch.floor),
    "Ceil": _unary(torch.ceil),
    "Round": _unary(torch.round),
    "Sign": _unary(torch.sign),
    "Erf": _unary(torch.erf),
    "Sin": _unary(torch.sin),
    "Cos": _unary(torch.cos),
    "Tan": _unary(torch.tan),
    "Asin": _unary(torch.asin),
    "Acos": _unary(torch.acos),
    "Atan": _unary(torch.atan),
    "Sinh": _unary(torch.sinh),
    "Cosh": _unary(torch.cosh),
    "Asinh": _unary(torch.asinh),
    "Acosh": _unary(torch.acosh),
    "Atanh": _unary(torch.atanh),
    "Relu": _unary(F.relu),
    "Sigmoid": _unary(torch.sigmoid),
    "Tanh": _unary(torch.tanh),
    "Softplus": _unary(F.softplus),
    "Softsign": _unary(F.softsign),
    "HardSwish": _unary(F.hardswish),
    "Mish": _unary(F.mish),
    "Gelu": _gelu,
    "Elu": _elu,
    "LeakyRelu": _leaky,
    "HardSigmoid": _hard_sigmoid,
    "Selu": _selu,
    "Shrink": _shrink,
    "Hardmax": _hardmax,
    "Celu": lambda call, x: F.celu(tensor(x), call.get("alpha", 1.0)),
    "ThresholdedRelu": lambda call, x: F.threshold(tensor(x), call.get("alpha", 1.0), 0.0),
    "Swish": lambda call, x: tensor(x) * torch.sigmoid(tensor(x) * call.get("alpha", 1.0)),
    "PRelu": _prelu,
    "Clip": _clip,
    "Cast": _cast,
    "CastLike": lambda call, x, y: tensor(x).to(tensor(y).dtype),
    "Softmax": _softmax(F.softmax),
    "LogSoftmax": _softmax(F.log_softmax),
    "ReduceMean": _reduce(lambda x, a, k: x.mean(a, keepdim=k)),
    "ReduceSum": _reduce(lambda x, a, k: x.sum(a, keepdim=k)),
    "ReduceMax": _reduce(lambda x, a, k: x.amax(a, keepdim=k)),
    "ReduceMin": _reduce(lambda x, a, k: x.amin(a, keepdim=k)),
    "ReduceProd": _reduce(_product),
    "ReduceL1": _reduce(_l1),
    "ReduceL2": _reduce(lambda x, a, k: x.square().sum(a, keepdim=k).sqrt()),
    "ReduceSumSquare": _reduce(lambda x, a, k: x.square().sum(a, keepdim=k)),
    "ReduceLogSumExp": _reduce(lambda x, a, k: torch.logsumexp(x, a, keepdim=k)),
    "ReduceLogSum": _reduce(lambda x, a, k: x.sum(a, keepdim=k).log()),
    "ArgMax": _arg(torch.argmax),
    "ArgMin": _arg(torch.argmin),
    "CumSum": _cumsum,
    "LpNormalization": _unit_length,
    "MeanVarianceNormalization": _mean_variance,
}
