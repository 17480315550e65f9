"""The embedded default, end to end: a keyword spotter becomes many times smaller and faster, with its controls."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from benchmarks.run_folder import write_run
from benchmarks.words import time_text
from compress.base import Context, Pass, Progress
from compress.distill import Distill
from compress.ledger import Ledger, LedgerLine, Step, judge, original, walk
from compress.pruning.prune import Prune
from compress.quantization.quantize import Quantize
from compress.recipe import steps
from compress.separate import Separate
from compress.training.recovery import recover
from compress.training.settings import Recovery
from export.stopwatch import Stopwatch
from export.wrap import from_entry
from models import find, find_task
from models.records import Model

TEACHER, CONTROL = "cnn-fsdd", "dscnn-fsdd"
CHAIN: tuple[Pass, ...] = (
    Separate(recover=100),
    # sixteen channels are what one instruction takes on this kind of processor: narrower is not faster
    Prune(ratio=0.75, min_units=16, multiple=16, recover=100),
    Distill(steps=1500, learning_rate=4e-3),
    Quantize(mode="auto"),
)


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """What the demo found, and the page that shows it; `seconds` is all of it."""

    page: Path
    ledger: Ledger
    controls: int
    seconds: float

    @property
    def first(self) -> LedgerLine:
        """The original."""
        return self.ledger.steps[0]

    @property
    def last(self) -> LedgerLine:
        """The end of the chain, before the controls."""
        return self.ledger.steps[-1 - self.controls]


def demo(
    output: str | Path, *, seed: int = 0, command: str = "compress demo", progress: Progress | None = None
) -> DemoResult:
    """Run separate, prune, distil and int8 on the committed spotter, and hold it against two controls.

    Args:
        output: the folder for the models, the documents and the page.
        seed: of every training.
        command: what the page says it was made by.
        progress: told how far the trainings are.
    """
    began = time.perf_counter()
    torch.manual_seed(seed)
    entry = find(TEACHER)
    task = find_task(entry.data)
    watch = Stopwatch(seconds=1.0, threads=1, seed=seed)
    model = from_entry(entry)
    context = Context(task=task, teacher=model, device="cpu", measure=watch, seed=seed, progress=progress)
    walked = walk(CHAIN, model, context)
    controls = [_alone(walked, replace(context, teacher=None)), _hand_designed(context)]
    ledger = judge([*walked, *controls], task, stopwatch=watch)
    page = write_run(
        output,
        [*walked, *controls],
        ledger,
        title=f"{TEACHER}: separated, pruned, distilled, quantized",
        command=command,
        task=task,
        controls=len(controls),
        findings=findings(ledger.steps, len(controls)),
        progress=progress,
    )
    return DemoResult(page=page, ledger=ledger, controls=len(controls), seconds=time.perf_counter() - began)


def findings(lines: Sequence[LedgerLine], controls: int) -> list[str]:
    """What the numbers say, in sentences; each is made from the ledger, whichever way it turned out."""
    first, last, small = lines[0], lines[-1 - controls], lines[-2 - controls]
    alone, designed = lines[-controls], lines[-1]
    found = [
        f"The result is {first.size_bytes / last.size_bytes:.1f} times smaller and {_times(last.speedup)} times "
        f"faster than the original, at {_percent(last.metric)} against {_percent(first.metric)} on "
        f"{first.samples} recordings{_lost(last)}.",
        f"The same small network trained alone, for as many steps and from the labels only, reaches "
        f"{_percent(alone.metric)}; taught by the original it reaches {_percent(small.metric)}.",
        f"The depthwise-separable spotter that people designed by hand ({CONTROL}, in int8) takes "
        f"{time_text(designed.median_ms)} and {designed.size_bytes / 1000:.0f} KB at "
        f"{_percent(designed.metric)}; ours takes {time_text(last.median_ms)} and "
        f"{last.size_bytes / 1000:.0f} KB.",
    ]
    return found


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _times(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.1f}"


def _lost(line: LedgerLine) -> str:
    if line.drop is None or line.drop_low is None or line.drop_high is None:
        return ""
    low, high = 100 * line.drop_low, 100 * line.drop_high
    return f": {100 * line.drop:.2f} points lost (95 %, paired: {low:.2f} to {high:.2f})"


def _alone(walked: Sequence[Step], context: Context) -> Step:
    """The small network from random weights, on labels only, for all the steps that the chain trained it."""
    small = walked[-2]
    total = sum(int(step.outcome.facts.get("steps", 0)) for step in walked if step.outcome is not None)
    model, facts = recover(
        _forgotten(small.model, context.seed),
        context,
        Recovery(learning_rate=2e-3),
        steps=total,
        what="train alone",
    )
    return replace(
        original(model, "trained alone"), settings={"steps": total}, seconds=float(facts.get("seconds", 0.0))
    )


def _forgotten(model: Model, seed: int) -> Model:
    """The same layers with the weights that torch gives to new ones."""
    network = copy.deepcopy(model.network)
    torch.manual_seed(seed)
    for module in network.modules():  # type: ignore[union-attr]
        if isinstance(module, nn.Module) and callable(reset := getattr(module, "reset_parameters", None)):
            reset()
    return replace(model, network=network)


def _hand_designed(context: Context) -> Step:
    model = from_entry(find(CONTROL))
    began = time.perf_counter()
    (outcome,) = steps([Quantize(mode="static")], model, replace(context, teacher=model))
    made = original(outcome.model, f"{CONTROL} int8")
    return replace(made, outcome=outcome, seconds=time.perf_counter() - began)
