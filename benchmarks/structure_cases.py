"""What the structure passes are asked to show: each case a model, a chain of passes, seeds, and its marks.

The first are results to ship. The rest are ablations: the same network and the same recovery with one thing changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from compress.base import Pass
from compress.pruning.prune import Prune
from compress.quantization.quantize import Quantize

SEEDS = (0, 1, 2)
Cells = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One chain of passes on one model.

    Args:
        name: what the page calls it; no two are alike.
        model: of the zoo.
        passes: of a chain; a function of the cells measured before, where it hangs on one of them.
        seeds: of the recovery, one run each.
        marks: what must be reached, by the names of `structure_page.MARKS`.
        about: the question of an ablation, "" for a result.
    """

    name: str
    model: str
    passes: tuple[Pass, ...] | Callable[[Cells], tuple[Pass, ...]]
    seeds: tuple[int, ...] = (0,)
    marks: Mapping[str, float] = field(default_factory=dict)
    about: str = ""


INT8 = Quantize(mode="auto")
RESULTS = (
    Case(
        name="vgg-small, pruned, int8",
        model="vgg-small",
        passes=(Prune(target="params=0.31,macs=0.5", importance="taylor", recover=40000), INT8),
        marks={"faster": 4.0, "smaller": 12.0, "points": 1.0},
    ),
    Case(
        name="resnet20, pruned",
        model="resnet20",
        passes=(Prune(target="macs=0.45", importance="taylor", recover=24000),),
        marks={"macs": 2.2, "points_high": 1.0},
    ),
    *(
        Case(
            name=f"{model}, pruned",
            model=model,
            passes=(Prune(ratio=0.5, recover=1600),),
            seeds=SEEDS,
            marks={"faster": 2.0, "flips": 0.01},
        )
        for model in ("gru-fsdd", "lstm-fsdd")
    ),
    Case(
        name="transformer-char, pruned, int8",
        model="transformer-char",
        passes=(Prune(target="params=0.8", recover=3000), INT8),
        marks={"faster": 2.0, "bits": 0.01},
    ),
    Case(
        name="seq2seq-attention, pruned, int8",
        model="seq2seq-attention",
        passes=(Prune(ratio=0.5, skip=("source", "target"), recover=12000), INT8),
        marks={"faster": 2.0, "bits": 0.01},
    ),
)
# model -> (ratio, share of the multiply-adds, steps of a short recovery)
ABLATED: Mapping[str, tuple[float, float, int]] = {
    "resnet8": (0.25, 0.5, 300),
    "gru-fsdd": (0.5, 0.4, 300),
    "transformer-char": (0.25, 0.6, 100),
}
IMPORTANCES = ("l2", "taylor", "random")


def ablations() -> Iterator[Case]:
    """One network of each kind; importance with and without recovery, and multiply-adds against milliseconds."""
    for model, (ratio, macs, steps) in ABLATED.items():
        for importance in IMPORTANCES:
            cut = Prune(ratio=ratio, importance=importance, recover=0)
            yield Case(name=f"{model}, {importance}, cut", model=model, passes=(cut,), about="importance, as cut")
            healed = Prune(ratio=ratio, importance=importance, recover=steps)
            yield Case(
                name=f"{model}, {importance}, recovered",
                model=model,
                passes=(healed,),
                seeds=SEEDS,
                about="importance, recovered",
            )
        counted = f"{model}, macs={macs:g}"
        yield Case(
            name=counted,
            model=model,
            passes=(Prune(target=f"macs={macs:g}", recover=steps),),
            about="target",
        )
        yield Case(
            name=f"{model}, the same milliseconds",
            model=model,
            passes=lambda cells, counted=counted, steps=steps: (_as_fast_as(cells[f"{counted}, seed 0"], steps),),  # type: ignore[misc]
            about="target",
        )


def _as_fast_as(cell: Mapping[str, Any], steps: int) -> Prune:
    """Pruned to the milliseconds that another cell takes."""
    return Prune(target=f"ms={cell['speed']['main']['after_ms']:.3g}", recover=steps)


CASES = (*RESULTS, *ablations())
