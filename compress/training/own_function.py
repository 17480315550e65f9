"""A user's own training function in the place of ours: it takes module, budget and context, and gives the module back.

    def finetune(module, budget, context):            # compress prune net.pt --recover mytrain:finetune
        optimizer = torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9)
        batches = itertools.cycle(context.task.train)  # or a loader of your own
        for _, (inputs, target) in zip(range(budget.steps), batches):
            loss = F.cross_entropy(module(torch.from_numpy(inputs["x"])), torch.from_numpy(target))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return module

The module is the lifted network: layers under the user's own names, called as his own is called. What it gives back is
not used as it is: its numbers are taken over into a network of ours, so that no hook, device or wrapper of the
training stays in it.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from compress.base import Context
from export.foreign import calling, named
from export.lifted import Lifted
from export.session import torch_runner
from models.errors import TrainingError, UsageError
from models.records import Model

from .feed import own_generators


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How long a training may take: one of the two is given, the other None."""

    steps: int | None
    minutes: float | None


def train_by(
    reference: str,
    model: Model,
    context: Context,
    budget: Budget,
    *,
    validate: bool = True,
    afterwards: Callable[[nn.Module], None] | None = None,
) -> tuple[Model, dict[str, Any]]:
    """The model trained by the function that `pkg.module:function` names, and the facts for the ledger.

    Args:
        reference: the function; its code is loaded here.
        model: a lifted one; it is not touched.
        context: handed to the function, with the model before the change as its teacher.
        budget: handed to the function, which keeps to it or not.
        validate: score the validation split before and after, where there is a task.
        afterwards: called with the trained network, to set back what must stay as it was.

    Raises:
        UsageError: there is no such function, it gives no module back, or one of another structure.
        CompressError: it raised; the text holds its exception with file and line.
        TrainingError: a weight or an output is not finite afterwards.
    """
    function = named(reference, option="--recover")
    if not callable(function):
        raise UsageError(f"--recover {reference!r} is a {type(function).__name__}, and no function.")
    facts: dict[str, Any] = {"trained_by": reference, "seed": context.seed}
    facts |= {name: value for name, value in (("steps", budget.steps), ("minutes", budget.minutes)) if value}
    task = context.task if validate else None
    if task is not None:
        facts["validation_before"] = float(task.score(torch_runner(model), "validation").value)
    handed = copy.deepcopy(model.module).train()
    began = time.perf_counter()
    with own_generators(context.seed), torch.enable_grad(), calling(f"--recover {reference!r}"):
        given = function(handed, budget, context)
    facts["seconds"] = round(time.perf_counter() - began, 3)
    made = replace(model, network=copy.deepcopy(model.module).eval())
    _take_over(made.module, given, reference)
    if afterwards is not None:
        afterwards(made.module)
    if task is not None:
        facts["validation_after"] = float(task.score(torch_runner(made), "validation").value)
    return made, facts


def _take_over(network: nn.Module, given: Any, reference: str) -> None:
    """Copy the numbers of what the function gave into the network, which it must be in every other way."""
    for fault in _faults(network, given):
        raise UsageError(
            f"--recover {reference!r} {fault}. It takes module, budget and context, trains the module and gives it "
            "back with the layers and shapes it had."
        )
    theirs = dict(_numbers(given))
    with torch.no_grad():
        for name, value in _numbers(network):
            value.copy_(theirs[name])
    for name, value in _numbers(network):
        if value.is_floating_point() and not bool(value.isfinite().all()):
            layer, _, own_name = name.rpartition(".")
            raise TrainingError(
                f"--recover {reference!r} left NaN or infinite numbers in layer {layer or 'itself'!r} ({own_name}). "
                "A lower learning rate, or clipped gradients, keep them finite."
            )


def _faults(network: nn.Module, given: Any) -> Iterator[str]:
    """What is wrong with what came back, the most telling first."""
    assert isinstance(network, Lifted)
    if given is None:
        yield "gave nothing back"
        return
    if not isinstance(given, nn.Module):
        yield f"gave a {type(given).__name__} back"
        return
    if not isinstance(given, Lifted):
        inside = "; the module lies inside it" if any(isinstance(m, Lifted) for m in given.modules()) else ""
        yield f"gave another module back, a {type(given).__name__}{inside}"
        return
    mine, theirs = (dict(net.named_modules()) for net in (network, given))
    for name, layer in mine.items():
        if name not in theirs:
            yield f"removed layer {name!r}"
        elif type(theirs[name]) is not type(layer):
            yield f"made layer {name!r} a {type(theirs[name]).__name__}, and it was a {type(layer).__name__}"
    yield from (f"added layer {name!r}" for name in theirs if name not in mine)
    yield from _other_numbers(network, given)
    for form, graph in network.graphs.items():
        if _calls(graph) != _calls(given.graphs.get(form)):
            yield f"changed the graph of form {form!r}, and so its outputs"


def _other_numbers(network: nn.Module, given: nn.Module) -> Iterator[str]:
    mine, theirs = dict(_numbers(network)), dict(_numbers(given))
    shared: dict[int, str] = {}
    for name, value in mine.items():
        layer, _, own_name = name.rpartition(".")
        if name not in theirs:
            yield f"removed {own_name!r} of layer {layer!r}"
        elif theirs[name].shape != value.shape:
            yield f"changed layer {layer!r}: {own_name} is {_shape(theirs[name])}, and was {_shape(value)}"
        elif theirs[name].dtype != value.dtype:
            yield f"changed layer {layer!r}: {own_name} is {_type(theirs[name])}, and was {_type(value)}"
        elif (first := shared.setdefault(id(value), name)) != name and not torch.equal(theirs[first], theirs[name]):
            yield f"gave layer {layer!r} a {own_name} of its own, which is tied to {first!r}"
    yield from (f"added {name!r}" for name in theirs if name not in mine)


def _numbers(network: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters and buffers, those under several names as often."""
    yield from network.named_parameters(remove_duplicate=False)
    yield from network.named_buffers(remove_duplicate=False)


def _calls(graph: Any) -> list[tuple[str, str]]:
    return [] if graph is None else [(node.op, str(node.target)) for node in graph.nodes]


def _shape(value: torch.Tensor) -> str:
    return "x".join(map(str, value.shape)) or "one number"


def _type(value: torch.Tensor) -> str:
    return str(value.dtype)[6:]
