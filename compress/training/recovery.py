"""Bring a network whose structure was changed back to its score: what separate, prune and distill share."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from compress.base import Context
from export.lifted import MAIN, Lifted
from export.session import torch_runner
from models.errors import DataError, UsageError
from models.records import Batches, Model, Task

from .batch_statistics import measure_statistics
from .early_stop import EarlyStop
from .engine import TrainingLog, place, task_loss, train
from .features import apart, layers_to_watch, watched
from .feed import Feed, Tensors, own_generators
from .settings import DEFAULTS, Recovery
from .state import Loss
from .teacher import Teacher
from .teaching import Lesson, plan_lessons, taught

Imitation = Callable[[Tensors, Tensors], torch.Tensor]  # (student's outputs, teacher's) -> how far apart they are


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
    _refuse_other_data(made, _first(feed)[0], what)
    scored = validate and context.task is not None and _first(feed)[1] is not None
    if scored:
        facts["validation_before"] = float(task.score(torch_runner(made), "validation").value)
    with _frozen(network, frozen), own_generators(context.seed):
        if steps or minutes:
            teacher = None
            if context.teacher is not None and settings.teacher_weight:
                teacher = Teacher(context.teacher, inputs=inputs, outputs=outputs, device=device)
            loss = _loss(model, context, feed, teacher, settings, what)
            with _attending(network, teacher, feed, settings) as attention:
                if teacher is not None and attention is None and steps >= 2 * feed.batches_per_epoch():
                    probe = next(iter(copy.copy(feed)))[0]
                    facts["remembered"] = teacher.remember(lambda: (batch for batch, _ in feed.walk()), probe)
                log = train(
                    network,
                    task,
                    settings.training(),
                    inputs=inputs,
                    outputs=outputs,
                    loss=loss if attention is None else _beside(loss, settings.features, attention),
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


def blend(
    hard: Loss | None,
    teacher: Callable[[Tensors], Tensors] | None,
    lessons: Sequence[Lesson],
    *,
    temperature: float,
    teacher_weight: float,
    imitation: Imitation | None = None,
) -> Loss:
    """(1 - w) of the loss on labels and w of the loss on the teacher's answers; one of the two alone counts whole.

    For logits (N, C) and class numbers this is the loss of Hinton, Vinyals & Dean 2015 (arXiv:1503.02531):
    w T^2 KL(teacher_T || student_T) + (1 - w) CE. A task's own imitation takes the place of the lessons.
    """
    if teacher is None:
        assert hard is not None
        return hard

    def loss(outputs: Tensors, target: Any, inputs: Tensors) -> torch.Tensor:
        answers = teacher(inputs)
        soft = imitation(outputs, answers) if imitation else taught(lessons, outputs, answers, temperature, target)
        if hard is None:
            return soft
        return teacher_weight * soft + (1 - teacher_weight) * hard(outputs, target, inputs)

    return loss


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


def _loss(model: Model, context: Context, feed: Feed, teacher: Teacher | None, settings: Recovery, what: str) -> Loss:
    """The loss that fits what there is: labels, a teacher, or both."""
    inputs, target = _first(feed)
    labelled = context.task is not None and target is not None
    hard = task_loss(context.task) if labelled and context.task is not None else None
    if teacher is None:
        if hard is None:
            raise DataError(f"{what}: the data has no labels, and there is no teacher to learn from instead.")
        return hard
    answers = teacher.first(inputs, what)
    imitation: Imitation | None = getattr(context.task, "imitation", None)
    lessons = [] if imitation else plan_lessons(model, context.task, target, answers)
    _compare(model, answers, what)
    w = settings.teacher_weight
    hard = hard if w < 1 else None
    return blend(hard, teacher, lessons, temperature=settings.temperature, teacher_weight=w, imitation=imitation)


@contextmanager
def _attending(
    network: nn.Module, teacher: Teacher | None, feed: Feed, settings: Recovery
) -> Iterator[Callable[[], torch.Tensor] | None]:
    """Meanwhile how far apart student and teacher attended in the batch they have just seen; None where not asked."""
    if not settings.features or teacher is None:
        yield None
        return
    if teacher.network is None:
        raise UsageError("recovery: features are asked of a teacher that is ONNX, and has no layers to look into.")
    batch = [array.cpu() for array in _first(feed)[0].values()]
    layers = layers_to_watch(network, copy.deepcopy(teacher.network).cpu(), batch)
    with watched(network, layers) as mine, watched(teacher.network, layers) as theirs:
        yield lambda: apart(mine, theirs)


def _beside(loss: Loss, weight: float, attention: Callable[[], torch.Tensor]) -> Loss:
    return lambda outputs, target, inputs: loss(outputs, target, inputs) + weight * attention()


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
            f"{what}: the data's first batch is {shapes}, and the network takes {wanted}: "
            f"{str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from error


def _compare(model: Model, answers: Tensors, what: str) -> None:
    for spec in model.outputs:
        shape = tuple(answers[spec.name].shape)
        fits = len(shape) == len(spec.dims) and all(
            isinstance(want, str) or have == want for have, want in zip(shape, spec.dims, strict=True)
        )
        if not fits and spec.name not in {i.state_of for i in model.inputs}:
            raise UsageError(
                f"{what}: the teacher gives {list(shape)} as output {spec.name!r}, and the student "
                f"{list(spec.dims)}. They need the same outputs."
            )


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
