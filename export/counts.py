"""What a count of costs consists of, for torch and ONNX alike: rows, their sum, what is alive at once. No torch.

The conventions are those of `cost.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """One layer, as the user named it: MACs over all its calls, bytes of its constants, bytes that it gives."""

    layer: str
    type: str
    parameters: int = 0
    macs: int = 0
    integer_macs: int = 0
    bytes: int = 0
    out_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a model costs at the given sizes; see the conventions above. All figures are computed, none is measured."""

    parameters: int
    macs: int
    integer_macs: int
    bytes: int
    peak_activation_bytes: int
    layers: tuple[LayerCost, ...]


@dataclass(frozen=True)
class Step:
    """One node for the liveness: the tensors it makes (with their bytes) and reads, and whose memory it shares."""

    makes: Sequence[tuple[str, int]]
    reads: Sequence[str]
    shares: str | None = None


def peak_bytes(steps: Sequence[Step], inputs: Iterable[tuple[str, int]], outputs: Iterable[str]) -> int:
    """The most bytes that are alive at once while the steps run in their order.

    >>> peak_bytes([Step([("a", 4)], ["x"]), Step([("b", 1)], ["a"])], [("x", 2)], ["b"])
    6
    """
    owner: dict[str, str] = {}  # a tensor -> the one whose memory it uses
    size = dict(inputs)
    for step in steps:
        for name, nbytes in step.makes:
            owner[name] = owner.get(step.shares, step.shares) if step.shares is not None else name
            if owner[name] == name:
                size[name] = nbytes
    last = {owner.get(name, name): i for i, step in enumerate(steps) for name in step.reads}
    for i, step in enumerate(steps):
        for name, _ in step.makes:
            last[owner[name]] = max(last.get(owner[name], i), i)
    last |= {owner.get(name, name): len(steps) for name in outputs}
    alive = dict(inputs)
    peak = sum(alive.values())
    for i, step in enumerate(steps):
        alive |= {owner[name]: size.get(owner[name], 0) for name, _ in step.makes}
        peak = max(peak, sum(alive.values()))
        alive = {name: nbytes for name, nbytes in alive.items() if last.get(name, -1) > i}
    return peak


def gathered(rows: Iterable[LayerCost]) -> tuple[LayerCost, ...]:
    """Rows of one layer as one row, in the order of their first; those that cost nothing are left out."""
    found: dict[str, list[LayerCost]] = {}
    for row in rows:
        found.setdefault(row.layer, []).append(row)
    merged = []
    for layer, parts in found.items():
        main = max(parts, key=lambda row: (row.macs, row.parameters))
        total = {
            name: sum(getattr(row, name) for row in parts)
            for name in ("parameters", "macs", "integer_macs", "bytes", "out_bytes")
        }
        if total["macs"] or total["parameters"]:
            merged.append(LayerCost(layer=layer, type=main.type, **total))
    return tuple(merged)
