"""Where a student comes from: a reference model's builder, a user's factory, or a narrowed copy of the teacher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import torch
from torch import nn

import models
from export.foreign import called
from export.form_widths import at_own_widths
from export.forms import MAIN, own_names, parts
from export.lift import all_sizes, lift
from models.errors import LiftError, UsageError, did_you_mean
from models.records import Dims, Form, Model

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
    named: Mapping[str, Form] = teacher.forms
    # the user's code may draw from the global generator; the caller's draws go on as if nothing had happened
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if ":" in name:
            module = called(name, option="--student")
        elif name in models.ZOO:
            entry = models.find(name)
            module, named = entry.build(), entry.forms
        else:
            near = did_you_mean(name, models.ZOO) or f" There are: {', '.join(models.ZOO)}; or name pkg.module:factory."
            raise UsageError(f"distill: no student {name!r}.{near}")
    if not isinstance(module, nn.Module):
        raise UsageError(f"distill: student {name!r} gives a {type(module).__name__}, and not a torch nn.Module.")
    forms = {form: named[form] for form in teacher.forms if form in named and hasattr(module, named[form].method)}
    return _in_place_of(module, teacher, forms, name)


def narrowed(teacher: Model, width: float, context: Context) -> Model:
    """A copy with a share of its channels, hidden units and heads: those that `prune` would keep.

    Raises:
        UsageError: nothing in it can be made narrower; the text says why.
    """
    from .pruning.prune import Prune

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
            f"{fits}, which has the form {missing[0]!r} too. Name an entry or a factory whose module has it, or narrow "
            "a copy: --width 0.5"
        )
    forms = {MAIN: Form(inputs=teacher.inputs, outputs=teacher.outputs), **forms}
    forms = at_own_widths(module, forms, all_sizes(forms.values(), teacher.typical))
    main = forms.pop(MAIN)
    try:
        lifted = lift(
            module, main.inputs, sizes=teacher.typical, forms=forms, outputs=[spec.name for spec in main.outputs]
        )
    except LiftError as error:
        takes = ", ".join(f"{spec.name}:{spec.dtype}{list(spec.dims)}" for spec in teacher.inputs)
        raise UsageError(f"{fits}, which takes {takes}: {error}") from error
    student = replace(teacher, network=lifted.network, inputs=main.inputs, outputs=lifted.outputs, forms=lifted.forms)
    _check(student, teacher, fits)
    return student


def _check(student: Model, teacher: Model, fits: str) -> None:
    """Hold every form to the teacher's; only states and what is handed over may be of another width."""
    mine, theirs = parts(student), parts(teacher)
    for form, part in theirs.items():
        own = own_names(theirs, form)
        for kind in ("inputs", "outputs"):
            wanted, found = getattr(part, kind), getattr(mine[form], kind)
            where = "" if form == MAIN else f" of form {form!r}"
            if [spec.name for spec in wanted] != [spec.name for spec in found]:
                names = [[spec.name for spec in specs] for specs in (found, wanted)]
                raise UsageError(f"{fits}: {kind}{where} are {names[0]}, the teacher's are {names[1]}.")
            for one, other in zip(found, wanted, strict=True):
                if one.dtype != other.dtype or not _alike(one.dims, other.dims, one.name in own):
                    raise UsageError(
                        f"{fits}: {kind[:-1]} {other.name!r}{where} is {one.dtype}{list(one.dims)}, the teacher's is "
                        f"{other.dtype}{list(other.dims)}."
                    )


def _alike(one: Dims, other: Dims, own: bool) -> bool:
    return len(one) == len(other) and all(
        a == b or (own and isinstance(a, int) and isinstance(b, int)) for a, b in zip(one, other, strict=True)
    )
