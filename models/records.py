"""What is in flight: a model, what it takes and gives, and the task it is judged by. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    import onnx_ir
    import torch

Dims = tuple[int | str, ...]
Arrays = Mapping[str, np.ndarray[Any, Any]]
Runner = Callable[[Arrays], Arrays]  # named arrays in, named arrays out: torch, ONNX Runtime, a board, an episode
Split = Literal["train", "validation", "test"]
SECTIONS = (  # of a course on deep learning, in its order: where a newcomer looks for a model
    "Recurrent networks",
    "Language models",
    "Sequence to sequence",
    "Dialogue",
    "Attention",
    "Autoencoders and generation",
    "Word vectors",
    "Convolutional networks",
)


class FormedRunner(Protocol):
    """A runner of a network with several forms: called, it runs the main one; `forms` holds a runner for each other."""

    @property
    def forms(self) -> Mapping[str, Runner]:
        """Form -> runner; each is a `FormedRunner` itself, of that form and without further ones."""
        ...

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """What it takes: whoever decodes makes the first states from it, however narrow the network has become."""
        ...

    def __call__(self, arrays: Arrays) -> Arrays:
        """Run the main form."""
        ...


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """One named input: its type, its dimensions, and where its next value comes from.

    Args:
        dims: sizes, or letters for free ones; the same letter is the same size everywhere in the model.
        state_of: the output that feeds this input at the next step (a streaming model's state).
        initial: what every element of a state is before the first step.
        high: integer inputs lie in [0, high); None where unknown.
        usual: what a number beside the rows is, such as a sampling rate; None where it varies or nobody said.
    """

    name: str
    dtype: str
    dims: Dims
    state_of: str | None = None
    initial: float = 0.0
    high: int | None = None
    usual: int | None = None

    @property
    def is_one_number(self) -> bool:
        """Whether it is a single number beside the rows, and no state."""
        return self.dims in ((), (1,)) and self.state_of is None

    def shape(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """Dimensions as numbers, each letter looked up in sizes; raises KeyError for a letter without one."""
        return tuple(sizes[d] if isinstance(d, str) else d for d in self.dims)


@dataclass(frozen=True, kw_only=True)
class OutputSpec:
    """One named output: its type and its dimensions (letters for free ones).

    Args:
        own_width: its sizes in numbers are the network's own business, as those of a state are: whoever reads it (a
            word's vector, a code to search by) takes what comes, so that a pass may make it narrower.
    """

    name: str
    dtype: str
    dims: Dims
    own_width: bool = False


@dataclass(frozen=True, kw_only=True)
class Mfcc:
    """How sound becomes features: the settings of the mel-frequency cepstrum, in samples and hertz."""

    sample_rate: int
    window: int
    hop: int
    mel_bands: int
    coefficients: int
    low_hz: float
    high_hz: float


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """From raw to what the network takes, as data, so that loader, calibration and a board agree.

    A pixel or coefficient p becomes (p - mean) * scale, each with its own two; layout is that of the input.
    """

    resize: tuple[int, int] | None = None
    layout: Literal["NCHW", "NHWC", ""] = ""
    mean: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)
    mfcc: Mfcc | None = None


@dataclass(frozen=True, kw_only=True)
class Form:
    """One graph of a network that has several over the same weights.

    In a torch model the graph lies in `network.graphs` under the form's name and this holds its signature; in an ONNX
    model `network` is the form's own graph. `method` is the method of the reference module it is lifted from.
    """

    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    method: str = "forward"
    network: Any = None


@dataclass(frozen=True)
class Model:
    """A network and all that must travel with it.

    Args:
        network: a lifted torch graph (`export.lifted.Lifted`) or an onnx-ir model.
        inputs, outputs: of the main form, in order.
        labels: class names, where the model classifies.
        preprocess: from raw data to the inputs.
        history: what was done to it, oldest first: pass, settings, versions.
        forms: further graphs over the same weights, by name; the main one is not among them.
        typical: a usual size for each free letter, for examples, counts and timing; batch is 1.
        name: of the entry or the file it came from.
        data: the name of a set that can calibrate and score it (a DATA argument), or "".
        sample: a small calibration sample, named as the inputs, where there is no named set.
    """

    network: torch.nn.Module | onnx_ir.Model
    inputs: tuple[InputSpec, ...] = ()
    outputs: tuple[OutputSpec, ...] = ()
    labels: tuple[str, ...] = ()
    preprocess: Preprocess | None = None
    history: tuple[Mapping[str, Any], ...] = ()
    forms: Mapping[str, Form] = field(default_factory=dict)
    typical: Mapping[str, int] = field(default_factory=dict)
    name: str = ""
    data: str = ""
    sample: Arrays | None = None

    @property
    def is_onnx(self) -> bool:
        """Whether the network is an ONNX graph and no torch module."""
        return type(self.network).__module__.startswith("onnx_ir")

    @property
    def onnx(self) -> onnx_ir.Model:
        """The network as an ONNX graph; raises TypeError where it is a torch module."""
        if not self.is_onnx:
            raise TypeError(f"model {self.name!r} is a torch network, and an ONNX graph is needed. Use to_onnx first.")
        return cast("onnx_ir.Model", self.network)

    @property
    def module(self) -> torch.nn.Module:
        """The network as a torch module; raises TypeError where it is an ONNX graph."""
        if self.is_onnx:
            raise TypeError(
                f"model {self.name!r} is an ONNX graph, and a torch network is needed. Use lift_onnx first."
            )
        return cast("torch.nn.Module", self.network)


def sizes_of(model: Model, **chosen: int) -> dict[str, int]:
    """A size for every free letter of the model: the chosen, else the typical, else 1 for the first letter and 16."""
    letters = [d for spec in model.inputs for d in spec.dims if isinstance(d, str)]
    letters += [d for form in model.forms.values() for spec in form.inputs for d in spec.dims if isinstance(d, str)]
    ordered = list(dict.fromkeys(letters))
    fallback = {letter: 1 if position == 0 else 16 for position, letter in enumerate(ordered)}
    return {**fallback, **model.typical, **chosen}


def example(inputs: Iterable[InputSpec], sizes: Mapping[str, int], *, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Random arrays of the right names, types and shapes: for shapes and parity, never for calibration or a score.

    Floats are standard normal, integers uniform in [0, high) (high is 2 where unknown), states their initial value,
    numbers beside the rows what they usually are.
    """
    rng = np.random.default_rng(seed)
    made: dict[str, np.ndarray[Any, Any]] = {}
    for spec in inputs:
        shape = spec.shape(sizes)
        if spec.state_of is not None:
            made[spec.name] = np.full(shape, spec.initial, spec.dtype)
        elif spec.usual is not None:
            made[spec.name] = np.full(shape, spec.usual, spec.dtype)
        elif np.issubdtype(np.dtype(spec.dtype), np.floating):
            made[spec.name] = rng.standard_normal(shape).astype(spec.dtype)
        else:
            made[spec.name] = rng.integers(0, spec.high or 2, shape).astype(spec.dtype)
    return made


@dataclass(frozen=True, kw_only=True)
class Score:
    """A number against labels or another model, with its 95 % interval.

    `samples` holds what the value was computed from, one row a sample, so that two scores can be compared pairwise; it
    stays in memory and is left out of every document.
    """

    value: float
    low: float
    high: float
    n: int
    unit: str
    higher_is_better: bool = True
    per_class: Mapping[str, float] | None = None
    samples: np.ndarray[Any, Any] | None = field(default=None, repr=False, compare=False)

    @property
    def is_fraction(self) -> bool:
        """Whether a point is 0.01 of it; of all other scores a point is 1 % of the value."""
        return self.higher_is_better and self.unit != "BLEU" and 0.0 <= self.value <= 1.0  # BLEU goes to 100

    @property
    def point(self) -> float:
        """How much of the value a point is."""
        return 0.01 if self.is_fraction else 0.01 * abs(self.value) or 1.0


class Batches(Protocol):
    """A split of the data: re-iterable, in a fixed order, as (named inputs of one batch, target)."""

    def __iter__(self) -> Iterator[tuple[Arrays, Any]]: ...


@runtime_checkable
class ShuffledBatches(Batches, Protocol):
    """A split that can also be trained on: shuffled and augmented, the same for the same epoch and seed."""

    def epoch(self, number: int, seed: int) -> Iterator[tuple[Arrays, Any]]:
        """The batches of one epoch, in an order that depends on nothing but the two numbers."""
        ...


class Task(Protocol):
    """Data, loss and score. Passes see train and validation; the ledger scores test, once."""

    @property
    def name(self) -> str:
        """Of the data, for messages."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names, where there are classes."""
        ...

    @property
    def train(self) -> Batches:
        """What is learned from and calibrated with."""
        ...

    @property
    def validation(self) -> Batches:
        """What passes may decide by."""
        ...

    @property
    def test(self) -> Batches:
        """What is scored once, at the end."""
        ...

    def loss(self, outputs: Mapping[str, torch.Tensor], target: Any) -> torch.Tensor:
        """Mean loss of one batch; outputs and target are tensors."""
        ...

    def score(self, runner: Runner, split: Split = "test", reference: Runner | None = None) -> Score:
        """Run the whole split and score it, against labels or, with a reference, against that model's decisions."""
        ...

    def statistic(self, samples: np.ndarray[Any, Any]) -> float:
        """The score's value from (a resampling of) `Score.samples`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a reference model is trained. Every field is an option of `compress train`."""

    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: float = 0.05  # share of the steps
    label_smoothing: float = 0.0
    clip_norm: float = 1.0
    batch_size: int = 64
    epochs: int = 10
    average: float = 0.0  # decay of the averaged weights; 0 keeps the last ones


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One reference model and its checkable facts.

    Args:
        build: the module with random weights, in eval mode; its keyword arguments are options of `compress train`.
        tiny: the same shape of network, small enough for a test.
        task: makes the task; takes `batch_size`.
        forms: further graphs over the same weights; `Form.method` names the method of the module.
        golden: what `train` must reach on test; compared by value.
        params: exact count of the trainable parameters.
        macs: batch 1 at the typical sizes; one multiply-add is one MAC.
        licence: of the weights, from the data they were trained on, with its attribution.
        labels: class names, where it classifies.
        section: one of SECTIONS.
    """

    name: str
    summary: str
    section: str
    build: Callable[..., torch.nn.Module]
    tiny: Callable[[], torch.nn.Module]
    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    task: Callable[..., Task]
    data: str
    golden: Score
    params: int
    macs: int
    paper: str
    licence: str
    training: Training
    forms: Mapping[str, Form] = field(default_factory=dict)
    typical: Mapping[str, int] = field(default_factory=dict)
    preprocess: Preprocess | None = None
    labels: tuple[str, ...] = ()
