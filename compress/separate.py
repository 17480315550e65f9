"""Depthwise-separable substitution: one k x k convolution becomes depthwise, then pointwise."""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, ClassVar

import torch
from torch import nn

from export.lifted import Lifted, annotate
from models.errors import UsageError
from models.records import Model, sizes_of

from .base import Context, NetworkForm, Note, Outcome
from .training.fine_tuning import RECOVER, check_recovery, fine_tune
from .training.settings import DEFAULTS, Recovery

Convolution = nn.Conv1d | nn.Conv2d


@torch.no_grad()
def separate(conv: Convolution) -> nn.Sequential:
    """Split a dense convolution into its closest depthwise + pointwise pair.

    The filters of one input channel form an (out, k*k) matrix. Its leading singular pair is that channel's spatial
    filter and its column of mixing weights, so the weight error is the least any such pair can have.

    Args:
        conv: groups == 1; weight (out, in, k, k), or (out, in, k).

    Returns:
        `depthwise` (in, 1, k, k) without bias, then `pointwise` (out, in, 1, 1) with conv's bias. in*(k*k + out)
        weights in place of in*k*k*out.

    Raises:
        ValueError: conv is grouped.

    Source: block, Howard et al. 2017 (arXiv:1704.04861) sec. 3.1, without the normalization and activation inside, so
    that the start is the nearest and stays linear; split, Eckart & Young 1936.
    """
    if conv.groups != 1:
        raise ValueError(f"only a dense convolution can be separated, this one has groups={conv.groups}")
    kind, inputs, placed = type(conv), conv.in_channels, {"device": conv.weight.device, "dtype": conv.weight.dtype}
    geometry: dict[str, Any] = {name: getattr(conv, name) for name in ("stride", "padding", "dilation", "padding_mode")}
    spatial = kind(inputs, inputs, conv.kernel_size, groups=inputs, bias=False, **geometry, **placed)  # type: ignore[arg-type]
    mixing = kind(inputs, conv.out_channels, 1, bias=conv.bias is not None, **placed)  # type: ignore[arg-type]
    # (in, out, k*k) = u (in, out, r) @ diag(s) (in, r) @ vh (in, r, k*k)
    u, s, vh = torch.linalg.svd(conv.weight.flatten(2).transpose(0, 1), full_matrices=False)
    root = s[:, :1].sqrt()  # shared evenly, so neither half gets a wild scale to quantise
    spatial.weight.copy_((root * vh[:, 0]).view_as(spatial.weight))
    mixing.weight.copy_((root * u[:, :, 0]).T.view_as(mixing.weight))
    if conv.bias is not None and mixing.bias is not None:
        mixing.bias.copy_(conv.bias)
    pair = nn.Sequential(OrderedDict(depthwise=spatial, pointwise=mixing))
    pair.requires_grad_(conv.weight.requires_grad)
    return pair.train(conv.training)


@dataclass(frozen=True, kw_only=True)
class Separate:
    """Replace dense convolutions by depthwise, then pointwise ones.

    Those wide enough to gain from it; each pair starts as the nearest to the convolution it replaces, then all are
    trained for a while on the labels, and on the answers of the model before.
    """

    name: ClassVar[str] = "separate"
    takes: ClassVar[NetworkForm] = "torch"

    min_channels: int = field(default=16, metadata={"help": "leave convolutions with fewer inputs: little to save"})
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
        if not self.min_channels >= 1:
            raise UsageError(f"separate: min_channels {self.min_channels} asked, and it must be 1 or more.")
        check_recovery(self.name, self.recover, self.minutes, self.learning_rate)

    def __call__(self, model: Model, context: Context) -> Outcome:
        """Give the model with its convolutions replaced; LiftError where it does not run."""
        network = copy.deepcopy(model.network)
        assert isinstance(network, Lifted)
        layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, nn.Conv1d | nn.Conv2d)}
        changed, skipped = [], []
        for name, conv in layers.items():
            if reason := self.refuses(name, conv):
                skipped.append(Note(name, reason))
                continue
            pair = separate(conv)
            replace_layer(network, name, pair)
            changed.append(Note(name, _what_was_done(conv, pair)))
        if not layers:
            skipped.append(Note("", "it has no convolution in 1 or 2 dimensions: there is nothing to separate"))
        if not changed:
            return Outcome(model, (), tuple(skipped))
        annotate(network, model.inputs, sizes_of(model), forms=model.forms)
        start = replace(model, network=network)
        made, facts, note = fine_tune(
            start,
            model,
            context,
            steps=self.recover,
            minutes=self.minutes,
            what=self.name,
            settings=Recovery(learning_rate=self.learning_rate, loss=self.loss),
        )
        return Outcome(made, tuple(changed), (*skipped, *note), facts=facts)

    def refuses(self, name: str, conv: Convolution) -> str:
        """Why a convolution stays as it is, or ""."""
        k, inputs, outputs = math.prod(conv.kernel_size), conv.in_channels, conv.out_channels
        if any(fnmatchcase(name, pattern) for pattern in self.skip):
            return "skipped, as asked"
        if conv.groups != 1:
            return f"it is grouped already (groups={conv.groups})"
        if k == 1:
            return "it is pointwise: its kernel is 1"
        if inputs < self.min_channels:
            return f"it has {inputs} input channels, fewer than {self.min_channels} (min_channels)"
        if inputs * (k + outputs) >= inputs * k * outputs:
            return f"with {outputs} outputs the pair would have no fewer weights"
        return ""


def replace_layer(network: Lifted, name: str, layers: nn.Sequential) -> None:
    """Put layers in the place of one, and call them one after another wherever it was called."""
    network.set_submodule(name, layers)
    for graph in network.graphs.values():
        for node in [n for n in graph.nodes if n.op == "call_module" and n.target == name]:
            with graph.inserting_before(node):
                (value,) = node.args
                for part in layers._modules:
                    value = graph.call_module(f"{name}.{part}", (value,))
                    value.meta = dict(node.meta)
            node.replace_all_uses_with(value)
            graph.erase_node(node)


def _what_was_done(conv: Convolution, pair: nn.Sequential) -> str:
    before, after = conv.weight.numel(), sum(p.numel() for n, p in pair.named_parameters() if n.endswith("weight"))
    kernel = "x".join(map(str, conv.kernel_size))
    return (
        f"{kernel} convolution split in two: {before:,} -> {after:,} weights, {100 * _kept(conv):.0f} % of their energy"
    )


def _kept(conv: Convolution) -> float:
    """The share of the squared weights that the leading pairs hold."""
    s = torch.linalg.svdvals(conv.weight.detach().flatten(2).transpose(0, 1).double())
    return float((s[:, 0] ** 2).sum() / (s**2).sum().clamp_min(1e-300))
