"""Quantizing and teaching networks of several forms: ranges, decisions, tied tables, students of another width."""

import dataclasses
import functools

import numpy as np
import pytest
import torch
from torch import nn

from compress.base import Context
from compress.contract import keeps_the_signature, make_case, stays_close
from compress.distill import Distill
from compress.quantization.by_turns import one_step, overall, timed
from compress.quantization.calibrated import look
from compress.quantization.onnx_weights import weights_of
from compress.quantization.quantize import Quantize
from compress.student import new_student
from compress.training.recovery import untrained
from export.folded import fold
from export.forms import MAIN, examples, parts
from export.lifted import Lifted
from export.naming import layer_of
from export.onnx_file import to_bytes
from export.profile import optimized_graph
from export.stopwatch import Comparison, Stopwatch, Timings
from export.to_onnx import to_onnx
from models.errors import UsageError
from models.records import Form, sizes_of
from tests.compress.many_forms import BY_NAME, gives, lifted, spec


@functools.cache
def exported(name):
    return fold(to_onnx(lifted(name)))


def context(model, batches=8):
    sizes = {**sizes_of(model), "N": 8}
    wanted = [s.name for s in model.inputs]
    return Context(calibration=[{n: examples(model, sizes, seed=i)[n] for n in wanted} for i in range(batches)])


@pytest.mark.parametrize("name", ["translator", "cached", "variational"])
def test_a_layer_is_in_integers_in_all_forms_or_in_none(name):
    case = make_case(Quantize(mode="static"), exported(name), context(exported(name)))
    decided = {}
    for form, part in parts(case.outcome.model).items():
        for node in part.network.graph:
            if node.op_type in ("MatMul", "Gemm"):
                before = node.inputs[1].producer()
                rounded = before is not None and before.op_type == "DequantizeLinear"
                if "/" in node.name:
                    decided.setdefault(layer_of(node), {})[form] = rounded
    several = [found for found in decided.values() if len(found) > 1]
    assert several and all(len(set(found.values())) == 1 for found in several)
    assert sum(all(found.values()) for found in decided.values()) >= 3
    keeps_the_signature(case)
    stays_close(case)


def test_a_form_is_calibrated_as_a_device_runs_it():
    model = exported("translator")
    data = context(model).calibration
    main, of_forms = look(model, data, counted=False).ranges()
    assert set(of_forms) == {"encode", "step"}
    step = of_forms["step"]
    alike = [r for r in step.values() if any(r.near(other) for other in main.values())]
    assert len(alike) == len(step) >= 2  # the decoder's ranges are those of the whole sequence


def test_what_only_a_form_takes_has_the_range_of_the_layer_that_reads_it():
    made = Quantize(mode="static")(exported("variational"), context(exported("variational"))).model
    names = [node.name for node in made.forms["decode"].network.graph if node.op_type == "QuantizeLinear"]
    assert names and any(node.op_type == "Gemm" for node in made.forms["decode"].network.graph)
    scale = {form: part.network.graph.initializers for form, part in parts(made).items()}
    (z,) = [v.const_value.numpy() for n, v in scale["decode"].items() if n == "z_scale"]
    assert any(np.array_equal(z, v.const_value.numpy()) for n, v in scale[MAIN].items() if n.endswith("_scale"))


def test_a_table_that_the_output_shares_is_stored_once_and_computes_in_integers():
    model = exported("translator")
    assert [n for n in model.onnx.graph.initializers if n in ("head.weight", "target.weight")] == ["head.weight"]
    ctx = context(model)
    weights = Quantize(mode="weights")(model, ctx).model
    assert [n for n in weights.onnx.graph.initializers if n.startswith(("head.weight_q", "target.weight"))] == [
        "head.weight_q"
    ]
    made = Quantize(mode="dynamic")(model, ctx)
    assert "head/MatMul" in {note.layer for note in made.changed}
    assert [
        n for n in made.model.onnx.graph.initializers if n.startswith("head.weight") and n.endswith(("weight", "_q"))
    ] == ["head.weight.turned_q"]
    folded, asked = optimized_graph(made.model), optimized_graph(weights)
    for op in ("Gather", "Cast", "Mul"):
        assert folded.get(op) == asked.get(op), "the table is turned back when the graph is loaded"
    kept = Quantize(mode="dynamic", skip=("head*",))(model, ctx).model
    assert not [n for n in kept.onnx.graph.initializers if "turned" in n]
    sizes = [len(to_bytes(dataclasses.replace(one, forms={}))) for one in (weights, made.model, kept)]
    assert sizes == sorted(sizes), "eight bits hold the table once, whoever reads it"
    assert all(not weights_of(n) or n.name != "head/MatMul" for n in kept.onnx.graph)


