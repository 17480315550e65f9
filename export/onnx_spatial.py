"""Operators of ONNX over space as torch functions: pooling, padding, resizing, depth to space."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from export.onnx_values import Call, Constant, on_host, tensor

_MAX = (F.max_pool1d, F.max_pool2d, F.max_pool3d)
_AVERAGE = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)


def pads_of(
    call: Call, x: Tensor, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> list[Any]:
    """Padding before and after, axis by axis: [begin_1, end_1, begin_2, ...]."""
    n = len(kernel)
    automatic = call.get("auto_pad", "NOTSET")
    if automatic in ("NOTSET", ""):
        pads = call.get("pads") or [0] * 2 * n
        return [pads[i + side * n] for i in range(n) for side in (0, 1)]
    found: list[Any] = []
    for i in range(n):
        reach = (kernel[i] - 1) * dilations[i] + 1
        if automatic == "VALID":
            total: Any = 0
        elif strides[i] == 1:
            total = reach - 1
        else:
            size = x.shape[2 + i]
            total = torch.sym_max((-(-size // strides[i]) - 1) * strides[i] + reach - size, 0)
        small, large = total // 2, total - total // 2
        found += [small, large] if automatic == "SAME_UPPER" else [large, small]
    return found


def padded(x: Tensor, pads: Sequence[Any], value: float = 0.0) -> Tensor:
    """The tensor with its last axes padded as `pads_of` says."""
    if all(isinstance(p, int) and p == 0 for p in pads):
        return x
    pairs = [pads[i : i + 2] for i in range(0, len(pads), 2)]
    return F.pad(x, [p for pair in reversed(pairs) for p in pair], value=value)  # torch begins with the last axis


def symmetric(pads: Sequence[Any]) -> list[int] | None:
    """One number an axis where both sides are padded alike; None where they are not."""
    pairs = [tuple(pads[i : i + 2]) for i in range(0, len(pads), 2)]
    return (
        [a for a, _ in pairs] if all(isinstance(a, int) and isinstance(b, int) and a == b for a, b in pairs) else None
    )


def _window(call: Call) -> tuple[list[int], list[int], list[int]]:
    kernel = list(call.get("kernel_shape"))
    return kernel, list(call.get("strides") or [1] * len(kernel)), list(call.get("dilations") or [1] * len(kernel))


def _max_pool(call: Call, data: Any) -> Tensor:
    if call.outputs > 1:
        raise call.refuse("gives the places of its maxima, which is not read")
    x = tensor(data)
    kernel, strides, dilations = _window(call)
    pads = pads_of(call, x, kernel, strides, dilations)
    same = symmetric(pads)
    if same is None or any(2 * p > k for p, k in zip(same, kernel, strict=True)):
        x, same = padded(x, pads, -math.inf), [0] * len(kernel)
    return _MAX[len(kernel) - 1](x, kernel, strides, same, dilations, ceil_mode=bool(call.get("ceil_mode", 0)))


def _average_pool(call: Call, data: Any) -> Tensor:
    x = tensor(data)
    kernel, strides, dilations = _window(call)
    if any(d != 1 for d in dilations):
        raise call.refuse("is dilated, which torch's average pooling cannot be")
    pads = pads_of(call, x, kernel, strides, dilations)
    counted, up = bool(call.get("count_include_pad", 0)), bool(call.get("ceil_mode", 0))
    pool: Callable[..., Tensor] = _AVERAGE[len(kernel) - 1]
    same = symmetric(pads)
    if same is not None and all(2 * p <= k for p, k in zip(same, kernel, strict=True)):
        return pool(x, kernel, strides, same, ceil_mode=up, count_include_pad=counted)
    sums = pool(padded(x, pads), kernel, strides, ceil_mode=up)
    return sums if counted else sums / pool(padded(torch.ones_like(x), pads), kernel, strides, ceil_mode=up)


def _global(function: Callable[[Tensor, list[int]], Tensor]) -> Callable[..., Tensor]:
    def run(call: Call, x: Any) -> Tensor:
        return function(tensor(x), list(range(2, tensor(x).dim())))

    return run


def _pad(call: Call, data: Any, pads: Any = None, value: Any = None, axes: Any = None) -> Tensor:
    x = tensor(data)
    sizes = list(call.get("pads")) if call.opset < 11 else call.ints(pads)
    fill = (
        call.get("value", 0.0) if call.opset < 11 else 0.0 if value is None else call.host(value).reshape(-1)[0].item()
    )
    chosen = [a % x.dim() for a in call.ints(axes)] if axes is not None else list(range(x.dim()))
    both: list[Any] = [0] * 2 * x.dim()
    for i, axis in enumerate(chosen):
        both[2 * axis], both[2 * axis + 1] = sizes[i], sizes[i + len(chosen)]
    mode = call.get("mode", "constant")
    if mode == "constant":
        first = next(
            (i for i in range(x.dim()) if any(not isinstance(p, int) or p for p in both[2 * i : 2 * i + 2])), x.dim()
        )
        return padded(x, both[2 * first :], fill)
    torch_mode = {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}[mode]
    if any(both[:4]) or x.dim() < 3:
        raise call.refuse(f"pads batch or channels in mode {mode!r}, which torch cannot")
    pairs = [both[i : i + 2] for i in range(4, len(both), 2)]
    return F.pad(x, [p for pair in reversed(pairs) for p in pair], mode=torch_mode)


def _upsample(call: Call, x: Any, scales: Any = None) -> Tensor:
    factors = call.get("scales") if scales is None else call.host(scales).reshape(-1).tolist()
    return _interpolated(call, tensor(x), factors, None, call.get("mode", "nearest"), "asymmetric")


def _resize(call: Call, data: Any, *rest: Any) -> Tensor:
    x = tensor(data)
    if call.opset < 11:
        return _upsample(call, x, rest[0])
    _, scales, sizes = (*rest, None, None, None)[:3]
    known = [v for v in (scales, sizes) if v is not None and not _is_empty(v)]
    if not known or not on_host(known[0]):
        raise call.refuse("resizes by what depends on the data")
    target = sizes if sizes is not None and not _is_empty(sizes) else None
    factors = None if target is not None else call.host(scales).reshape(-1).tolist()
    whole = None if target is None else call.ints(target)
    axes = call.get("axes")
    if axes is not None:
        spread: list[Any] = list(x.shape) if whole is not None else [1.0] * x.dim()
        for axis, value in zip(axes, whole or factors or [], strict=True):
            spread[axis] = value
        whole, factors = (spread, None) if whole is not None else (None, spread)
    place = call.get("coordinate_transformation_mode", "half_pixel")
    if place == "half_pixel_symmetric" and whole is None and factors is not None:
        factors = [float(f) for f in factors]
    return _interpolated(call, x, factors, whole, call.get("mode", "nearest"), place)


def _interpolated(
    call: Call, x: Tensor, factors: Sequence[Any] | None, sizes: Sequence[Any] | None, mode: str, place: str
) -> Tensor:
    if any(f != 1 for f in (factors or [])[:2]):
        raise call.refuse("resizes batch or channels, which torch cannot")
    if call.get("antialias", 0) or place == "tf_crop_and_resize":
        raise call.refuse("crops or works against aliasing, which is not read")
    if sizes is not None and call.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise call.refuse("keeps the aspect ratio, which is not read")
    size: dict[str, Any] = {"scale_factor": _factors(factors)} if sizes is None else {"size": list(sizes[2:])}
    nearest = call.get("nearest_mode", "floor" if call.op == "Upsample" or call.opset < 11 else "round_prefer_floor")
    if mode == "nearest":
        if (place == "asymmetric" and nearest == "floor") or _whole(factors):
            return F.interpolate(x, mode="nearest", **size)
        if place in ("half_pixel", "pytorch_half_pixel") and nearest == "round_prefer_ceil":
            return F.interpolate(x, mode="nearest-exact", **size)
    half = place in ("half_pixel", "pytorch_half_pixel", "align_corners")
    if mode in ("linear", "cubic") and half:
        if mode == "cubic" and (call.get("cubic_coeff_a", -0.75) != -0.75 or call.get("exclude_outside", 0)):
            raise call.refuse("interpolates with another cubic than torch's")
        names = {1: "linear", 2: "bilinear", 3: "trilinear"}
        kind = "bicubic" if mode == "cubic" else names[x.dim() - 2]
        return F.interpolate(x, mode=kind, align_corners=place == "align_corners", **size)
    if mode == "cubic":
        raise call.refuse(f"interpolates by {place!r}, which torch's cubic cannot")
    for axis in range(2, x.dim()):
        length = x.shape[axis]
        wanted = sizes[axis] if sizes is not None else _scaled_length(length, (factors or [])[axis])
        ratio = wanted / length if sizes is not None else (factors or [])[axis]
        x = _resampled(x, axis, _places(place, wanted, length, ratio), mode, nearest)
    return x


def _scaled_length(length: Any, factor: float) -> Any:
    return length * int(factor) if float(factor).is_integer() else torch.sym_int(length * float(factor))


def _places(place: str, wanted: Any, length: Any, ratio: Any) -> Tensor:
    """Where each element of the result lies along the axis of what is resized."""
    at = torch.arange(wanted, dtype=torch.float32)
    if place == "align_corners":
        found: Tensor = at * ((length - 1) / torch.sym_max(wanted - 1, 1))
    elif place == "asymmetric":
        found = at / ratio
    elif place == "half_pixel_symmetric":
        found = length / 2 * (1 - wanted / (ratio * length)) + (at + 0.5) / ratio - 0.5
    else:
        found = (at + 0.5) / ratio - 0.5
    return found


def _resampled(x: Tensor, axis: int, at: Tensor, mode: str, nearest: str) -> Tensor:
    """By look-up, where torch's own interpolation looks elsewhere."""
    last = x.shape[axis] - 1
    if mode == "nearest":
        rule = {"floor": at.floor(), "ceil": at.ceil(), "round_prefer_floor": (at - 0.5).ceil()}
        return x.index_select(axis, rule.get(nearest, (at + 0.5).floor()).clamp(0, last).long())
    at = at.clamp(0, last)
    low = at.floor()
    share = (at - low).reshape(-1, *[1] * (x.dim() - axis - 1))
    before, after = low.long(), (low + 1).clamp(max=last).long()
    return x.index_select(axis, before) * (1 - share) + x.index_select(axis, after) * share


