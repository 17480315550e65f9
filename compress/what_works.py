"""Which pass works on which kind of network, found by trying: every pass on the small network of an entry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from compress import PASSES
from compress.base import Context, Note, Pass
from compress.console import Console
from compress.recipe import find_pass
from export.to_onnx import to_onnx
from export.wrap import from_entry
from models import ZOO, find
from models.errors import CompressError, UsageError, did_you_mean
from models.records import Model, example, sizes_of

# settings under which a pass does its work on a network of a few channels, and spends no time on training
_QUICK: dict[str, list[dict[str, object]]] = {
    "quantize": [{"mode": mode} for mode in ("static", "dynamic", "weights", "fp16")],
    "separate": [{"min_channels": 2, "recover": 0}],
    "prune": [{"ratio": 0.25, "recover": 0}],
    "distill": [{"width": 0.75, "steps": 1}],
}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What one pass did to one kind of network; with a refusal nothing was changed, and it is the one reason."""

    model: str
    step: str
    changed: tuple[str, ...]
    skipped: tuple[Note, ...]

    @property
    def cell(self) -> str:
        """The trial in a table: "7", "7 of 9" layers, "all" where it is the network as a whole, "-" for none.

        >>> Trial(model="", step="", changed=("a",), skipped=(Note("b", "too small"),)).cell
        '1 of 2'
        """
        layers = set(self.changed) - {""}
        left = {note.layer for note in self.skipped} - {"", *layers}
        if not self.changed:
            return "-"
        return f"{len(layers)} of {len(layers | left)}" if left else str(len(layers) or "all")


def steps() -> dict[str, Pass]:
    """The passes as they are tried, by name; that of quantize has its mode beside it."""
    found: dict[str, Pass] = {}
    for name in PASSES:
        for settings in _QUICK.get(name, [{}]):
            found[" ".join(filter(None, (name, str(settings.get("mode", "")))))] = find_pass(name)(**settings)
    return found


def try_all(names: Iterable[str]) -> Iterator[Trial]:
    """One trial a model and pass, model by model."""
    for name in names:
        model = from_entry(find(name), tiny=True)
        exported = to_onnx(model)
        sizes = sizes_of(model, N=4)
        context = Context(teacher=model, calibration=[example(model.inputs, sizes, seed=seed) for seed in range(12)])
        for label, step in steps().items():
            yield _try(name, label, step, exported if step.takes == "onnx" else model, context)


def _try(name: str, label: str, step: Pass, model: Model, context: Context) -> Trial:
    try:
        outcome = step(model, context)
    except CompressError as refusal:
        return Trial(model=name, step=label, changed=(), skipped=(Note("", str(refusal)),))
    return Trial(model=name, step=label, changed=tuple(n.layer for n in outcome.changed), skipped=outcome.skipped)


def say_all(console: Console, names: Sequence[str] = ()) -> None:
    """Print the trials on the models named, or on all: layers changed, of those looked at, and why others were not.

    Raises:
        UsageError: there is no such model.
    """
    for name in names:
        if name not in ZOO:
            near = did_you_mean(name, ZOO)
            raise UsageError(f"passes: no reference model named {name!r}.{near} (`compress models` lists them)")
    trials = list(try_all(names or ZOO))
    console.table(("layers changed", *steps()), rows(trials))
    for reason in reasons(trials):
        console.result(reason)
    console.document(trials=trials)


def rows(trials: Sequence[Trial]) -> list[tuple[str, ...]]:
    """One row a model: its name and a cell a pass."""
    names = dict.fromkeys(trial.model for trial in trials)
    return [(name, *(t.cell for t in trials if t.model == name)) for name in names]


def reasons(trials: Sequence[Trial]) -> list[str]:
    """Why layers were left alone: each reason once, the commonest of its trial, with the passes and models it met."""
    met: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.skipped:
            met.setdefault(Counter(n.text for n in trial.skipped).most_common(1)[0][0], []).append(trial)
    return [f"{_each(t.step for t in found)} on {_each(t.model for t in found)}: {why}" for why, found in met.items()]


def _each(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))
