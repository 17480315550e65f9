"""Bring a network whose structure was changed back to its score: what separate, prune and distill share."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from compress.base import Context
from export.lifted import MAIN, Lifted
from export.session import torch_runner
from models.errors import DataError, UsageError, first_line
from models.records import Batches, Model, Task

from .batch_statistics import measure_statistics
from .dropout import dropping
from .early_stop import EarlyStop
from .engine import TrainingLog, place, train
from .feed import Feed, Tensors, own_generators
from .objective import attending, beside, objective
from .settings import DEFAULTS, Recovery
from .teacher import Teacher


def recover(
    model: Model,
    context: Context,
    settings: Recovery = DEFAULTS,
    *,
    steps: int = 0,
    minutes: float = 0.0,
    frozen: Collection[str] = (),
    recalibrate: bool = False,
    validate: bool = True,
    checkpoint: Path | None = None,
    resume: bool = False,
    after_step: Callable[[nn.Module], None] | None = None,
    what: str = "recover",
) -> tuple[Model, dict[str, Any]]:
    """Train a copy of the model on the task's labels, on the teacher's answers, or on both.

    The loss is (1 - w) of the task's own and w of the teacher's (see `compress.training.teaching`; a task whose
    outputs belong together has its own `imitation(outputs, answers)`), w being `settings.teacher_weight`. Without a
    teacher it is the task's alone; without a task, or where its targets are None, the teacher's alone, on the
    calibration data. Only the train split is learned from.

    Args:
        model: a lifted one; it is not touched.
        context: its task, or its calibration data and teacher.
        settings: all of them are among the facts.
        steps: batches to train on; with 0 and no minutes only batch statistics are measured anew.
        minutes: a budget in place of steps; the facts hold the steps that it became.
        frozen: names of layers that stay as they are.
        recalibrate: measure batch statistics anew after training too, on up to 50 batches.
        validate: score the validation split before and after, where it has labels.
        checkpoint: where the training can be taken up again, as `compress.training.engine.train` writes it.
        resume: go on from there.
        after_step: as `compress.training.engine.train` takes it.
        what: the first word of errors, and what progress is told.

    Returns:
        The trained model, and the facts for the ledger: settings, steps, seconds, losses, scores.

    Raises:
        DataError: there is nothing to learn from, or it does not fit the model.
        UsageError: a value is out of its range, or the teacher does not fit the model.
        TrainingError: it diverged.
    """
    if steps < 0 or minutes < 0:
        raise UsageError(f"{what}: steps={steps}, minutes={minutes:g}, and neither may be less than 0.")
    task = _task(context, what, settings.batch_size)
    network = copy.deepcopy(model.module)
    inputs, outputs = [spec.name for spec in model.inputs], [spec.name for spec in model.outputs]
    device = place(context.train_on)
    feed = Feed(task.train, inputs, seed=context.seed, device=device, alone=False)
    facts: dict[str, Any] = {"steps": 0}
    made = replace(model, network=network.eval())
    batch = _first(feed)
    _refuse_other_data(made, batch[0], what)
    scored = validate and context.task is not None and batch[1] is not None
    if scored:
        facts["validation_before"] = float(task.score(torch_runner(made), "validation").value)
    with _frozen(network, frozen), own_generators(context.seed):
        if steps or minutes:
            teacher = None
            if context.teacher is not None and settings.teacher_weight:
                teacher = Teacher(context.teacher, inputs=inputs, outputs=outputs, device=device)
            loss = objective(model, context, batch, teacher, settings, what)
            share = 1.0 if teacher is None else settings.dropout
            with attending(network, teacher, batch[0], settings) as attention, dropping(network, share):
                if teacher is not None and attention is None and steps >= 2 * feed.batches_per_epoch():
                    probe = next(iter(copy.copy(feed)))[0]
                    facts["remembered"] = teacher.remember(lambda: (batch for batch, _ in feed.walk()), probe)
                log = train(
                    network,
                    task,
                    settings.training(),
                    inputs=inputs,
                    outputs=outputs,
                    loss=loss if attention is None else beside(loss, settings.features, attention),
                    steps=steps or None,
                    minutes=minutes or None,
                    checkpoint=checkpoint,
                    resume=resume,
                    seed=context.seed,
                    train_on=context.train_on,
                    progress=context.progress,
                    after_step=after_step,
                    precision=settings.precision,
                    early_stop=_early_stop(made, context, settings, what),
                    also={**settings.unlike_the_engine(), "starting_weights": fingerprint(model.module)},
                    what=what,
                )
            facts |= settings.facts() | _told(log) | {"taught": teacher is not None}
        if recalibrate or not facts["steps"]:
            facts["recalibrated"] = measure_statistics(network, feed)
    if scored:
        facts["validation_after"] = float(task.score(torch_runner(made), "validation").value)
    return made, facts


def _told(log: TrainingLog) -> dict[str, Any]:
    """What the ledger keeps of a training."""
    facts: dict[str, Any] = {"steps": log.steps, "epochs": log.epochs, "seconds": log.seconds, "seed": log.seed}
    facts |= {"first_loss": log.losses[0][1], "last_loss": log.losses[-1][1], "precision": log.precision}
    return facts | {"stopped_at": log.stopped_at, "best_step": log.best_step} if log.best_step else facts


def fingerprint(network: nn.Module) -> str:
    """Of all weights and buffers: a training is only resumed on the network that it began with."""
    found = hashlib.blake2b(digest_size=8)
    for name, value in network.state_dict().items():
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def untrained(model: Model) -> str:
    """Layers that only further forms use, in words: training runs the main form. "" where there is none."""
    network = model.module
    assert isinstance(network, Lifted)
    reached = {form: _reached(network, form) for form in network.graphs}
    main = {id(p) for layer in reached.pop(MAIN) for p in network.get_submodule(layer).parameters(recurse=False)}
    left = [
        f"{layer} (form {form!r})"
        for form, layers in reached.items()
        for layer in layers
        if (own := list(network.get_submodule(layer).parameters())) and not any(id(p) in main for p in own)
    ]
    return f"training runs the main form, so these layers stay as they are: {', '.join(left)}" if left else ""


def _reached(network: Lifted, form: str) -> list[str]:
    """The layers that a form calls, and those whose weights it reads."""
    nodes = network.graphs[form].nodes
    called = [str(node.target) for node in nodes if node.op == "call_module"]
    return list(dict.fromkeys(called + [str(n.target).rpartition(".")[0] for n in nodes if n.op == "get_attr"]))


@dataclass(frozen=True)
class _Unlabelled:
    """Calibration data in the place of a task: something to learn from a teacher on."""

    train: Batches
    name: str = "calibration"
    labels: tuple[str, ...] = ()


def _task(context: Context, what: str, batch_size: int) -> Task:
    task: Any = context.task
    if task is None:
        if next(iter(context.calibration), None) is None:
            raise DataError(f"{what}: there is no data to learn from. Give some with --data.")
        task = _Unlabelled(cast(Batches, context.calibration))
    if not batch_size:
        return cast(Task, task)
    if not hasattr(task, "with_batch_size"):
        raise UsageError(
            f"{what}: batch_size={batch_size}, but the batches of {task.name!r} come from a loader of their own. "
            "Set the size there, and batch_size to 0."
        )
    return cast(Task, task.with_batch_size(batch_size))


def _early_stop(model: Model, context: Context, settings: Recovery, what: str) -> EarlyStop | None:
    """The validation score of the model's own network, the other way round where less is better."""
    if not settings.patience:
        return None
    if context.task is None:
        raise UsageError(
            f"{what}: patience={settings.patience} needs a score on a validation split, and there is no task. "
            "Name data with --data, or set patience to 0."
        )
    task = context.task

    def score(network: nn.Module) -> float:
        found = task.score(torch_runner(replace(model, network=network)), "validation")
        return float(found.value) if found.higher_is_better else -float(found.value)

    return EarlyStop(score=score, patience=settings.patience)


def _refuse_other_data(model: Model, inputs: Tensors, what: str) -> None:
    """Raise DataError where the first batch is not what the network takes."""
    arrays = {name: array.cpu().numpy() for name, array in inputs.items()}
    try:
        torch_runner(model)(arrays)
    except (RuntimeError, ValueError, TypeError, LookupError) as error:
        shapes = ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in arrays.items())
        wanted = ", ".join(f"{spec.name} {spec.dtype}{list(spec.dims)}" for spec in model.inputs)
        raise DataError(
            f"{what}: the data's first batch is {shapes}, and the network takes {wanted}: {first_line(error)}"
        ) from error


def _first(feed: Feed) -> tuple[Tensors, Any]:
    batch = next(feed.walk(), None)
    if batch is None:
        raise DataError("training data: it is empty.")
    return batch


@contextmanager
def _frozen(network: nn.Module, layers: Collection[str]) -> Iterator[None]:
    """The parameters of these layers do not learn inside, and are as they were afterwards."""
    held = [p for name in layers for p in network.get_submodule(name).parameters() if p.requires_grad]
    for parameter in held:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in held:
            parameter.requires_grad_(True)
