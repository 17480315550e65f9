"""One network to be made int8 in many ways: its float model, the samples all calibrate with, and what is held to it."""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import onnx_ir as ir

from benchmarks import int8_networks
from benchmarks.int8_networks import NETWORKS
from benchmarks.matrix import Beginning, weights_hash
from benchmarks.structure import in_points
from compress.base import Context
from compress.data_argument import calibration_from
from compress.quantization.calibration import in_steps
from compress.quantization.calibration_data import gather, pieces
from compress.quantization.loss import ByAgreement
from export.cost import integer_macs_share
from export.forms import MAIN, parts, run_all
from export.parity import parity
from export.save import shipped
from export.session import onnx_runner
from export.stream import stream
from export.wrap import from_entry
from models import find
from models.records import Arrays, Model, Score, Task, example, sizes_of

SAMPLES = 256
_MADE = 8  # examples for a form that the data do not reach
_STEPS = 4  # of a streaming form, as `verify` takes them


@dataclass(frozen=True)
class Case:
    """What the variants of one network have in common.

    Args:
        float_: the folded and stripped export, which all are held to.
        calibration: what all calibrate with, of which the first 256 samples are taken.
        task: scores them; None for random weights.
    """

    float_: Model
    calibration: Iterable[Arrays]
    task: Task | None = None

    @cached_property
    def score(self) -> Score | None:
        """That of the float model on test."""
        return None if self.task is None else self.task.score(onnx_runner(self.float_), "test")

    @cached_property
    def samples(self) -> tuple[Sequence[Arrays], Sequence[Arrays]]:
        """To calibrate with, and others to compare outputs on: the ones that our own pass takes."""
        return gather(self.float_, Context(calibration=self.calibration), SAMPLES)

    def fed(self, batches: Sequence[Arrays], *, stepped: bool = False) -> dict[str, list[Arrays]]:
        """What each form is given when the float network runs on the batches.

        Args:
            batches: of the main form.
            stepped: run a streaming form in several steps too, so that its states become what they become in use.
        """
        forms = parts(self.float_)
        runners = {form: onnx_runner(self.float_, form=form) for form in forms}
        given: dict[str, list[Arrays]] = {form: [] for form in forms}

        def run(form: str, arrays: Arrays) -> Arrays:
            given[form].append(dict(arrays))
            return runners[form](arrays)

        for batch in batches:
            for piece in pieces(batch, self.float_.inputs):
                for form, arrays, _ in run_all(self.float_, piece, run):
                    steps = in_steps(forms, form, arrays) if stepped else []
                    for _ in stream(partial(run, form), forms[form].inputs, steps):
                        pass
        for form, got in given.items():
            if not got:  # nobody hands it anything, as to the half of an autoencoder that draws from a code of its own
                got += [example(forms[form].inputs, sizes_of(self.float_), seed=seed) for seed in range(_MADE)]
        return given

    @cached_property
    def calibrated_on(self) -> dict[str, list[Arrays]]:
        """What peers, which know nothing of forms, calibrate each graph with."""
        return self.fed(self.samples[0], stepped=True)

    @cached_property
    def shown(self) -> dict[str, list[Arrays]]:
        """What outputs are compared on, by form: samples that nobody calibrated with."""
        return self.fed(self.samples[1])

    @cached_property
    def _agreement(self) -> ByAgreement:
        return ByAgreement(self.float_, self.samples[1], 1.0)

    def loaded(self, path: Path) -> Model:
        """The model that lies in a file, its further forms in files beside it, under the float model's signature."""
        forms = {
            name: replace(form, network=ir.load(path.with_name(f"{path.stem}.{name}.onnx")))
            for name, form in self.float_.forms.items()
        }
        return replace(self.float_, network=ir.load(path), forms=forms)

    def judged(self, made: Model) -> dict[str, Any]:
        """What a model loses: SQNR of each form, also of what varies from sample to sample, flips, and the score."""
        found: dict[str, Any] = {"sqnr_db": {}}
        for form, part in parts(self.float_).items():
            one, other = onnx_runner(self.float_, form=form), onnx_runner(made, form=form)
            steps = _STEPS if form != MAIN else 1
            agreed = parity(one, other, self.shown[form], inputs=part.inputs, outputs=part.outputs, steps=steps)
            found["sqnr_db"][form] = finite(agreed.sqnr_db)
        agreed_on = self._agreement(made)
        found |= {"varying_db": finite(agreed_on.sqnr_db), "flips": agreed_on.flip_rate}
        if self.task is not None and self.score is not None:
            found |= in_points(self.task, self.score, self.task.score(onnx_runner(made), "test"))
        return found | {"integer_macs": integer_macs_share(made)}


def finite(number: float | None) -> float | None:
    """A number that JSON knows: nothing stands for one that is the same to the last bit, -1000 for one that is lost."""
    if number is None or math.isnan(number):
        return -1000.0
    return None if number == math.inf else max(number, -1000.0)


def case_of(name: str, *, batches: int = 0) -> Case:
    """A reference model on the first batches of its validation and test data (0: all), or a network of random weights.

    Raises:
        CompressError: it cannot be exported.
    """
    if name in NETWORKS:
        network = NETWORKS[name]
        return Case(shipped(network.model()), list(network.batches()))
    entry = find(name)
    task = entry.task()
    return Case(shipped(from_entry(entry)), calibration_from(task), Beginning(task, batches) if batches else task)


def hash_of(name: str) -> str:
    """Of the weights; for random ones of the file that draws them."""
    if name not in NETWORKS:
        return weights_hash(name)
    return hashlib.sha256(inspect.getsource(int8_networks).encode()).hexdigest()[:16]
