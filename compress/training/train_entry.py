"""Reproduce a reference model: build it, train it, score it once on test, save it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from torch import nn

import compress
import models
from compress.base import Progress
from export.checkpoint import save
from export.files import check_output, whole
from export.session import torch_runner
from export.wrap import of_entry
from models.errors import UsageError, did_you_mean
from models.records import Entry, Model, Score, Task, Training

from .engine import TrainingLog, train


def train_entry(
    name: str,
    *,
    settings: Mapping[str, Any] | None = None,
    output: Path | None = None,
    seed: int = 0,
    steps: int | None = None,
    minutes: float | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    train_on: Literal["auto", "cpu", "cuda"] = "auto",
) -> tuple[Model, Score, TrainingLog]:
    """Train an entry from random weights and score it on test.

    Args:
        name: of the entry.
        settings: options of the entry's builder, and fields of `Training`, in place of the entry's own.
        output: `.safetensors` for the bare weights, anything else for a checkpoint that every command takes. While it
            trains, `<stem>.training.pt` beside it can be resumed; it goes when the output is there.
        seed: of the weights and of the training.
        steps: in place of the epochs.
        minutes: in place of the epochs.
        resume: go on from `<stem>.training.pt`, where there is one.
        progress: told how far it is.
        train_on: "auto" is a GPU where there is one.

    Raises:
        UsageError: no such entry or setting, or a value that the builder refuses.
        DataError: the entry's data is not here and cannot be fetched.
        TrainingError: it diverged.
    """
    entry = find_entry(name)
    options, training = split_settings(entry, settings or {})
    entry = with_code(entry, options)
    part = check_output(output).with_suffix(".training.pt") if output is not None else None
    network, task, log = train_network(
        entry,
        options=options,
        training=training,
        seed=seed,
        steps=steps,
        minutes=minutes,
        checkpoint=part,
        resume=resume,
        progress=progress,
        train_on=train_on,
    )
    settings = {**options, **asdict(training), "seed": seed, "steps": log.steps}
    done = {"pass": "train", "settings": settings, "version": compress.__version__}
    model = replace(of_entry(entry, network), history=(done,))
    score = task.score(torch_runner(model), "test")
    if output is not None and part is not None:
        if output.suffix == ".safetensors":
            save_weights(network, output)
        else:
            save(model, output)
        part.unlink(missing_ok=True)
    return model, score, log


def train_network(
    entry: Entry,
    *,
    options: Mapping[str, Any],
    training: Training,
    seed: int = 0,
    steps: int | None = None,
    minutes: float | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    train_on: Literal["auto", "cpu", "cuda"] = "auto",
) -> tuple[nn.Module, Task, TrainingLog]:
    """Build the entry's own module and train it, not lifted; `options` are the builder's, the rest as `train`."""
    network = build_network(entry, options=options, seed=seed)
    task = entry.task(batch_size=training.batch_size)
    log = train(
        network,
        task,
        training,
        inputs=[spec.name for spec in entry.inputs],
        outputs=[spec.name for spec in entry.outputs],
        steps=steps,
        minutes=minutes,
        checkpoint=checkpoint,
        resume=resume,
        seed=seed,
        train_on=train_on,
        progress=progress,
        what=f"train {entry.name}",
    )
    return network, task, log


def build_network(entry: Entry, *, options: Mapping[str, Any], seed: int) -> nn.Module:
    """The entry's own module as it is before training; raises UsageError where its builder refuses an option."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            return entry.build(**options)
        except (ValueError, TypeError, RuntimeError, LookupError, ZeroDivisionError) as error:
            asked = ", ".join(f"{n}={v!r}" for n, v in options.items())
            raise UsageError(f"train {entry.name}: it cannot be built with {asked}: {error}") from error


def save_weights(network: nn.Module, output: Path) -> None:
    """Write the bare state_dict as `.safetensors`, whole or not at all; what is tied lies in it once."""
    with whole(output) as file:
        safetensors.torch.save_model(network, str(file))


def find_entry(name: str) -> Entry:
    """The entry of that name; raises UsageError with the nearest one."""
    if name not in models.ZOO:
        near = did_you_mean(name, models.ZOO)
        raise UsageError(f"train: no reference model named {name!r}.{near} (`compress models` lists them)")
    return models.find(name)


def split_settings(entry: Entry, settings: Mapping[str, Any]) -> tuple[dict[str, Any], Training]:
    """Options of the builder, and the entry's training with what was set; raises UsageError for an unknown name."""
    of_training = [f.name for f in fields(Training)]
    of_builder = list(inspect.signature(entry.build).parameters)
    known = [*of_builder, *of_training]
    for name in settings:
        if name not in known:
            near = did_you_mean(name, known) or f" There are: {', '.join(known)}."
            raise UsageError(f"train {entry.name}: no setting named {name!r}.{near}")
    options = {name: value for name, value in settings.items() if name in of_builder}
    return options, replace(entry.training, **{n: v for n, v in settings.items() if n in of_training})


def with_code(entry: Entry, options: Mapping[str, Any]) -> Entry:
    """The entry with a code of the length that was asked for; it states its signature at its builder's own."""
    own, asked = inspect.signature(entry.build).parameters.get("code"), options.get("code")
    if own is None or asked in (None, own.default):
        return entry

    def sized(specs: Any) -> Any:
        return tuple(replace(spec, dims=tuple(asked if d == own.default else d for d in spec.dims)) for spec in specs)

    forms = {n: replace(f, inputs=sized(f.inputs), outputs=sized(f.outputs)) for n, f in entry.forms.items()}
    inputs = sized(entry.inputs)
    task = entry.task if inputs == entry.inputs else partial(entry.task, inputs=inputs)  # noise is as long as the code
    return replace(entry, inputs=inputs, outputs=sized(entry.outputs), forms=forms, task=task)
