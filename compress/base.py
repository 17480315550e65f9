"""What a pass is: a model and a context go in, an outcome comes out. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from models.records import Arrays, Model, Task

if TYPE_CHECKING:
    from export.stopwatch import Stopwatch

NetworkForm = Literal["torch", "onnx"]


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a pass may read besides the model. Nothing in it is ever written to.

    Args:
        task: data, loss and score.
        calibration: re-iterable; named inputs of one batch, no labels.
        teacher: the model before the first pass.
        device: the target, not the machine at hand.
        measure: times candidates by turns on the target; None where nothing may be timed.
        train_on: where training happens: "auto", "cpu" or "cuda".
        progress: called with (what is being done, steps done, steps in all).
        checkpoint: where a pass that trains writes how far it is; None keeps nothing.
        resume: go on from that checkpoint, where there is one.
    """

    task: Task | None = None
    calibration: Iterable[Arrays] = ()
    teacher: Model | None = None
    device: str = "any"
    measure: Stopwatch | None = None
    seed: int = 0
    train_on: Literal["auto", "cpu", "cuda"] = "auto"
    progress: Progress | None = None
    checkpoint: Path | None = None
    resume: bool = False


class Progress(Protocol):
    """Told how far a long work is."""

    def __call__(self, what: str, done: int, total: int, *, detail: str = "") -> None:
        """Say that `done` of `total` steps of `what` are done; called often, must be cheap."""
        ...


@dataclass(frozen=True)
class Note:
    """What changed in a layer, or why it did not; the layer as the user named it."""

    layer: str
    text: str


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One layer in a decision table. What was not measured is None, never a guess.

    Args:
        sensitivity: SQNR of the network's outputs in decibels, with this layer alone in int8.
        weight_bits: bits that its weights use, on average over channels, where they compute in int8: fewer than 8 are
            what it pays for sums of products that no processor clips.
    """

    layer: str
    type: str
    decision: str
    reason: str
    low: float | None = None
    high: float | None = None
    sqnr_db: float | None = None
    sensitivity: float | None = None
    before_us: float | None = None
    after_us: float | None = None
    weight_bits: float | None = None
    bytes: int | None = None
    macs: int | None = None


@dataclass(frozen=True)
class Outcome:
    """The finished model, what changed, what was skipped and why.

    `facts` are the numbers of this run that the ledger keeps (steps trained, candidates measured); scalars and lists.
    `decisions` is a table, as JSON has it, that the pass can replay; it is written beside the model.
    """

    model: Model
    changed: tuple[Note, ...] = ()
    skipped: tuple[Note, ...] = ()
    layers: tuple[LayerRow, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    decisions: Mapping[str, Any] | None = None


class Pass(Protocol):
    """Settings are fields, material comes in the call; `takes` follows from the settings."""

    name: ClassVar[str]

    @property
    def takes(self) -> NetworkForm:
        """The form of network it works on, and gives back."""
        ...

    def __call__(self, model: Model, context: Context) -> Outcome:
        """Give the finished model; the one that came in is untouched."""
        ...
