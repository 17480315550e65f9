"""Batches as tensors, epoch after epoch, in an order that can be taken up again in the middle."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from models.errors import DataError
from models.records import ShuffledBatches

Tensors = dict[str, torch.Tensor]


class Feed:
    """An endless walk over a training split; `epoch` and `index` say which batch comes next.

    Every epoch of `ShuffledBatches` is asked for by its number and the seed. Any other iterable (a user's DataLoader)
    is iterated anew, with the global random numbers seeded for that epoch, so a shuffle of its own repeats as well.

    Args:
        data: yields (inputs, target); inputs are named, or a tensor or a sequence in the order of `names`.
        names: the network's inputs, in order.
        alone: whether a last batch of a single row may be given; batch normalization cannot train on one.
    """

    def __init__(self, data: Iterable[Any], names: Sequence[str], *, seed: int, device: str, alone: bool) -> None:
        self.data, self.names, self.seed, self.device, self.alone = data, tuple(names), seed, device, alone
        self.epoch = self.index = 0
        self.generators: dict[str, Any] | None = None

    def resume(self, epoch: int, index: int, generators: dict[str, Any]) -> None:
        """Go on at this batch, with the random number generators as they were before it."""
        self.epoch, self.index, self.generators = epoch, index, generators

    def __iter__(self) -> Iterator[tuple[Tensors, Any]]:
        while True:
            given, first_rows = 0, 0
            for position, (inputs, target) in enumerate(self._opened()):
                rows = len(next(iter(inputs.values()), ()))
                first_rows = first_rows or rows
                given += 1
                if position < self.index:
                    continue
                if self.generators is not None:
                    if position:  # at the start of an epoch they have just been seeded
                        set_generators(self.generators)
                    self.generators = None
                self.index = position + 1
                if rows > 1 or first_rows == 1 or self.alone:
                    yield {n: tensor(a, self.device) for n, a in inputs.items()}, tensors(target, self.device)
            if not given:
                raise DataError(
                    f"training data: no batch in epoch {self.epoch + 1}. It is empty, or can be iterated only once: "
                    "give a list or a loader."
                )
            self.epoch, self.index = self.epoch + 1, 0

    def walk(self) -> Iterator[tuple[Tensors, Any]]:
        """The split once through in its own fixed order, not shuffled and not augmented."""
        for inputs, target in map(self._parted, self.data):
            yield {n: tensor(a, self.device) for n, a in inputs.items()}, tensors(target, self.device)

    def batches_per_epoch(self) -> int:
        """Counted by walking one epoch where the data cannot tell."""
        if isinstance(self.data, Sized):
            return len(self.data)
        return sum(1 for _ in (self.data.epoch(0, self.seed) if isinstance(self.data, ShuffledBatches) else self.data))

    def _opened(self) -> Iterator[tuple[dict[str, Any], Any]]:
        seed_generators(int(np.random.SeedSequence([self.seed, self.epoch]).generate_state(1)[0]))
        data = self.data
        return map(self._parted, data.epoch(self.epoch, self.seed) if isinstance(data, ShuffledBatches) else data)

    def _parted(self, batch: Any) -> tuple[dict[str, Any], Any]:
        """Inputs in the network's order, and the target; raises DataError where a name or an array is missing."""
        inputs, target = batch if isinstance(batch, tuple | list) and len(batch) == 2 else (batch, None)
        if not isinstance(inputs, Mapping):
            inputs = dict(zip(self.names, inputs if isinstance(inputs, tuple | list) else (inputs,), strict=False))
        if missing := [name for name in self.names if name not in inputs]:
            raise DataError(
                f"training data: no array {missing[0]!r} in a batch that has {sorted(inputs)}; "
                f"the network takes {list(self.names)}. Name the arrays as the network's inputs."
            )
        return {name: inputs[name] for name in self.names}, target


def tensor(array: Any, device: str) -> torch.Tensor:
    """On the device, without a copy where that is safe; an array that cannot be written to is copied."""
    if isinstance(array, torch.Tensor):
        return array.to(device)
    array = np.asarray(array)
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    return torch.from_numpy(array).to(device)


def tensors(target: Any, device: str) -> Any:
    """A target, however nested; whole numbers become int64, which every loss takes."""
    if target is None:
        return None
    if isinstance(target, Mapping):
        return {name: tensors(part, device) for name, part in target.items()}
    if isinstance(target, tuple | list):
        return type(target)(tensors(part, device) for part in target)
    made = tensor(target, device)
    whole = not made.is_floating_point() and not made.is_complex() and made.dtype is not torch.bool
    return made.long() if whole else made


def seed_generators(seed: int) -> None:
    """Python's, numpy's and torch's, since a user's augmentation may draw from any of them."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def generators() -> dict[str, Any]:
    """The state of all random number generators, in types that a safe checkpoint holds."""
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (str(kind), torch.from_numpy(np.array(keys, np.int64)), int(position), int(has_gauss), float(cached)),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_generators(state: dict[str, Any]) -> None:
    """Undo whatever was drawn since `generators` gave the state."""
    random.setstate(state["python"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


@contextmanager
def own_generators(seed: int) -> Iterator[None]:
    """Seed everything inside; outside, the caller's random numbers go on as if nothing had happened."""
    before = generators()
    seed_generators(seed)
    try:
        yield
    finally:
        set_generators(before)
