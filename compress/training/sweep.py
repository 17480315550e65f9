"""One field of a reference model's training, varied: the same training again with each value, side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from compress.base import Progress
from compress.fields import Setting, settings
from export.session import Formed
from models.errors import TrainingError, UsageError, did_you_mean
from models.records import Arrays, Entry, Form, Runner, Score, Task, Training

from .feed import Feed
from .gradient_over_time import norms_over_time
from .step import named
from .train_entry import build_network, find_entry, split_settings, train_network, with_code


@dataclass(frozen=True, kw_only=True)
class Variation:
    """One training of a sweep.

    Args:
        value: of the field.
        losses: (step, mean loss since the entry before).
        score: on validation; None where it diverged.
        gradient_before, gradient_after: the norm of the loss's gradient with respect to the hidden state after each
            time step, before and after training; empty where no recurrent layer reads one way.
        stopped: why it ended before its last step, or "".
    """

    value: Any
    losses: tuple[tuple[int, float], ...] = ()
    score: Score | None = None
    gradient_before: tuple[float, ...] = ()
    gradient_after: tuple[float, ...] = ()
    stopped: str = ""

    @property
    def final_loss(self) -> float:
        """The mean loss of the last twentieth of the steps; NaN where it diverged."""
        return self.losses[-1][1] if self.losses else math.nan


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """All trainings of one field, each from the same seed and for as many steps."""

    model: str
    field: str
    steps: int
    seed: int
    settings: Mapping[str, Any]
    variations: tuple[Variation, ...]


def read_sweep(text: str, entry: Entry) -> tuple[str, list[Any]]:
    """FIELD=A,B,C as the field's name and its values.

    Raises:
        UsageError: there is no such field, or it does not take one of the values.
    """
    where = f"train {entry.name}: --sweep {text}"
    name, _, listed = text.partition("=")
    name = name.strip().lstrip("-").replace("-", "_")
    known = {s.name: s for s in (*settings(entry.build), *settings(Training))}
    if not listed:
        raise UsageError(f"{where}: a field and its values are needed: --sweep {next(iter(known))}=A,B,C.")
    if name not in known:
        near = did_you_mean(name, known) or f" There are: {', '.join(known)}."
        raise UsageError(f"{where}: there is no field {name!r}.{near}")
    if name == "epochs":
        raise UsageError(f"{where}: all are trained for as many steps, so that they can be compared. Give --steps.")
    values = [_read(known[name], word.strip(), where) for word in listed.split(",")]
    if name in {f.name for f in fields(Training)}:
        _refuse_out_of_range(name, values, where)
    return name, list(dict.fromkeys(values))


def sweep(
    name: str,
    varied: str,
    values: Sequence[Any],
    *,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    steps: int | None = None,
    progress: Progress | None = None,
    train_on: Literal["auto", "cpu", "cuda"] = "auto",
) -> Sweep:
    """Train an entry once for each value of a field, and score each on validation.

    Args:
        name: of the entry.
        varied: an option of its builder, or a field of `Training`.
        values: what it is set to, one training each.
        settings: of all trainings, in place of the entry's own.
        seed: of all trainings.
        steps: of each training; without it as many as the entry's epochs have.
        progress: told how far each training is.
        train_on: "auto" is a GPU where there is one.

    Raises:
        UsageError: no such entry or field, or a value that the builder refuses; before anything is trained.
        DataError: the entry's data is not here and cannot be fetched.
    """
    entry, common = find_entry(name), dict(settings or {})
    made = [split_settings(entry, {**common, varied: value}) for value in values]
    for options, _ in made:
        build_network(entry, options=options, seed=seed)
    options, training = split_settings(entry, {n: v for n, v in common.items() if n != varied})
    steps = steps or training.epochs * _batches(entry, training, seed)
    variations = []
    for value, (options, training) in zip(values, made, strict=True):
        told = None if progress is None else _renamed(progress, f"{varied}={shown(value)}")
        variations.append(
            _vary(
                with_code(entry, options),
                value,
                options=options,
                training=training,
                seed=seed,
                steps=steps,
                progress=told,
                train_on=train_on,
            )
        )
    others = {n: v for n, v in common.items() if n != varied}
    return Sweep(model=name, field=varied, steps=steps, seed=seed, settings=others, variations=tuple(variations))


def shown(value: Any) -> str:
    """A value as it was typed, or nearly so."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _vary(
    entry: Entry, value: Any, *, options: Mapping[str, Any], training: Training, seed: int, **budget: Any
) -> Variation:
    task = entry.task(batch_size=training.batch_size)
    before = norms_over_time(build_network(entry, options=options, seed=seed), entry, task)
    try:
        network, task, log = train_network(entry, options=options, training=training, seed=seed, **budget)
    except TrainingError as error:
        reason = str(error).removeprefix(f"train {entry.name}: ")
        return Variation(value=value, gradient_before=before, stopped=reason)
    return Variation(
        value=value,
        losses=log.losses,
        score=task.score(_runner(network, entry), "validation"),
        gradient_before=before,
        gradient_after=norms_over_time(network, entry, task),
    )


def _runner(network: nn.Module, entry: Entry) -> Runner:
    """The entry's own module with its forms as runners, not lifted: as it was trained."""

    def of(call: Callable[..., Any], form: Entry | Form) -> Runner:
        def run(arrays: Arrays) -> Arrays:
            with torch.inference_mode():
                given = (torch.from_numpy(np.asarray(arrays[spec.name], order="C")) for spec in form.inputs)
                found = named(call(*given), [spec.name for spec in form.outputs])
            return {name: value.numpy() for name, value in found.items()}

        return run

    forms = {name: of(getattr(network, form.method), form) for name, form in entry.forms.items()}
    return Formed(of(network, entry), forms)


def _batches(entry: Entry, training: Training, seed: int) -> int:
    task: Task = entry.task(batch_size=training.batch_size)
    names = [spec.name for spec in entry.inputs]
    return Feed(task.train, names, seed=seed, device="cpu", alone=True).batches_per_epoch()


def _renamed(progress: Progress, name: str) -> Progress:
    def told(what: str, done: int, total: int, *, detail: str = "") -> None:
        progress(name, done, total, detail=detail)

    return told


def _read(setting: Setting, word: str, where: str) -> Any:
    """One value as it was typed, as the field wants it."""
    found: Any = word
    try:
        if setting.kind == "whole number":
            found = int(word)
        elif setting.kind == "number":
            found = float(word)
        elif setting.kind == "yes or no":
            found = {"yes": True, "no": False}.get(word, word)
    except ValueError:
        pass  # said below, with what the field takes
    return setting.read([found] if setting.many else found, where)


def _refuse_out_of_range(name: str, values: Sequence[Any], where: str) -> None:
    least = 1 if name == "batch_size" else 0
    for value in values:
        if isinstance(value, int | float) and not value >= least:
            raise UsageError(f"{where}: {name} takes {least} or more, not {shown(value)}.")