def _factors(factors: Sequence[Any] | None) -> list[float]:
    return [float(f) for f in (factors or [])[2:]]


def _whole(factors: Sequence[Any] | None) -> bool:
    """Whether every pixel becomes a block of equal pixels; every way to look up the nearest one gives the same then."""
    return bool(factors) and all(float(f).is_integer() and f >= 1 for f in factors)  # type: ignore[union-attr]


def _is_empty(value: Any) -> bool:
    array = value.array if isinstance(value, Constant) else value
    return not isinstance(array, Tensor) and array.size == 0


def _depth_to_space(call: Call, data: Any) -> Tensor:
    x, block = tensor(data), call.get("blocksize")
    if call.get("mode", "DCR") == "CRD":
        return F.pixel_shuffle(x, block)
    n, channels, height, width = x.shape
    split = x.reshape(n, block, block, channels // block**2, height, width)
    return split.permute(0, 3, 4, 1, 5, 2).reshape(n, channels // block**2, height * block, width * block)


def _space_to_depth(call: Call, data: Any) -> Tensor:
    x, block = tensor(data), call.get("blocksize")
    n, channels, height, width = x.shape
    split = x.reshape(n, channels, height // block, block, width // block, block)
    return split.permute(0, 3, 5, 1, 2, 4).reshape(n, channels * block**2, height // block, width // block)


def _local_response(call: Call, x: Any) -> Tensor:
    alpha, beta, k = call.get("alpha", 1e-4), call.get("beta", 0.75), call.get("bias", 1.0)
    return F.local_response_norm(tensor(x), call.get("size"), alpha, beta, k)


SPATIAL: dict[str, Callable[..., Any]] = {
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global(lambda x, axes: x.mean(axes, keepdim=True)),
    "GlobalMaxPool": _global(lambda x, axes: x.amax(axes, keepdim=True)),
    "Pad": _pad,
    "Upsample": _upsample,
    "Resize": _resize,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "LRN": _local_response,
}
