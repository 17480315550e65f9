"""The field of candidates: one that cannot be made, loaded or run is refused with the reason, and the rest goes on."""

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from compress.base import Context
from compress.quantization.auto import decide
from compress.quantization.calibrated import look
from compress.quantization.candidates import Maker
from compress.quantization.field import Field, Floats
from compress.quantization.layer_rows import layer_rows
from compress.quantization.loss import Loss
from compress.quantization.other_ranges import other_ranges
from compress.quantization.refused import REFUSALS
from compress.quantization.schemes import scheme_for
from compress.quantization.sensitivity import sensitivities
from compress.quantization.ways import Way
from export.device import find_device
from export.folded import fold
from export.stopwatch import Stopwatch
from models.errors import CompressError
from models.records import Form, Model, example
from tests.compress.onnx_nets import conv_net, mlp

STATIC = Way(kind="static")


class Broken(Maker):
    """A maker whose candidates of some kinds the runtime does not take."""

    kinds = ("static",)

    def make(self, way):
        made = super().make(way)
        return replace(made, model=unloadable(made.model)) if way.kind in self.kinds else made


def unloadable(model: Model) -> Model:
    """The model with an operator in it that no runtime has."""
    network = model.onnx.clone()
    output = network.graph.outputs[0]
    node = ir.node("NoSuchOperator", [output], name="odd")
    node.outputs[0].name, node.outputs[0].type, node.outputs[0].shape = "odd", output.type, output.shape
    network.graph.append(node)
    network.graph.outputs.append(node.outputs[0])
    return replace(model, network=network)


def maker_of(kind=Maker, model=None, device="cpu"):
    model = fold(mlp(16)) if model is None else model
    ranges, of_forms = (seen := look(model, [example(model.inputs, {"N": 16}, seed=0)])).ranges()
    return kind(model, scheme_for(find_device(device)), ranges, (), of_forms, calibrated=seen)


def judge(model):
    return Loss(points=0.0, text="", keeps=True)


def refused(field):
    return {row["name"]: row["refused"] for row in field.refused}


def test_what_the_runtime_does_not_load_is_refused_and_the_others_are_judged():
    found = Field(maker_of(Broken), judge)
    reasons = refused(found)
    assert {name for name in reasons if name.startswith("static")} >= {"static per channel", "static per tensor"}
    assert all("NoSuchOperator" in why for name, why in reasons.items() if name.startswith("static"))
    assert {"float", "dynamic"} <= found.candidates.keys()
    assert not found.of_kind("static")


@pytest.mark.parametrize("error", REFUSALS, ids=lambda e: e.__name__)
def test_what_a_judge_cannot_run_is_refused_with_the_first_line_of_the_reason(error):
    plain = maker_of()

    def choosy(model):
        if any(node.op_type == "DynamicQuantizeMatMul" for node in model.onnx.graph):
            raise error("no such product\nand many more lines")
        return judge(model)

    found = Field(plain, choosy)
    assert refused(found)["dynamic"] == "no such product"
    assert found.of_kind("static")


def test_a_mistake_of_ours_is_no_reason_against_a_candidate():
    def wrong(model):
        raise KeyError("a mistake")

    with pytest.raises(KeyError):
        Field(maker_of(), wrong)


def maker_whose_step(kind, breaks):
    """A maker of a model with a further form, which is broken in the candidates of one kind."""
    model = fold(mlp(16))
    model = replace(model, forms={"step": Form(inputs=model.inputs, outputs=model.outputs, network=model.network)})

    class BreaksStep(Maker):
        def make(self, way):
            made = super().make(way)
            forms = {name: breaks(form) for name, form in made.model.forms.items()}
            return replace(made, model=replace(made.model, forms=forms)) if way.kind == kind else made

    return maker_of(BreaksStep, model)


def test_a_candidate_is_refused_whose_further_form_cannot_be_loaded():
    def broken(form):
        return replace(form, network=unloadable(Model(form.network, form.inputs, form.outputs)).network)

    assert "NoSuchOperator" in refused(Field(maker_whose_step("dynamic", broken), judge))["dynamic"]


