"""How operations on the positions of pictures and sounds tie dimensions: pooling, resizing, unfolding, pixel shuffles.

Channels pass; positions are run over, so none of them can go.
"""

from __future__ import annotations

import re

from .axes import Product, size_of
from .ties import Call, Given, Rule, named


def pool(call: Call) -> Given:
    """Pooling and resizing: the last 1, 2 or 3 dimensions change."""
    match = re.search(r"([123])d", call.kind)
    return slide(call, int(match[1]) if match else 1)


def unpool(call: Call) -> Given:
    """Values put back where a pooling found them, channel by channel."""
    call.broadcast([call.dims("self"), call.dims("indices")])
    return pool(call)


def slide(call: Call, spatial: int) -> Given:
    """The last `spatial` dimensions are run over, whatever is before them passes."""
    dims = call.dims(0)
    call.freeze(dims[len(dims) - spatial :], "slides over it")
    shape = call.given[0] if isinstance(call.given, list) else call.given
    return call.results((*dims[: len(dims) - spatial], *(call.fixed(n) for n in shape[len(shape) - spatial :])))


def shuffle_pixels(call: Call) -> Given:
    """(N, C r r, H, W) to (N, C, H r, W r)."""
    dims = call.dims("self")
    rows, inner = call.factor(dims[-3], call.given[-3])
    call.freeze([inner, *dims[-2:]], "spreads it over positions")
    return (*dims[:-3], rows, *(call.fixed(n) for n in call.given[-2:]))


def gather_pixels(call: Call) -> Given:
    """(N, C, H r, W r) to (N, C r r, H, W)."""
    dims = call.dims("self")
    call.freeze(dims[-2:], "gathers it into channels")
    inner = call.fixed(call.given[-3] // size_of(dims[-3]))
    return (*dims[:-3], Product((dims[-3], inner)), *(call.fixed(n) for n in call.given[-2:]))


def unfold_pixels(call: Call) -> Given:
    """(N, C, H, W) to (N, C taps, positions): what the kernel sees at each position, channel by channel."""
    dims = call.dims("self")
    call.freeze(dims[-2:], "slides over it")
    taps = call.fixed(call.given[-2] // size_of(dims[-3]))
    return (*dims[:-3], Product((dims[-3], taps)), call.fixed(call.given[-1]))


def fold_pixels(call: Call) -> Given:
    """(N, C taps, positions) to (N, C, H, W), adding up what lies at the same pixel."""
    dims = call.dims("self")
    rows, taps = call.factor(dims[-2], call.given[-3])
    call.freeze([taps, dims[-1]], "spreads it over positions")
    return (*dims[:-2], rows, *(call.fixed(n) for n in call.given[-2:]))


def windows(call: Call) -> Given:
    """Windows along `dimension`, what lies in each as a new last dimension."""
    dims = list(call.dims("self"))
    place = call.position("dimension", len(dims))
    call.freeze([dims[place]], "slides over it")
    dims[place] = call.fixed(call.given[place])
    return (*dims, call.fixed(call.given[-1]))


def sample(call: Call) -> Given:
    """(N, C, H, W) read at the places (N, H', W', 2): (N, C, H', W'); the same with depth."""
    dims, grid = call.dims("input"), call.dims("grid")
    call.freeze((*dims[2:], *grid[1:]), "reads between its positions")
    return (call.tie(dims[0], grid[0]), dims[1], *(call.fixed(n) for n in call.given[2:]))


PIXELS: dict[str, Rule] = {
    **named(
        "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d "
        "adaptive_max_pool3d avg_pool1d avg_pool2d avg_pool3d max_pool1d max_pool2d max_pool3d max_pool2d_with_indices "
        "max_pool3d_with_indices reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d "
        "replication_pad2d replication_pad3d upsample_bicubic2d upsample_bilinear2d upsample_linear1d "
        "upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_trilinear3d _upsample_nearest_exact1d "
        "_upsample_nearest_exact2d _adaptive_avg_pool2d _adaptive_avg_pool3d",
        pool,
    ),
    **named("max_unpool2d max_unpool3d", unpool),
    "pixel_shuffle": shuffle_pixels,
    "pixel_unshuffle": gather_pixels,
    "im2col": unfold_pixels,
    "col2im": fold_pixels,
    "unfold": windows,
    **named("grid_sampler grid_sampler_2d grid_sampler_3d", sample),
}
