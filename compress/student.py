"""Where a student comes from: a reference model's builder, a user's factory, or a narrowed copy of the teacher."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch
from torch import nn

import models
from export.foreign import called
from export.lift import lift
from models.errors import LiftError, UsageError, did_you_mean
from models.records import Form, Model

from .base import Context


def new_student(name: str, teacher: Model, *, seed: int) -> Model:
    """A network with random weights that takes and gives what the teacher does, under the teacher's names.

    Args:
        name: an entry's, or `pkg.module:factory`, a callable without arguments that gives an `nn.Module`.
        teacher: the student is a drop-in replacement for it.
        seed: of the weights.

    Raises:
        UsageError: no such student, or one that does not fit the teacher.
        CompressError: the factory raised.
    """
    forms: dict[str, Form] = {}
    # the user's code may draw from the global generator; the caller's draws go on as if nothing had happened
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if ":" in name:
            module = called(name, option="--student")
        elif name in models.ZOO:
            entry = models.find(name)
            module, forms = entry.build(), {n: f for n, f in entry.forms.items() if n in teacher.forms}
        else:
            near = did_you_mean(name, models.ZOO) or f" There are: {', '.join(models.ZOO)}; or name pkg.module:factory."
            raise UsageError(f"distill: no student {name!r}.{near}")
    if not isinstance(module, nn.Module):
        raise UsageError(f"distill: student {name!r} gives a {type(module).__name__}, and not a torch nn.Module.")
    return _in_place_of(module, teacher, forms, name)


def narrowed(teacher: Model, width: float, context: Context) -> Model:
    """A copy with a share of its channels, hidden units and heads: those that `prune` would keep.

    Raises:
        UsageError: nothing in it can be made narrower; the text says why.
    """
    from .prune import Prune

    outcome = Prune(ratio=1 - width, recover=0)(teacher, context)
    if not outcome.changed:
        why = outcome.skipped[0].text if outcome.skipped else "nothing in it can be cut"
        raise UsageError(f"distill: width={width:g}, but no copy can be narrower: {why}. Name a --student instead.")
    return outcome.model


def untouched(student: Model, teacher: Model) -> bool:
    """Whether the two compute the same: every weight of one is bit for bit that of the other."""
    if student is teacher or student.network is teacher.network:
        return True
    if student.is_onnx or teacher.is_onnx:
        return False
    mine, theirs = (cast(Any, model.network).state_dict() for model in (student, teacher))
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def _in_place_of(module: nn.Module, teacher: Model, forms: dict[str, Form], name: str) -> Model:
    fits = f"distill: student {name!r} does not fit {teacher.name or 'the teacher'!r}"
    if missing := [form for form in teacher.forms if form not in forms]:
        raise UsageError(
            f"{fits}, which has the form {missing[0]!r} too. Name an entry that has it, or narrow a copy: --width 0.5"
        )
    try:
        lifted = lift(
            module, teacher.inputs, sizes=teacher.typical, forms=forms, outputs=[spec.name for spec in teacher.outputs]
        )
    except LiftError as error:
        takes = ", ".join(f"{spec.name}:{spec.dtype}{list(spec.dims)}" for spec in teacher.inputs)
        raise UsageError(f"{fits}, which takes {takes}: {error}") from error
    for mine, theirs in zip(lifted.outputs, teacher.outputs, strict=True):
        if mine.dims != theirs.dims or mine.dtype != theirs.dtype:
            raise UsageError(
                f"{fits}: output {theirs.name!r} is {mine.dtype}{list(mine.dims)}, the teacher's is "
                f"{theirs.dtype}{list(theirs.dims)}."
            )
    return replace(teacher, network=lifted.network, forms=lifted.forms)
