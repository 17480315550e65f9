"""Data whose samples are whole inputs: one array more dimension than the network takes, the samples along its first.

A network may have no batch, or not first: time-first recurrent layers (T, N, F), a single picture (C, H, W), a graph.
Its first dimension then counts something else than samples, and each sample is run by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from models.records import Arrays, InputSpec, Runner

Array = np.ndarray[Any, Any]


def are_whole(arrays: Arrays, inputs: Sequence[InputSpec]) -> bool:
    """Whether all arrays have one dimension more than their inputs, and as many samples; never of what has states."""
    if any(spec.state_of is not None for spec in inputs):
        return False
    given = [(np.ndim(arrays[spec.name]), len(spec.dims), spec.name) for spec in inputs if spec.name in arrays]
    counts = {len(arrays[name]) for have, _, name in given if have}
    return bool(given) and len(counts) == 1 and all(have == want + 1 for have, want, _ in given)


def each_sample(arrays: Arrays, inputs: Sequence[InputSpec]) -> Iterator[dict[str, Array]]:
    """One after the other, as the network takes it."""
    names = [spec.name for spec in inputs if spec.name in arrays]
    for row in range(len(arrays[names[0]])):
        yield {name: np.asarray(arrays[name])[row] for name in names}


def run_each(run: Runner, arrays: Arrays, inputs: Sequence[InputSpec]) -> Arrays:
    """What the network says to each sample, stacked."""
    made = [run(sample) for sample in each_sample(arrays, inputs)]
    return {name: joined([np.asarray(one[name])[None] for one in made]) for name in made[0]}


def joined(parts: Sequence[Array]) -> Array:
    """Arrays one behind the other; where they differ in a further dimension they are filled up, floats with NaN."""
    inner = np.max([part.shape[1:] for part in parts], axis=0)
    nothing = np.nan if parts[0].dtype.kind == "f" else 0

    def filled(part: Array) -> Array:
        missing = [(0, int(most) - size) for most, size in zip(inner, part.shape[1:], strict=True)]
        return np.pad(part, [(0, 0), *missing], constant_values=nothing) if any(more for _, more in missing) else part

    return np.concatenate([filled(part) for part in parts])
