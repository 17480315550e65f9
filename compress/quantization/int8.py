"""The arithmetic of eight bits: a real x is kept as q with x = scale * (q - zero). Numpy alone, no graph in sight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Array = np.ndarray[Any, Any]

# Two products of u8 and s8 are added in 16 bits by x86 without VNNI: 255 * 128 = 32640 is the last that fits 32767.
PAIR = 128
# Below this a scale times a scale leaves the normal numbers of float32 (1e-15 * 1e-15 = 1e-30, the least is 1.2e-38).
SMALLEST_SCALE = 1e-15


@dataclass(frozen=True)
class Grid:
    """The reals that eight bits can name: scale * (q - zero) for q in [lowest, highest].

    Args:
        scale: float32; a number, or one per channel, shaped to broadcast against the tensor.
        zero: of the integer type, shaped as scale. It is itself a name, so 0.0 is kept exactly.
    """

    scale: Array
    zero: Array
    lowest: int
    highest: int

    def quantize(self, real: Array) -> Array:
        """Nearest names, halves to even as ONNX rounds; what lies outside the grid takes its end."""
        steps = np.rint(real.astype(np.float64) / self.scale.astype(np.float64)) + self.zero
        names: Array = np.clip(steps, self.lowest, self.highest).astype(self.zero.dtype)
        return names

    def dequantize(self, names: Array) -> Array:
        """The reals behind the names, in float32."""
        real: Array = (self.scale * (names.astype(np.int32) - self.zero)).astype(np.float32)
        return real


def activation_grid(low: float, high: float, kind: Literal["u8", "s8"]) -> Grid:
    """Grid over a range that an activation was seen in; u8 uses all of it, s8 is symmetric around zero.

    The range is widened to hold zero, so padding and ReLU's zeros are exact. A range of nothing but zero gets scale 1.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    if kind == "s8":
        scale = _usable(np.float64(max(-low, high) / 127))
        return Grid(scale, np.int8(0) * np.ones((), np.int8), -127, 127)
    scale = _usable(np.float64((high - low) / 255))
    zero = np.clip(np.rint(-low / np.float64(scale)), 0, 255).astype(np.uint8)
    return Grid(scale, zero, 0, 255)


def weight_grid(
    weight: Array,
    channel_axes: tuple[int, ...] = (),
    *,
    pairs_fit: bool = False,
    in_order: Array | None = None,
    unsigned: bool = False,
    least: Array | float = 0.0,
) -> Grid:
    """Symmetric grid for a weight: zero is 0, names in [-127, 127], so s8 times s8 cannot overflow on Arm either.

    Args:
        weight: any shape, finite.
        channel_axes: a scale for each index along these; () is one scale for the whole tensor.
        pairs_fit: make |q1| + |q2| <= 128 for any two weights of one channel whose signs agree, whichever the kernel
            puts side by side. Both largest may take 64 (seven bits); a channel with one outlier loses less.
        in_order: the same weight as (channels, K), each row in the order in which the kernel adds its products: it
            puts 2k and 2k + 1 side by side and no others, so that only these need fit: half a bit is won.
        unsigned: the same grid under names from 1 to 255, zero being 128: x86 widens u8 times u8 before it adds, so
            that pairs fit whatever they are.
        least: no scale is smaller; a number, or one per channel, flat.
    """
    others = tuple(axis for axis in range(weight.ndim) if axis not in channel_axes)
    sizes = tuple(size if axis in channel_axes else 1 for axis, size in enumerate(weight.shape))
    rows = np.moveaxis(weight, channel_axes, range(len(channel_axes))) if channel_axes else weight
    rows = rows.reshape(int(np.prod([weight.shape[axis] for axis in channel_axes])), -1).astype(np.float64)
    if pairs_fit and others and not unsigned:
        largest, beside = (_two_largest, rows) if in_order is None else (_largest_neighbours, in_order)
        reach = np.maximum(largest(beside), largest(-beside)) / (PAIR - 1)  # rounding adds at most one to a sum
        reach = reach.reshape(len(rows), -1).max(axis=1, initial=0.0)
    else:
        reach = np.abs(rows).max(axis=1, initial=0.0) / 127
    reach = np.maximum(reach, least)
    scale = _usable(reach.reshape(sizes) if channel_axes else reach.max(initial=0.0))
    if unsigned:
        return Grid(scale, np.full(scale.shape, 128, np.uint8), 1, 255)
    return Grid(scale, np.zeros(scale.shape, np.int8), -127, 127)


def _two_largest(rows: Array) -> Array:
    """Sum of the two largest positive numbers of each row; (C, K) -> (C,)."""
    positive = np.maximum(rows, 0.0)
    largest: Array = positive if rows.shape[1] < 2 else np.partition(positive, -2, axis=1)[:, -2:]
    return np.asarray(largest.sum(axis=1))


def _largest_neighbours(rows: Array) -> Array:
    """The largest sum of the positive numbers 2k and 2k + 1 of each row; (C, K) -> (C,)."""
    positive = np.pad(np.maximum(rows, 0.0).astype(np.float64), ((0, 0), (0, rows.shape[1] % 2)))
    return np.asarray((positive[:, ::2] + positive[:, 1::2]).max(axis=1, initial=0.0))


def _usable(scale: Array | np.float64) -> Array:
    """Scale in float32; all-zero data gives 1, and nothing is so small that products of scales vanish."""
    made = np.where(np.asarray(scale) == 0.0, 1.0, np.maximum(scale, SMALLEST_SCALE)).astype(np.float32)
    return np.asarray(made)


def bias_names(bias: Array, product_scale: Array) -> Array:
    """Bias (C,) in int32 at the scale of the products, a number or (C,); `least_scale` has seen to it that it fits."""
    return np.rint(bias.astype(np.float64) / product_scale.astype(np.float64)).astype(np.int32)


def least_scale(bias: Array, input_scale: Array) -> Array:
    """The least weight scale of each channel at which its bias takes 30 bits, and the sum has room in 32; (C,)."""
    return np.asarray(np.abs(bias.astype(np.float64)) / (input_scale.astype(np.float64) * 2**29))
