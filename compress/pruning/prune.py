"""Pruning: the units that matter least are removed for good, or single weights are set to zero."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import nn

from compress.base import Context, NetworkForm, Note, Outcome
from compress.training.fine_tuning import fine_tune
from export.device import find_device
from export.forms import MAIN, handed_over, parts
from export.lifted import Lifted
from models.errors import UsageError
from models.records import Model

from .axes import Axis, Mask, axes_of, resolve, size_of, terms_of
from .cut import cut
from .importance import Importance, Scores, score_units
from .magnitude import zero_smallest
from .ties import Ties
from .units import Group, analyse, groups_of


@dataclass(frozen=True, kw_only=True)
class Prune:
    """Remove the channels, hidden units and heads that matter least.

    What is tied (by a residual addition, a concatenation, the gates of a cell, the heads of an attention) goes
    together, the file gets smaller and stays dense. Inputs and outputs stay; a streaming model's state gets narrower,
    and so does what one form hands to another.
    """

    name: ClassVar[str] = "prune"
    takes: ClassVar[NetworkForm] = "torch"

    ratio: float = field(default=0.5, metadata={"help": "share of the units removed in each group; 0 <= ratio < 1"})
    kind: Literal["units", "weights"] = field(
        default="units",
        metadata={"help": "units: smaller and faster. weights: zeros in a file of the same size and speed"},
    )
    importance: Importance = field(
        default="l2", metadata={"help": "what says how much a unit matters; random: a control"}
    )
    min_units: int = field(default=1, metadata={"help": "units that every group keeps at least"})
    multiple: int = field(
        default=0,
        metadata={"help": "round widths up to a multiple of this, by at most a half; 0: what the device likes"},
    )
    recover: int = field(default=300, metadata={"help": "training steps afterwards; 0 for none"})
    minutes: float = field(default=0.0, metadata={"help": "training time afterwards, in place of steps"})
    skip: tuple[str, ...] = field(default=(), metadata={"help": "leave the layers that match this pattern"})

    def __post_init__(self) -> None:
        if not 0 <= self.ratio < 1:
            raise UsageError(
                f"prune: ratio {self.ratio:g} asked, and it is the share removed: 0 or more, and less than 1."
            )
        for name, low in (("min_units", 1), ("multiple", 0), ("recover", 0), ("minutes", 0)):
            if not getattr(self, name) >= low:
                raise UsageError(f"prune: {name} {getattr(self, name)} asked, and it must be {low} or more.")

    def __call__(self, model: Model, context: Context) -> Outcome:
        """Give the pruned model; LiftError where it does not run."""
        if self.kind == "weights":
            return zero_smallest(model, context, self.ratio, self.skip, steps=self.recover, minutes=self.minutes)
        network = model.network
        assert isinstance(network, Lifted)
        copied = replace(model, network=copy.deepcopy(network))
        ties = analyse(copied, skip=self.skip)
        found = list(groups_of(ties))
        counts = self.widths(ties, found, self.multiple or find_device(context.device).channel_multiple)
        scores = score_units(ties, list(counts), self.importance, seed=context.seed)
        smaller = cut(copied, ties, most_important(scores, counts))
        changed, skipped = _notes(model, smaller, found)
        if not changed:
            return Outcome(model, (), skipped)
        made, facts, note = fine_tune(smaller, model, context, steps=self.recover, minutes=self.minutes, what=self.name)
        facts = {
            **facts,
            "groups": len(counts),
            "parameters_before": _count(network),
            "parameters": _count(made.network),
        }
        return Outcome(made, changed, (*skipped, *note), facts=facts)

    def widths(self, ties: Ties, found: Iterable[Group], multiple: int) -> dict[Axis, int]:
        """How many units each group keeps, of the groups that lose some."""
        rows = _row_lengths(ties)
        kept: dict[Axis, int] = {}
        for group in found:
            if not group.reason:
                least = max(self.min_units, group.size - math.floor(group.size * self.ratio + 1e-9))
                kept[group.axis] = _rounded(least, group.size, rows.get(group.axis, 1), multiple)
        for dims in ties.alike:
            together = [axis for dim in map(resolve, dims) for axis in axes_of(dim) if axis in kept]
            for axis in together:
                kept[axis] = max(kept[other] for other in together)
        return {axis: count for axis, count in kept.items() if count < axis.size}


def most_important(scores: Scores, counts: Mapping[Axis, int]) -> dict[Axis, Mask]:
    """Mark the best units of each axis, so many as it keeps; of equals the first."""
    keep: dict[Axis, Mask] = {}
    for axis, count in counts.items():
        keep[axis] = np.zeros(axis.size, bool)
        keep[axis][np.argsort(-scores[axis], kind="stable")[:count]] = True
    return keep


def _rounded(least: int, size: int, row: int, multiple: int) -> int:
    """Units kept so that the width, units times the length of a row, is a multiple; where that keeps little more."""
    step = multiple // math.gcd(multiple, row)
    rounded = -(-least // step) * step
    return rounded if 2 * rounded <= 3 * least and rounded < size else min(least, size)


def _row_lengths(ties: Ties) -> dict[Axis, int]:
    """How long a row of a unit is: 1 for a channel, the width of a head for a head; the shortest where they differ."""
    lengths: dict[Axis, int] = {}
    for tied in ties.tensors.values():
        for dim in tied.dims:
            for term in terms_of(dim):
                for axis in axes_of(term):
                    lengths[axis] = min(lengths.get(axis, size_of(term)), size_of(term) // axis.size)
    return lengths


def _notes(model: Model, smaller: Model, found: Sequence[Group]) -> tuple[tuple[Note, ...], tuple[Note, ...]]:
    """One note for each layer that got smaller, and for each with weights that did not, why."""
    before, network = model.network, smaller.network
    assert isinstance(before, Lifted) and isinstance(network, Lifted)
    now = dict(network.named_parameters(remove_duplicate=False))
    changed: dict[str, str] = {}
    layers: dict[str, str] = {}
    for name, old in before.named_parameters(remove_duplicate=False):
        layer, _, own_name = name.rpartition(".")
        layers.setdefault(layer, name)
        if now[name].shape != old.shape and layer not in changed:
            changed[layer] = f"{own_name} {_shape(old)} -> {_shape(now[name])}"
    reasons: dict[str, str] = {}
    for group in found:
        for place in group.places:
            layer = place.rpartition(".")[0]
            reasons.setdefault(layer, group.reason or f"its {group.size} units are too few for this ratio to take one")
    skipped = [
        Note(layer, reasons.get(layer, "no form of the network uses it")) for layer in layers if layer not in changed
    ]
    if not layers:
        skipped.append(Note("", "it has no weights: there is nothing to prune"))
    return (*(Note(layer, text) for layer, text in changed.items()), *_widths(model, smaller)), tuple(skipped)


def _widths(before: Model, after: Model) -> list[Note]:
    """What whoever runs the forms must know: states, and what one form hands to another, are narrower."""
    notes: dict[str, None] = {}
    old, new = parts(before), parts(after)
    private = handed_over(old)
    for name, form in old.items():
        where = "" if name == MAIN else f" of form '{name}'"
        for one, other in zip(form.inputs, new[name].inputs, strict=True):
            if one.dims == other.dims:
                continue
            sizes = f"is {list(other.dims)}, it was {list(one.dims)}"
            if one.state_of:
                notes[f"state '{one.name}'{where} {sizes}"] = None
            else:
                notes[f"'{one.name}', which form '{private[one.name]}' hands to form '{name}', {sizes}"] = None
    return [Note("", text) for text in notes]


def _shape(tensor: torch.Tensor) -> str:
    return "x".join(map(str, tensor.shape))


def _count(network: object) -> int:
    assert isinstance(network, nn.Module)
    return sum(p.numel() for p in network.parameters())
