"""The two tools of the coverage test, each used as its own pages say, and one judgement for both."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from benchmarks.coverage_networks import Architecture
from compress.base import Context
from compress.pruning.prune import Prune
from compress.pruning.units import groups
from export.checkpoint import load_checkpoint, save
from export.lifted import Lifted
from export.onnx_file import to_bytes
from export.to_onnx import to_onnx
from export.wrap import Model
from models.records import example

RATIO = 0.5
LEAST, MOST = 0.25, 0.8
Arrays = list[np.ndarray[Any, Any]]
_BATCH = {"N": 3}  # not the batch that either tool prunes with


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What came of one network.

    Args:
        removed: share of the parameters; None where nothing came out.
        reason: why it is not right, "" where it is.
        seconds: of pruning, saving and exporting, on a machine that did other things too.
    """

    tool: str
    network: str
    parameters: int
    removed: float | None
    reason: str
    seconds: float


class Wrong(Exception):
    """What came out is not what was asked for; the text says what."""


def judged(tool: str, architecture: Architecture) -> Verdict:
    """Prune one network with one tool and judge what comes out; any failure is a verdict."""
    module = architecture.module()
    before = _count(module)
    given = [torch.from_numpy(array) for array in example(architecture.inputs, _BATCH).values()]
    with torch.no_grad():
        expected = _flat(module(*given))
    removed, reason = None, ""
    start = time.perf_counter()
    try:
        pruned, exported = TOOLS[tool](architecture, module)
        removed = 1 - _count(pruned) / before
        with torch.no_grad():
            _same_shapes("forward", expected, _flat(pruned(*given)))
        if not LEAST <= removed <= MOST:
            raise Wrong(f"removes {removed:.0%} of the parameters")
        _same_shapes("ONNX", expected, _run(exported(), [tensor.numpy() for tensor in given]))
    except Wrong as error:
        reason = str(error)
    except Exception as error:
        reason = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:160]}"
    return Verdict(
        tool=tool,
        network=architecture.name,
        parameters=before,
        removed=removed,
        reason=reason,
        seconds=time.perf_counter() - start,
    )


def _ours(architecture: Architecture, module: nn.Module) -> tuple[nn.Module, Callable[[], bytes]]:
    """Prune, write the file, and go on with nothing but that file."""
    model = Model(module, inputs=architecture.inputs)
    smaller = Prune(ratio=RATIO, recover=0)(model, Context()).model
    with tempfile.TemporaryDirectory() as folder:
        save(smaller, Path(folder) / "pruned.pt")
        again = load_checkpoint(Path(folder) / "pruned.pt")
    assert isinstance(again.network, Lifted)

    def exported() -> bytes:
        return to_bytes(to_onnx(again))

    return again.network, exported


def _torch_pruning(architecture: Architecture, module: nn.Module) -> tuple[nn.Module, Callable[[], bytes]]:
    """As its README does: magnitude importance, the layers that make the outputs ignored."""
    import torch_pruning

    given = tuple(torch.from_numpy(array) for array in example(architecture.inputs, {"N": 2}).values())
    pruner = torch_pruning.pruner.BasePruner(
        module,
        given,
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=RATIO,
        ignored_layers=list(_output_layers(architecture, module)),
    )
    pruner.step()

    def exported() -> bytes:
        asked = tuple(torch.from_numpy(array) for array in example(architecture.inputs, _BATCH).values())
        program = torch.onnx.export(module.eval(), asked, dynamo=True, verbose=False)
        assert program is not None
        made: bytes = program.model_proto.SerializeToString()
        return made

    return module, exported


TOOLS = {"compress": _ours, "torch-pruning": _torch_pruning}


def _output_layers(architecture: Architecture, module: nn.Module) -> Iterator[nn.Module]:
    """The layers whose units are the network's outputs, which a user would name by hand; our analysis finds them."""
    by_name = dict(module.named_modules())
    for group in groups(Model(module, inputs=architecture.inputs)):
        if group.reason.startswith("it is an output"):
            for place in group.places:
                layer, _, dimension = place.rpartition(".")
                if dimension == "weight[0]" and layer in by_name:
                    yield by_name[layer]


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _flat(value: Any) -> Arrays:
    """All tensors of an output, in order, however they are nested."""
    if isinstance(value, Tensor):
        return [value.numpy()]
    values = value.values() if isinstance(value, dict) else value
    return [array for one in values for array in _flat(one)]


def _same_shapes(where: str, expected: Arrays, found: Arrays) -> None:
    if [array.shape for array in found] != [array.shape for array in expected]:
        raise Wrong(f"{where}: the outputs have other shapes, {[a.shape for a in found]}")
    if not all(np.isfinite(array).all() for array in found):
        raise Wrong(f"{where}: an output is not finite")


def _run(content: bytes, given: Arrays) -> Arrays:
    """What ONNX Runtime gives for the file, one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [taken.name for taken in session.get_inputs()]
    return list(session.run(None, dict(zip(names, given, strict=True))))


def quiet() -> None:
    """Keep what the tools and torch print and warn of out of the way of the verdicts."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
