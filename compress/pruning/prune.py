"""Pruning: the units that matter least are removed for good, or single weights are set to zero."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import nn

from compress.base import Context, NetworkForm, Note, Outcome
from compress.training.fine_tuning import RECOVER, check_recovery, fine_tune
from compress.training.settings import DEFAULTS, Recovery
from export.device import find_device
from export.forms import MAIN, handed_over, parts
from export.lifted import Lifted
from models.errors import UsageError
from models.records import Model

from .axes import Axis, Mask, axes_of, resolve
from .blocks import remove_blocks
from .cut import cut
from .gradual import Goals, gathered, share_of
from .importance import Scores, comparable, find_importance, score_units
from .magnitude import check_pattern, zero_smallest
from .meet import Plan, Planner
from .scope import kept_over_network
from .target import check_target, parse_target
from .ties import Ties
from .units import Group, analyse, groups_of
from .widths import row_lengths


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
    target: str = field(
        default="",
        metadata={
            "help": "what shall remain, in place of ratio: params=0.5, macs=0.5 or bytes=0.5, a share, or several "
            "of them, params=0.3,macs=0.5; kb=100, of the exported weights; ms=2.5, on the device at batch 1"
        },
    )
    kind: Literal["units", "blocks", "weights"] = field(
        default="units",
        metadata={
            "help": "units: smaller and faster. blocks: whole residual branches, those that change least on data. "
            "weights: zeros in a file of the same size and speed"
        },
    )
    importance: str = field(
        default="l2",
        metadata={
            "help": "what says how much a unit matters: l2, l1, bn-scale; taylor or activation, on data; random, a "
            "control; a plug-in's, or pkg.module:function",
            "plugin": "importance",
        },
    )
    pattern: str = field(
        default="",
        metadata={"help": "of single weights, in place of ratio; 2:4 keeps the 2 largest of every 4 along the inputs"},
    )
    scope: Literal["group", "network"] = field(
        default="group",
        metadata={"help": "the ratio is of each group's units, or of all: then groups that matter less lose more"},
    )
    min_units: int = field(default=1, metadata={"help": "units that every group keeps at least"})
    multiple: int = field(
        default=0,
        metadata={"help": "round widths up to a multiple of this, by at most a half; 0: what the device likes"},
    )
    rounds: int = field(default=1, metadata={"help": "prune in so many rounds, with a part of the recovery after each"})
    recover: int | str = field(default=300, metadata={"help": RECOVER})
    minutes: float = field(default=0.0, metadata={"help": "training time afterwards, in place of steps"})
    learning_rate: float = field(
        default=DEFAULTS.learning_rate, metadata={"help": "of that training, at the height of a cosine with warm-up"}
    )
    loss: str = field(
        default="",
        metadata={
            "help": "of that training, in place of the task's own: a plug-in's, or pkg.module:function",
            "plugin": "loss",
        },
    )
    skip: tuple[str, ...] = field(default=(), metadata={"help": "leave the layers that match this pattern"})

    def __post_init__(self) -> None:
        if not 0 <= self.ratio < 1:
            raise UsageError(
                f"prune: ratio {self.ratio:g} asked, and it is the share removed: 0 or more, and less than 1."
            )
        for name, low in (("min_units", 1), ("multiple", 0), ("rounds", 1)):
            if not getattr(self, name) >= low:
                raise UsageError(f"prune: {name} {getattr(self, name)} asked, and it must be {low} or more.")
        check_recovery(self.name, self.recover, self.minutes, self.learning_rate)
        check_pattern(self.pattern, self.kind)
        find_importance(self.importance)
        if self.target:
            check_target(self.target, ratio=self.ratio, default_ratio=Prune.ratio, kind=self.kind, scope=self.scope)

    def __call__(self, model: Model, context: Context) -> Outcome:
        """Give the pruned model; LiftError where it does not run."""
        settings = Recovery(learning_rate=self.learning_rate, loss=self.loss)
        if self.kind == "weights":
            return zero_smallest(
                model, context, self.ratio, self.skip, self.recover, self.minutes, settings, self.pattern
            )
        if self.kind == "blocks":
            return remove_blocks(model, context, self.ratio, self.skip, self.recover, self.minutes, settings)
        copied, ties, found = self._analysed(model)
        scores, told = self._scored(copied, ties, found, context)
        plan = self._planned(copied, ties, found, scores, context)
        goals = Goals.of(found, plan.counts, self.rounds)
        made, trained = model, []
        note: tuple[Note, ...] = ()
        for round in range(self.rounds if plan.counts else 0):
            if round:
                copied, ties, groups = self._analysed(made)
                scores, _ = self._scored(copied, ties, groups, context)
            else:
                groups = found
            smaller = cut(copied, ties, most_important(scores, goals.counts(groups, round)))
            made, facts, note = fine_tune(
                smaller,
                model,
                context,
                steps=share_of(self.recover, round, self.rounds),
                minutes=self.minutes / self.rounds,
                what=self.name,
                settings=settings,
                round=round,
            )
            trained.append(facts)
        changed, skipped = _notes(model, made, found, self.target)
        if not changed:
            return Outcome(model, (), (*skipped, *plan.notes), facts=plan.facts)
        facts = {
            **gathered(trained),
            **plan.facts,
            "groups": len(plan.counts),
            "parameters_before": _count(model.network),
            "parameters": _count(made.network),
        }
        return Outcome(made, changed, (*skipped, *told, *plan.notes, *note), facts=facts)

    def _analysed(self, model: Model) -> tuple[Model, Ties, list[Group]]:
        """A copy to cut, its ties, its groups."""
        copied = replace(model, network=copy.deepcopy(model.network))
        ties = analyse(copied, skip=self.skip)
        return copied, ties, list(groups_of(ties))

    def _scored(
        self, model: Model, ties: Ties, found: Iterable[Group], context: Context
    ) -> tuple[Scores, tuple[Note, ...]]:
        axes = [group.axis for group in found if not group.reason]
        return score_units(model, ties, axes, self.importance, context)

    def _planned(self, model: Model, ties: Ties, found: Sequence[Group], scores: Scores, context: Context) -> Plan:
        """How many units each group keeps in the end."""
        multiple = self.multiple or find_device(context.device).channel_multiple
        if not self.target:
            kept = (
                kept_over_network(scores, self.ratio, self.min_units, comparable=comparable(self.importance))
                if self.scope == "network"
                else {}
            )
            return Plan(counts=self.widths(ties, found, multiple, kept))
        planner = Planner(
            target=parse_target(self.target),
            model=model,
            ties=ties,
            skip=self.skip,
            found=found,
            scores=scores,
            context=context,
            multiple=multiple,
            fixed=self.multiple > 0,
            min_units=self.min_units,
        )
        return planner.plan()

    def widths(
        self, ties: Ties, found: Iterable[Group], multiple: int, asked: Mapping[Axis, int] = MappingProxyType({})
    ) -> dict[Axis, int]:
        """How many units each group keeps, of the groups that lose some; at least as many as `asked`, or the ratio."""
        rows = row_lengths(ties)
        kept: dict[Axis, int] = {}
        for group in found:
            if not group.reason:
                by_ratio = group.size - math.floor(group.size * self.ratio + 1e-9)
                least = max(self.min_units, ties.fewest(group.axis), asked.get(group.axis, by_ratio))
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


def _notes(
    model: Model, smaller: Model, found: Sequence[Group], target: str
) -> tuple[tuple[Note, ...], tuple[Note, ...]]:
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
            reasons.setdefault(layer, group.reason or _untouched(group, target))
    skipped = [
        Note(layer, reasons.get(layer, "no form of the network uses it")) for layer in layers if layer not in changed
    ]
    if not layers:
        skipped.append(Note("", "it has no weights: there is nothing to prune"))
    return (*(Note(layer, text) for layer, text in changed.items()), *_widths(model, smaller)), tuple(skipped)


def _untouched(group: Group, target: str) -> str:
    if target:
        return f"its {group.size} units stay: {target} is met with less loss elsewhere"
    return f"its {group.size} units are too few for this ratio to take one"


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
