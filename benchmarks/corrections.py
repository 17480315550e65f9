"""What bias correction and equalization give to static int8, and bias correction to weights that are only stored.

    python -m benchmarks.corrections [NAME ...] [-o benchmarks/results/corrections.json]

Every network is calibrated on the same samples, and judged on others by the SQNR of its worst output: of what varies
from row to row, as `auto` judges, and of the whole. Reference models are scored on validation too. Beside them stand
networks of random weights, as they are, and with the gains of their norms drawn anew, log-normal with the deviation in
their name: the channels of one tensor then differ as far as training may spread them.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import compress
from benchmarks.corrections_page import page
from benchmarks.documents import made_by, write
from benchmarks.int8_networks import NETWORKS, Encoder, Network
from compress.base import Context
from compress.data_argument import calibration_from
from compress.quantization.bias_correction import BiasCorrection, shift
from compress.quantization.calibrated import look
from compress.quantization.calibration_data import gather
from compress.quantization.candidates import Maker
from compress.quantization.equalize import channel_reaches, factors, rescaled, shared_junctions
from compress.quantization.junctions import Junction
from compress.quantization.loss import ByAgreement
from compress.quantization.raised import raised
from compress.quantization.schemes import scheme_for
from compress.quantization.ways import Way
from export.device import find_device
from export.folded import fold
from export.parity import sqnr_db
from export.session import onnx_runner, stream
from export.stepped import any_batch
from export.to_onnx import to_onnx
from models import ZOO, find
from models.records import Arrays, Model, Task

RESULT = Path(__file__).parent / "results" / "corrections.json"
REFERENCE = (
    *("cnn-fsdd", "dscnn-fsdd", "resnet8", "resnet20", "vgg-small", "autoencoder", "vae"),
    *("gru-fsdd", "lstm-fsdd", "lm-word", "transformer-char"),
)
RANDOM = (
    *("random mobilenet", "random mobilenet 0.5", "random mobilenet 1"),
    *("random dscnn", "random dscnn 0.5", "random dscnn 1", "random vgg", "random vgg 1", "random resnet8 1"),
    *("random encoder", "pre-norm encoder", "pre-norm encoder 0.5", "pre-norm encoder 1", "pre-norm encoder 2"),
)
DEVICES = ("cpu", "any")
RESCALED = ("weights", "equalize")  # by the reach of the givers' weights, or of what calibration saw
VARIANTS = ("nothing", "bias", *RESCALED, "both")
STORED = "stored"  # in the place of a device: nothing computes in integers


@dataclass(frozen=True)
class Subject:
    """A float network with what to calibrate and to judge it on."""

    name: str
    model: Model
    seen: Sequence[Arrays]
    unseen: Sequence[Arrays]
    task: Task | None = None


def subject(name: str) -> Subject:
    """A reference model or a random one by its name."""
    task = find(name).task() if name in ZOO else None
    given = compress.load(f"zoo:{name}") if task is not None else None
    network = None if task is not None else _random(name)
    model = given if given is not None else network.model()  # type: ignore[union-attr]
    prepared = replace(fold(model if model.is_onnx else to_onnx(model)), forms={})
    data = calibration_from(task) if task is not None else list(network.batches())  # type: ignore[union-attr]
    seen, unseen = gather(prepared, Context(calibration=data), 256)
    return Subject(name, raised(prepared, seen), seen, unseen, task)


def _random(name: str) -> Network:
    plain = re.sub(r" [\d.]+$", "", name)
    deviation = float(name.removeprefix(plain) or 0.0)
    network = NETWORKS[plain.replace("pre-norm", "random")]
    build: Callable[[], nn.Module] = _pre_norm if plain.startswith("pre-norm") else network.build
    return replace(network, name=name, build=partial(spread, build, deviation))


def _pre_norm() -> nn.Module:
    """The encoder with its norms in front of what reads them alone, and not behind the sum."""
    made = Encoder()
    for layer in made.encoder.layers:
        layer.norm_first = True
    return made


@torch.no_grad()
def spread(build: Callable[[], nn.Module], deviation: float) -> nn.Module:
    """A network whose norms have gains of this log-normal deviation."""
    made = build()
    for layer in made.modules():
        if deviation and isinstance(layer, nn.modules.batchnorm._BatchNorm | nn.LayerNorm):
            layer.weight.mul_(torch.exp(deviation * torch.randn_like(layer.weight)))
            layer.bias.add_(0.3 * layer.weight * torch.randn_like(layer.bias))
    return made


def rescaled_by(model: Model, what: str, seen: Sequence[Arrays]) -> tuple[Model, int]:
    """The model with junctions rescaled, and how many they are."""
    main = shared_junctions(model)
    if what == "equalize":
        return rescaled(model, factors(main, channel_reaches(model, main, seen))) if main else model, len(main)
    for _ in range(20 if main else 0):  # a giver's weight is another junction's reader, so that its reach changes too
        model = rescaled(model, factors(main, {j.name: _reach_of_weight(j) for j in main}))
        main = shared_junctions(model)
    return model, len(main)


def _reach_of_weight(junction: Junction) -> np.ndarray[Any, Any]:
    weight, axis = junction.gives[0].value.const_value.numpy(), junction.gives[0].axis  # type: ignore[union-attr]
    return np.asarray(np.abs(weight).max(axis=tuple(a for a in range(weight.ndim) if a != axis)), np.float64)


def cells(of: Subject, device: str, *, per_channel: bool) -> Iterator[dict[str, Any]]:
    """One row for each variant of a network."""
    scheme = scheme_for(find_device(device))
    agreement = ByAgreement(of.model, of.unseen, 100.0)
    floats = _outputs(of.model, of.unseen)
    for variant in VARIANTS:
        what = {"both": "equalize"}.get(variant, variant)
        model, count = rescaled_by(of.model, what, of.seen) if what in RESCALED else (of.model, 0)
        row = {"network": of.name, "device": device, "per_channel": per_channel, "variant": variant}
        if what in RESCALED and not count:
            yield {**row, "junctions": 0}
            continue
        found = look(model, of.seen, counted=False, symmetric=scheme.activations == "s8")
        ranges, of_forms = found.ranges()
        maker = Maker(model, scheme, ranges, (), of_forms, calibrated=found)
        made = maker.make(Way(kind="static", per_channel=per_channel)).model
        if variant in ("bias", "both"):
            shifts = BiasCorrection(model, of.seen, scheme.integer_bias)(made.onnx, "once")
            shift(made.onnx, shifts, integer_bias=scheme.integer_bias)
        yield {**row, "junctions": count, **_told(of, made, agreement, floats)}


def stored_cells(of: Subject) -> Iterator[dict[str, Any]]:
    """Of weights that are stored in int8 and compute in float: as they are, and corrected."""
    agreement, floats = ByAgreement(of.model, of.unseen, 100.0), _outputs(of.model, of.unseen)
    scheme = scheme_for(find_device("any"))
    for variant in ("nothing", "bias"):
        correction = BiasCorrection(of.model, of.seen, scheme.integer_bias) if variant == "bias" else None
        made = Maker(of.model, scheme, {}, correction=correction).make(Way(kind="weights")).model
        row = {"network": of.name, "device": STORED, "per_channel": True, "variant": variant}
        yield {**row, **_told(of, made, agreement, floats)}


def _told(
    of: Subject, made: Model, agreement: ByAgreement, floats: Mapping[str, np.ndarray[Any, Any]]
) -> dict[str, Any]:
    """Decibels of a network in int8, and its score where there is a task."""
    outputs = _outputs(made, of.unseen)
    whole = min(sqnr_db(floats[name], outputs[name]) for name in floats)
    decibels = {"sqnr_db": agreement(made).sqnr_db, "whole_sqnr_db": whole}
    return {**decibels, **(_score(of.task, made) if of.task is not None else {})}


def _outputs(model: Model, batches: Sequence[Arrays]) -> Mapping[str, np.ndarray[Any, Any]]:
    steps = list(stream(onnx_runner(model), model.inputs, batches, model.outputs))
    return {o.name: np.concatenate([step[o.name].reshape(-1) for step in steps]) for o in model.outputs}


def _score(task: Task, model: Model) -> dict[str, Any]:
    score = task.score(any_batch(model), "validation")
    return {"score": score.value, "unit": score.unit, "higher_is_better": score.higher_is_better}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", default=(*REFERENCE, *RANDOM))
    parser.add_argument("--devices", nargs="*", default=DEVICES)
    parser.add_argument("-o", "--output", type=Path, default=RESULT)
    given = parser.parse_args(arguments)
    command = " ".join(["python -m benchmarks.corrections", *(sys.argv[1:] if arguments is None else arguments)])
    document: dict[str, Any] = {"schema": 1, **made_by(command), "rows": []}
    for name in given.names:
        at_hand = subject(name)
        if at_hand.task is not None:
            document["rows"].append({"network": name, "variant": "float", **_score(at_hand.task, at_hand.model)})
        kinds = [cells(at_hand, device, per_channel=each) for device in given.devices for each in (True, False)]
        for row in chain(*kinds, stored_cells(at_hand)):
            document["rows"].append(row)
            print(row, file=sys.stderr, flush=True)
        write(document, given.output, page(document))
    return 0


if __name__ == "__main__":
    sys.exit(main())
