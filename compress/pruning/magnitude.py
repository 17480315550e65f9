"""Sparsity: the weights of least magnitude become zero, and stay so while the others are trained.

Either a share of each weight tensor, wherever they lie, or all but n of every m that follow each other along
the inputs.

Source: Han et al. 2015 (arXiv:1506.02626) sec. 3, one shot; n:m, Mishra et al. 2021 (arXiv:2104.08378) sec. 3.
"""

from __future__ import annotations

import copy
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

import torch
from torch import nn

from compress.base import Context, Note, Outcome
from compress.training.fine_tuning import fine_tune
from compress.training.settings import DEFAULTS, Recovery
from models.errors import UsageError
from models.records import Model

_TABLE = "a table that is looked up is no product: it has no inputs that n:m could run along"


def zero_smallest(
    model: Model,
    context: Context,
    ratio: float,
    skip: Sequence[str],
    steps: int | str,
    minutes: float,
    settings: Recovery = DEFAULTS,
    pattern: str = "",
) -> Outcome:
    """Zero that share of each weight matrix, kernel and table; with a pattern, "2:4", all but 2 of every 4 instead."""
    network = copy.deepcopy(model.network)
    assert isinstance(network, nn.Module)
    masks: dict[str, torch.Tensor] = {}
    changed: dict[str, tuple[int, int]] = {}
    skipped: list[Note] = []
    for name, weight in network.named_parameters():
        layer = name.rpartition(".")[0]
        module = network.get_submodule(layer)
        if any(fnmatchcase(layer, one) for one in skip):
            skipped.append(Note(layer, "skipped, as asked"))
        elif weight.ndim < 2:
            continue
        elif pattern and isinstance(module, nn.Embedding):
            skipped.append(Note(layer, _TABLE))
        elif (mask := _mask(weight, module, ratio, pattern)).logical_not().any():
            masks[name] = mask
            zeros, of = changed.get(layer, (0, 0))
            changed[layer] = (zeros + int((~mask).sum()), of + mask.numel())
    if not masks:
        asked = f"pattern {pattern}" if pattern else f"ratio {ratio:g}"
        return Outcome(model, (), (*skipped, Note("", f"{asked} takes no weight of any layer")))
    keep_zero(network, masks)
    made, facts, note = fine_tune(
        replace(model, network=network),
        model,
        context,
        steps=steps,
        minutes=minutes,
        what="prune",
        settings=settings,
        after_step=lambda trained: keep_zero(trained, masks),
    )
    notes = tuple(Note(layer, f"{zeros:,} of {of:,} weights set to zero") for layer, (zeros, of) in changed.items())
    sizes = {"zipped_bytes_before": zipped_bytes(model.network), "zipped_bytes": zipped_bytes(made.network)}
    facts = {**facts, "zeros": sum(z for z, _ in changed.values()), **sizes}
    return Outcome(made, notes, (Note("", _plainly(**sizes)), *dict.fromkeys(skipped), *note), facts=facts)


def _plainly(zipped_bytes_before: int, zipped_bytes: int) -> str:
    return (
        "zeros stay in the file and the runtime multiplies them as any number: the file is as large and as slow as "
        f"before. Zipped (deflate), the weights take {zipped_bytes:,} bytes; they took {zipped_bytes_before:,}. "
        'kind="units" makes it smaller and faster'
    )


def check_pattern(pattern: str, kind: str) -> None:
    """Raise UsageError where a pattern is not "", or n:m with 0 < n < m, or is asked of anything but weights."""
    found = re.fullmatch(r"(\d{1,3}):(\d{1,3})", pattern)
    if pattern and not (found and 0 < int(found[1]) < int(found[2])):
        raise UsageError(
            f"prune: pattern {pattern!r} asked, and it says how many weights of how many are kept, n:m with n less "
            "than m: 2:4."
        )
    if pattern and kind != "weights":
        raise UsageError(f'prune: pattern {pattern!r} is for single weights, and kind is "{kind}". Add --kind weights.')


def zipped_bytes(network: object) -> int:
    """What the weights take in a zip archive: all parameters one after another, each once, deflated as zip does."""
    assert isinstance(network, nn.Module)
    packer = zlib.compressobj()
    packed = (packer.compress(p.detach().cpu().contiguous().numpy().tobytes()) for p in network.parameters())
    return sum(map(len, packed)) + len(packer.flush())


def _mask(weight: torch.Tensor, module: nn.Module, ratio: float, pattern: str) -> torch.Tensor:
    if not pattern:
        return large(weight, ratio)
    keep, of = map(int, pattern.split(":"))
    return largest_of(weight, keep, of, dim=0 if isinstance(module, nn.modules.conv._ConvTransposeNd) else 1)


def largest_of(weight: torch.Tensor, keep: int, of: int, *, dim: int = 1) -> torch.Tensor:
    """True for the `keep` largest of every `of` weights that follow each other along `dim`; of equals the first.

    Fewer than `of` are left at the end where it does not divide the dimension: they count as if zeros followed.
    """
    rows = weight.detach().abs().movedim(dim, -1)
    rest = -rows.shape[-1] % of
    groups = nn.functional.pad(rows, (0, rest), value=-1.0).unflatten(-1, (-1, of))
    best = groups.argsort(dim=-1, descending=True, stable=True)[..., :keep]
    mask = torch.zeros_like(groups, dtype=torch.bool).scatter_(-1, best, True).flatten(-2)
    return mask[..., : rows.shape[-1]].movedim(-1, dim)


def large(weight: torch.Tensor, ratio: float) -> torch.Tensor:
    """True for all but the share of least magnitude, rounded down; of equals the last ones are kept."""
    flat = weight.detach().abs().flatten()
    mask = torch.ones_like(flat, dtype=torch.bool)
    mask[flat.argsort(stable=True)[: int(len(flat) * ratio + 1e-9)]] = False
    return mask.view_as(weight)


@torch.no_grad()
def keep_zero(network: nn.Module, masks: Mapping[str, torch.Tensor]) -> None:
    """Set to zero what the masks do not mark, in place."""
    for name, parameter in network.named_parameters():
        if name in masks:
            parameter.mul_(masks[name].to(parameter.device))
