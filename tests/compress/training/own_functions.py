"""Training functions as users write them, right ones and wrong ones; a test names them as `pkg.module:function`."""

import itertools

import torch
from torch import nn
from torch.nn import functional as F

number = 7


def finetune(module, budget, context):
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    batches = itertools.cycle(context.task.train)  # or a loader of your own
    for _, (inputs, target) in zip(range(budget.steps), batches, strict=False):
        loss = F.cross_entropy(module(torch.from_numpy(inputs["x"])), torch.from_numpy(target))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return module


def hooked(module, budget, context):
    module.get_submodule("0").register_forward_hook(lambda layer, given, value: value + 1)
    with torch.no_grad():
        module.get_submodule("0").weight.mul_(2)
    return module.eval()


def zeroed_budget(module, budget, context):
    assert (budget.steps, budget.minutes) == (None, 0.5) and context.teacher is not None and module.training
    return module


def nothing(module, budget, context):
    return None


def words(module, budget, context):
    return "trained"


def wrapped(module, budget, context):
    return nn.DataParallel(module)


def other(module, budget, context):
    return nn.Linear(2, 2)


def wider(module, budget, context):
    module.set_submodule("0", nn.Conv2d(1, 16, 3, padding=1))
    return module


def replaced(module, budget, context):
    module.set_submodule("1", nn.InstanceNorm2d(8, affine=True, track_running_stats=True))
    return module


def halved(module, budget, context):
    return module.half()


def reparametrized(module, budget, context):
    nn.utils.parametrizations.weight_norm(module.get_submodule("9"))
    return module


def rewired(module, budget, context):
    graph = module.graphs["main"]
    relu = next(node for node in graph.nodes if node.op == "call_function")
    relu.replace_all_uses_with(relu.args[0])
    graph.erase_node(relu)
    return module


def ruined(module, budget, context):
    module.get_submodule("3").bias.data[1] = float("nan")
    return module


def raising(module, budget, context):
    raise RuntimeError("no such loader")
