"""Every pass on every kind of network keeps every promise; and each planted fault is caught by one of them."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import onnx_ir
import pytest
import torch
from torch import nn

import compress
from compress.base import Context, Outcome, Pass
from compress.contract import CONTRACT, BrokenPromise, Case, make_case
from compress.recipe import find_pass
from export.to_onnx import to_onnx
from export.wrap import from_entry
from models import ZOO, find
from models.errors import CompressError
from models.records import Model, example, sizes_of

# a pass that needs settings to do anything on a model at hand, or that would train for long
SETTINGS: dict[str, list[dict[str, object]]] = {
    "quantize": [{"mode": mode} for mode in ("static", "dynamic", "weights", "fp16")],
    "separate": [{"min_channels": 2, "recover": 60}],
    "prune": [{"ratio": 0.25, "recover": 60}, {"ratio": 0.25, "kind": "weights", "recover": 24}],
    "distill": [{"width": 0.75, "steps": 150}],
}
STEPS: list[Pass] = [find_pass(name)(**given) for name in compress.PASSES for given in SETTINGS.get(name, [{}])]


@functools.cache
def tiny(name: str) -> Model:
    """A small network, the same each run, whose batch norms know their inputs: else its answers would hardly vary."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = from_entry(find(name), tiny=True)
    batches = context(model).calibration
    for module in model.network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
            module.momentum = None  # the plain mean over all batches
    with torch.no_grad():
        model.network.train()
        for batch in batches:
            model.network(*(torch.from_numpy(batch[spec.name]) for spec in model.inputs))
        model.network.eval()
    return model


@functools.cache
def taken(step: Pass, name: str) -> Model:
    """The network in the form that the pass takes: exported once for all passes on ONNX, which only read it."""
    return exported(name) if step.takes == "onnx" else tiny(name)


@functools.cache
def exported(name: str) -> Model:
    return to_onnx(tiny(name))


def context(model: Model, batches: int = 24) -> Context:
    sizes = sizes_of(model, N=8)
    return Context(calibration=[example(model.inputs, sizes, seed=seed) for seed in range(batches)])


@functools.cache
def case(step: Pass, name: str) -> Case | str:
    """Both runs, made once for all promises; or the sentence with which the pass refuses this network."""
    try:
        # a pass on ONNX sees ranges, and not a training set
        return make_case(step, taken(step, name), context(tiny(name), 6 if step.takes == "onnx" else 24))
    except CompressError as refusal:
        return str(refusal)


def test_no_list_is_empty() -> None:
    assert len(STEPS) >= len(compress.PASSES) >= 4 and len(ZOO) >= 6 and len(CONTRACT) >= 10


@pytest.mark.parametrize("promise", CONTRACT, ids=lambda promise: promise.__name__)
@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("step", STEPS, ids=repr)
def test_every_pass_keeps_its_promises(step: Pass, name: str, promise: Callable[[Case], None]) -> None:
    found = case(step, name)
    if isinstance(found, str):
        assert found.startswith(f"{step.name}:") and len(found) > 40, "a refusal says who, what and why"
    else:
        promise(found)


@pytest.mark.parametrize("name", compress.PASSES)
def test_a_summary_is_the_first_line_of_the_docstring(name: str) -> None:
    assert (find_pass(name).__doc__ or "").splitlines()[0] == compress.PASSES[name][1]


def copy_of(model: Model) -> Model:
    """One that a fault may spoil."""
    return dataclasses.replace(model, network=model.onnx.clone())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Faulty:
    """A pass that exports and then does one thing wrong, as a careless author might."""

    fault: str = "none"
    name = "faulty"
    takes = "onnx"

    def __call__(self, model: Model, context: Context) -> Outcome:
        made = dataclasses.replace(model, network=onnx_ir.from_proto(onnx_ir.to_proto(model.network)))
        graph = made.network.graph
        weights = [v for v in graph.initializers.values() if v.const_value is not None and len(v.const_value.shape) > 1]
        weight = weights[-1]
        value = weight.const_value.numpy().copy()
        if self.fault == "a wrong scale":
            value *= 1.5
        elif self.fault == "a swapped channel":
            value[[0, 1]] = value[[1, 0]]
        elif self.fault == "rounding too coarse":
            step = np.abs(value).max() / 2
            value = (np.round(value / step) * step).astype(value.dtype)
        elif self.fault == "a dropped bias":
            biased = [node for node in graph if node.op_type in ("Conv", "Gemm") and len(node.inputs) > 2]
            weight = max((n.inputs[2] for n in biased), key=lambda v: float(np.abs(v.const_value.numpy()).mean()))
            value = np.zeros_like(weight.const_value.numpy())
        weight.const_value = onnx_ir.tensor(value, name=weight.name)
        node = next(iter(graph))
        return Outcome(made, (compress.Note(node.name or "", "rewritten"),))


@pytest.mark.parametrize("fault", ["a wrong scale", "a swapped channel", "rounding too coarse", "a dropped bias"])
def test_a_planted_fault_is_caught(fault: str) -> None:
    model = copy_of(exported("cnn-fsdd"))
    with pytest.raises(BrokenPromise, match="stays_close"):
        found = make_case(Faulty(fault=fault), model, context(model))
        for promise in CONTRACT:
            promise(found)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Careless:
    """A pass that breaks one promise other than that of the numbers."""

    fault: str = "none"
    name = "careless"
    takes = "onnx"

    def __call__(self, model: Model, context: Context) -> Outcome:
        node = next(iter(model.network.graph))
        note = compress.Note(node.name or "", "looked at")
        if self.fault == "leaves_its_input_alone":
            weight = next(v for v in model.network.graph.initializers.values() if v.const_value is not None)
            weight.const_value = onnx_ir.tensor(weight.const_value.numpy() * 1.001, name=weight.name)
            return Outcome(model, (note,))
        if self.fault == "keeps_the_signature":
            renamed = dataclasses.replace(model.outputs[0], name="renamed")
            return Outcome(dataclasses.replace(model, outputs=(renamed,)), (note,))
        if self.fault == "is_no_silent_no_op":
            return Outcome(model)
        if self.fault == "names_real_layers_once":
            return Outcome(model, (), (compress.Note("no.such.layer", "skipped"),))
        return Outcome(model, (), (note,), facts={"array": np.ones(2)})


@pytest.mark.parametrize(
    "fault",
    ["leaves_its_input_alone", "keeps_the_signature", "is_no_silent_no_op", "names_real_layers_once", "survives_json"],
)
def test_a_promise_that_is_broken_is_named(fault: str) -> None:
    model = copy_of(exported("resnet8"))
    with pytest.raises((BrokenPromise, TypeError), match=fault if fault != "survives_json" else "JSON"):
        found = make_case(Careless(fault=fault), model, context(model))
        for promise in CONTRACT:
            promise(found)
