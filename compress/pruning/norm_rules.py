"""How normalizations tie the dimensions of their statistics, scales and shifts to those of what they are given."""

from __future__ import annotations

from collections.abc import Sequence

from .axes import Dim, size_of
from .ties import Call, Dims, Given, Rule, named

TENSORS = ("weight", "bias", "running_mean", "running_var")


def channel_norm(call: Call) -> Given:
    """Batch normalization by function."""
    dims = call.dims("input")
    return normalize_channels(call, dims, [call.dims(name) for name in TENSORS])


def normalize_channels(call: Call, x: Dims, tensors: Sequence[Dims]) -> Dims:
    """Statistics and scale a channel; channels are dimension 1."""
    for dims in tensors:
        for dim in dims:
            call.tie(dim, x[1])
    call.attribute("num_features", x[1])
    return x


def layer_norm(call: Call) -> Given:
    """Layer or root-mean-square normalization by function."""
    last = normalize_last(
        call, call.dims("input"), len(call["normalized_shape"]), [call.dims("weight"), call.dims("bias")]
    )
    call.sizes("normalized_shape", last)
    return call.dims("input")


def normalize_last(call: Call, x: Dims, count: int, tensors: Sequence[Dims]) -> Dims:
    """Tie scale and shift to the last dimensions, over which the statistics run; gives these dimensions."""
    last = x[len(x) - count :]
    for dims in tensors:
        for dim, normalized in zip(dims, last, strict=bool(dims)):
            call.tie(dim, normalized)
    call.attribute("normalized_shape", last)
    return last


def group_norm(call: Call) -> Given:
    """Group normalization by function."""
    tensors = [call.dims("weight"), call.dims("bias")]
    call.number("num_groups", normalize_groups(call, call.dims("input"), int(call["num_groups"]), tensors))
    return call.dims("input")


def normalize_groups(call: Call, x: Dims, groups: int, tensors: Sequence[Dims]) -> Dim:
    """Statistics a group of channels; gives the dimension of the groups. Whole groups can go without a trace."""
    rows, _ = call.factor(x[1], groups)
    for dims in tensors:
        for dim in dims:
            call.tie(dim, x[1])
    call.freeze(x[2:], "runs over it")
    call.attribute("num_channels", x[1])
    call.attribute("num_groups", rows)
    return rows


def instance_norm(call: Call) -> Given:
    """Instance normalization by function."""
    x = call.dims("input")
    call.freeze(x[2:], "runs over it")
    return normalize_channels(call, x, [call.dims(name) for name in TENSORS])


def with_statistics(call: Call) -> Given:
    """Batch normalization that gives its statistics too, as one without running statistics is traced."""
    x = call.dims("input")
    normalize_channels(call, x, [call.dims(name) for name in TENSORS if name in call.arguments])
    statistics = [(x[1],) if shape == (size_of(x[1]),) else tuple(map(call.fixed, shape)) for shape in call.given[1:]]
    return [x, *statistics]


NORMS: dict[str, Rule] = {
    "batch_norm": channel_norm,
    **named("native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training", with_statistics),
    "instance_norm": instance_norm,
    **named("layer_norm rms_norm", layer_norm),
    "group_norm": group_norm,
}
