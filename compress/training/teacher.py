"""A teacher that answers batches, on torch or on ONNX Runtime, and remembers what it has been asked before."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from compress.layout import channels_last
from export.session import onnx_runner
from models.errors import CompressError, UsageError, first_line
from models.records import Model

from .feed import Tensors, tensor
from .step import named

_MEMORY_BYTES = 256 << 20


class Teacher:
    """Answers one batch at a time, in eval mode and without gradients; the model itself is never touched.

    Small students learn in many epochs, and a large teacher costs more than the student's own step. `remember` asks it
    once for every row of the training split, in the split's fixed order; a batch is then put together from memory, and
    only rows that an augmentation has changed are asked anew. What is remembered never depends on how far the training
    is, so a resumed run hears the same answers to the bit.
    """

    def __init__(self, model: Model, *, inputs: Sequence[str], outputs: Sequence[str], device: str) -> None:
        if len(model.inputs) != len(inputs) or len(model.outputs) != len(outputs):
            raise UsageError(
                f"teacher {model.name or 'model'!r} takes {[s.name for s in model.inputs]} and gives "
                f"{[s.name for s in model.outputs]}; the student takes {list(inputs)} and gives {list(outputs)}. "
                "They need the same inputs and outputs."
            )
        self.inputs, self.outputs, self.device = tuple(inputs), tuple(outputs), device
        self._rows: dict[bytes, int] = {}
        self._answers: Tensors = {}
        self.network: nn.Module | None = None
        if model.is_onnx:
            self._run, self._names = onnx_runner(replace(model, forms={})), [spec.name for spec in model.inputs]
        else:
            self.network = copy.deepcopy(model.module).to(device).eval().requires_grad_(False)
        self._name, self._asked = model.name or "model", False

    def __call__(self, inputs: Tensors) -> Tensors:
        """The answers to one batch, by the student's names of the outputs."""
        if not self._rows:
            return self.ask(inputs)
        known = [self._rows.get(key, -1) for key in _keys(inputs)]
        new = [position for position, row in enumerate(known) if row < 0]
        if len(new) == len(known):
            return self.ask(inputs)
        index = torch.tensor([max(row, 0) for row in known])
        answers = {name: rows[index] for name, rows in self._answers.items()}
        if new:
            asked = self.ask({name: array[new] for name, array in inputs.items()})
            for name, rows in answers.items():
                rows[new] = asked[name]
        return answers

    @torch.no_grad()
    def ask(self, inputs: Tensors) -> Tensors:
        """The answers to one batch, computed."""
        given = [inputs[name] for name in self.inputs]
        if self.network is not None:
            if not self._asked:
                channels_last(self.network, given)
                self._asked = True
            return named(self.network(*given), self.outputs)
        arrays = {name: array.cpu().numpy() for name, array in zip(self._names, given, strict=True)}
        answers = self._run(arrays).values()
        return {name: tensor(array, self.device) for name, array in zip(self.outputs, answers, strict=True)}

    def first(self, inputs: Tensors, what: str) -> Tensors:
        """The answers to the first batch; raises UsageError where the teacher cannot take it."""
        try:
            return self.ask(inputs)
        except (RuntimeError, ValueError, TypeError, LookupError, CompressError) as error:
            shapes = ", ".join(f"{name} {str(a.dtype)[6:]}{list(a.shape)}" for name, a in inputs.items())
            reason = first_line(error)
            raise UsageError(
                f"{what}: the teacher {self._name!r} cannot take the student's batch {shapes}: {reason} "
                "They need the same inputs and outputs."
            ) from error

    def remember(self, walk: Callable[[], Iterator[Tensors]], probe: Tensors) -> int:
        """Ask for every row of the split that `walk` goes through, and give how many rows are now known.

        Nothing is remembered where it would not help: on a GPU, where most rows of `probe` (a batch to train on) are
        not rows of the split, where an answer is not one for each row, or where the answers do not fit in memory.
        """
        if self.device != "cpu":
            return 0
        wanted = set(_keys(probe))
        if 2 * len({key for inputs in walk() for key in _keys(inputs) if key in wanted}) < len(wanted):
            return 0
        rows: dict[bytes, int] = {}
        parts: dict[str, list[torch.Tensor]] = {name: [] for name in self.outputs}
        used = 0
        for inputs in walk():
            keys = _keys(inputs)
            answers = self.ask(inputs)
            used += sum(a.numel() * a.element_size() for a in answers.values())
            if used > _MEMORY_BYTES or any(a.ndim == 0 or len(a) != len(keys) for a in answers.values()):
                return 0
            if any(part and part[0].shape[1:] != answers[name].shape[1:] for name, part in parts.items()):
                return 0  # rows of different lengths
            start = sum(len(part) for part in parts[self.outputs[0]])
            rows.update((key, start + position) for position, key in enumerate(keys))
            for name, part in parts.items():
                part.append(answers[name])
        self._answers = {name: torch.cat(part) for name, part in parts.items()}
        self._rows = rows
        return len(rows)


def _keys(inputs: Tensors) -> list[bytes]:
    """One key a row, of everything in that row of every input; a number beside the rows tells none from another."""
    arrays = [np.ascontiguousarray(array.cpu().numpy()) for array in inputs.values() if array.ndim]
    if len(arrays) == 1:
        return [hashlib.blake2b(row, digest_size=16).digest() for row in arrays[0]]
    return [
        hashlib.blake2b(b"".join(row.tobytes() for row in rows), digest_size=16).digest()
        for rows in zip(*arrays, strict=True)
    ]
