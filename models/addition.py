"""Binary addition of two 8-bit numbers, all 65,536 of them: made here, nothing to download.

Bits come least significant first, two at a step, and one step more for the last carry. Train and validation are random
parts of the pairs, drawn once by a fixed seed; test is all pairs, those that were trained on among them, because what
is asked is whether the network adds without a single mistake.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from models.batches import ArrayBatches
from models.records import InputSpec, Split
from models.tagging import BinaryTagging
from models.tasks import Array

WIDTH = 8  # bits of a number
STEPS = WIDTH + 1  # of a sum
SIZES: dict[Split, int] = {"train": 24_576, "validation": 8_192}


def to_bits(numbers: Array, steps: int = STEPS) -> Array:
    """Whole numbers (...) to bits (..., steps), least significant first."""
    bits: Array = (numbers[..., None] >> np.arange(steps)) & 1
    return bits


@cache
def pairs(split: Split) -> Array:
    """The pairs of numbers of a split, (rows, 2); shared, copy before you write."""
    numbers = np.arange(1 << WIDTH)
    everything = np.stack(np.meshgrid(numbers, numbers, indexing="ij"), axis=-1).reshape(-1, 2)
    if split != "test":
        order = np.random.default_rng(0).permutation(len(everything))
        start = 0 if split == "train" else SIZES["train"]
        everything = everything[order[start : start + SIZES[split]]]
    everything.setflags(write=False)
    return everything


def task(*, batch_size: int = 64, inputs: Sequence[InputSpec] = ()) -> BinaryTagging:
    """Add: bits (N, 9, 2) of two numbers to bits (N, 9) of their sum."""
    name = inputs[0].name if inputs else "bits"

    def split(which: Split) -> ArrayBatches:
        numbers = pairs(which)
        bits = to_bits(numbers).transpose(0, 2, 1).astype(np.float32)
        return ArrayBatches(inputs={name: bits}, target=to_bits(numbers.sum(1)), batch_size=batch_size)

    return BinaryTagging(
        name="addition", train=split("train"), validation=split("validation"), test=split("test"), unit="sums right"
    )