def test_a_step_is_timed_on_one_element_and_no_form_may_be_slower():
    model = exported("cached")
    feed = one_step(model, "step")
    assert feed["target"].shape == (1, 1) and feed["keys"].shape == (1, 4, 3, 4)

    def timings(**speedups):
        compared = [
            Comparison(a="float", b=name, speedup=s, low=s, high=s, verdict=verdict, turns=9)
            for name, (s, verdict) in speedups.items()
        ]
        return Timings(timings={}, comparisons=tuple(compared), cores=())

    faster, alike = timings(int8=(2.0, "faster")), timings(int8=(1.0, "no difference"))
    slower, unsure = timings(int8=(0.5, "slower")), timings(int8=(0.98, "cannot tell"))
    assert overall({MAIN: faster, "step": slower}, "int8").verdict == "slower"
    assert overall({MAIN: faster, "step": unsure}, "int8").verdict == "cannot tell"
    assert overall({MAIN: alike, "step": alike}, "int8").verdict == "no difference"
    gains = overall({MAIN: faster, "step": alike}, "int8")
    assert gains.verdict == "faster" and gains.speedup == pytest.approx(2**0.5)
    assert overall({MAIN: faster}, "float") is None


def test_a_narrower_network_is_timed_against_the_wider_one_in_every_form():
    model = lifted("translator")
    narrow = Distill(width=0.5, steps=3)(model, context(model, 2)).model
    found = timed({"wide": to_onnx(model), "narrow": to_onnx(narrow)}, Context(measure=Stopwatch(seconds=0.01)), ())
    assert set(found) == set(parts(model)) and all(list(each.timings) == ["wide", "narrow"] for each in found.values())


def test_a_narrowed_copy_and_a_factory_of_another_width_take_the_teachers_place(monkeypatch):
    model = lifted("translator")
    outcome = Distill(width=0.5, steps=3)(model, context(model, 2))
    assert {s.dims for s in outcome.model.forms["step"].inputs if s.name == "memory"} == {("N", "S", 6)}
    monkeypatch.setattr("compress.student.called", lambda *_, **__: BY_NAME["translator"].build(8))
    student = new_student("mine:build", model, seed=0)
    assert [s.dims for s in student.forms["step"].inputs] == [("N", "T"), ("N", "S", 8), ("N", 8)]
    monkeypatch.setattr("compress.student.called", lambda *_, **__: nn.Linear(3, 3))
    with pytest.raises(UsageError, match="does not fit 'translator', which has the form 'encode' too"):
        new_student("mine:build", model, seed=0)


def test_layers_that_training_cannot_reach_are_named():
    class Spare(nn.Module):
        def __init__(self):
            super().__init__()
            self.shared, self.aside = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.shared(x)

        def look(self, x):
            return self.aside(self.shared(x))

    from export.wrap import Model

    x = spec("x", "N", 4)
    model = Model(Spare(), [x], forms={"look": Form(inputs=(x,), outputs=(gives("seen", "N", 2),), method="look")})
    assert untrained(model) == "training runs the main form, so these layers stay as they are: aside (form 'look')"
    assert isinstance(model.network, Lifted) and untrained(lifted("translator")) == ""


def test_a_wider_state_breaks_the_signature():
    model = lifted("translator")
    case = make_case(Quantize(mode="weights"), exported("translator"), Context())
    step = case.outcome.model.forms["step"]
    wider = tuple(dataclasses.replace(s, dims=("N", 24)) if s.name == "h" else s for s in step.inputs)
    forms = {**case.outcome.model.forms, "step": dataclasses.replace(step, inputs=wider)}
    made = dataclasses.replace(case.outcome, model=dataclasses.replace(case.outcome.model, forms=forms))
    with pytest.raises(AssertionError, match="inputs of form step"):
        keeps_the_signature(dataclasses.replace(case, outcome=made))
    assert torch.is_tensor(next(model.module.parameters()))