class WhereStored:
    """A judge that no network passes of which any weight is stored in 8 bits and computed in float."""

    def __call__(self, model):
        behind_cast = {"INT8": False, "FLOAT16": False}
        for node in model.onnx.graph:
            kind = node.inputs[0].dtype if node.op_type == "Cast" else None
            if kind is not None and kind.name in behind_cast:
                behind_cast[kind.name] = True
        return Loss(points=0.0, text="", keeps=not behind_cast["INT8"])


def test_where_stored_weights_cost_too_much_what_stays_in_float_is_stored_in_half():
    """A convolution has no dynamic kernel: beside a product in int8 it was stored in 8 bits, and spoilt it."""
    model = fold(conv_net())
    found = Field(maker_of(model=model, device="any"), WhereStored())
    losses = {one.name: one.loss.keeps for one in found.judged}
    assert not losses["weights"]
    assert losses["dynamic"]
    made = found.candidates["dynamic"]
    stored = {value.name: value.dtype.name for value in made.model.onnx.graph.initializers.values()}
    assert stored["body.weight_half"] == "FLOAT16"
    rows = layer_rows(model, made, {}, ())
    assert {row.layer: row.decision for row in rows}["body"] == "float16"


def test_later_candidates_are_refused_alike():
    found = Field(maker_of(), judge)
    broken = replace(found.maker.make(STATIC), name="later")
    found.offer(replace(broken, model=unloadable(broken.model)), judge(None))
    assert "NoSuchOperator" in refused(found)["later"]

    def fails(model):
        raise CompressError("it does not run")

    found.judge = fails
    floats = Floats({"first": "as a test says"})
    found.try_without(STATIC, floats)
    assert refused(found)["static per channel, first in float"] == "it does not run"


def test_other_ranges_go_on_with_the_next_kind():
    plain, names = maker_of(), []
    tries = iter([True, False, False])

    def failing(model):
        if next(tries):
            raise ort.capi.onnxruntime_pybind11_state.Fail("no")
        return Loss(points=0.0, text="", keeps=True)

    field = Field(plain, judge)
    for made, _ in other_ranges(plain, [STATIC], failing, refusing=field.refusing):
        names.append(made.name)
    assert names == ["static per channel, percentile"]
    assert refused(field)["static per channel, mse"] == "no"


def test_a_layer_that_cannot_be_tried_alone_costs_most():
    broken = maker_of(Broken)
    x = [example(broken.model.inputs, {"N": 16}, seed=1)]
    assert set(sensitivities(broken, STATIC, ["first", "last"], x).values()) == {float("-inf")}


def unrunnable(form):
    """The form with a Reshape that its input does not fit: it loads, and fails when it is run."""
    network = form.network.clone()
    output = network.graph.outputs[0]
    shape = ir.val("odd_shape", const_value=ir.tensor(np.array([7, 11, 13]), name="odd_shape"))
    network.graph.register_initializer(shape)
    node = ir.node("Reshape", [output, shape], name="odd")
    node.outputs[0].name, node.outputs[0].type = "odd", output.type
    network.graph.append(node)
    network.graph.outputs.append(node.outputs[0])
    return replace(form, network=network)


def test_a_candidate_that_fails_only_when_it_is_timed_is_refused_and_the_rest_goes_on():
    maker = maker_whose_step("static", unrunnable)
    x = [example(maker.model.inputs, {"N": 32}, seed=1)]
    quick = Stopwatch(seconds=0.02)
    decision = decide(maker, Context(measure=quick), find_device("cpu"), x, max_drop=1.0, prefer="speed")
    assert decision.chosen.way.kind != "static"
    rows = {row["name"]: row for row in decision.facts["candidates"]}
    assert "does not run" in rows["static per channel"]["refused"]
    assert "refused" not in rows["weights"]


def test_auto_chooses_among_the_rest():
    maker = maker_of(Broken)
    x = [example(maker.model.inputs, {"N": 32}, seed=1)]
    decision = decide(maker, Context(), find_device("cpu"), x, max_drop=1.0, prefer="speed")
    assert decision.chosen.way.kind != "static"
    rows = {row["name"]: row for row in decision.facts["candidates"]}
    assert "NoSuchOperator" in rows["static per channel"]["refused"]
