"""The closer look: what a layer costs alone, which layers stay in float for it, and which gain nothing."""

from dataclasses import replace

import numpy as np
import pytest

from compress.base import Context
from compress.quantization.calibrated import look
from compress.quantization.candidates import Maker
from compress.quantization.field import Field, Floats, computing
from compress.quantization.layer_rows import layer_rows
from compress.quantization.layer_times import LayerTimes, regions, slower
from compress.quantization.loss import Loss
from compress.quantization.placement import place
from compress.quantization.schemes import scheme_for
from compress.quantization.sensitivity import sensitivities
from compress.quantization.study import Study, fewest_floats, study
from compress.quantization.ways import Way
from export.device import find_device
from export.folded import fold
from export.parity import sqnr_db
from export.session import onnx_runner
from models.records import example
from tests.compress.onnx_nets import attention, conv_net, depthwise_net, mlp, residual_net

STATIC = Way(kind="static")


def data(model, rows=32, seed=0):
    return [example(model.inputs, {"N": rows, "T": 9}, seed=seed)]


def maker_of(model):
    seen = look(model, data(model))
    ranges, of_forms = seen.ranges()
    return Maker(model, scheme_for(find_device("any")), ranges, (), of_forms, calibrated=seen)


@pytest.mark.parametrize("net", [conv_net, residual_net, mlp])
def test_the_cost_of_a_layer_is_the_noise_of_a_file_with_it_alone_in_int8(net):
    model = fold(net())
    maker, unseen = maker_of(model), data(model, seed=9)
    names = [node.name for node in place(model.network).layers]
    found = sensitivities(maker, STATIC, names, unseen)
    assert list(found) == names and len(names) > 2
    for name in names:
        alone = replace(maker, floats=dict.fromkeys(set(names) - {name}, "")).make(STATIC)
        assert computing(alone) == {name}
        output = model.outputs[0].name
        a, b = (onnx_runner(m)(unseen[0])[output].astype(np.float64) for m in (model, alone.model))
        centred = sqnr_db(a - a.mean(0), b - a.mean(0))
        assert found[name] == pytest.approx(centred, abs=1e-6)


def test_without_data_nothing_is_told():
    assert sensitivities(maker_of(fold(mlp())), STATIC, ["fc1"], []) == {}


class Counting:
    """A judge that keeps a candidate once these layers are in float."""

    def __init__(self, bad):
        self.bad, self.asked = set(bad), 0

    def __call__(self, model):
        self.asked += 1
        quantized = {n.name for n in model.network.graph if n.op_type == "Gemm" and n.inputs[1].producer() is not None}
        return Loss(points=0.0, text="", keeps=not (self.bad & quantized))


@pytest.mark.parametrize("worst", [1, 2])
def test_as_few_layers_stay_in_float_as_keep_the_score(worst):
    model = fold(mlp())
    maker = maker_of(model)
    network = model.network.clone()
    layers = [node.name for node in place(network).layers]
    assert len(layers) > worst
    ranked = dict(zip(layers, range(10, 10 + len(layers)), strict=True))  # the first costs most
    field = Field(maker, Counting(layers[:worst]))
    looked = Study(maker.make(STATIC), place(network), {k: float(v) for k, v in ranked.items()})
    assert list(fewest_floats(field, looked.sensitivities, STATIC)) == layers[:worst]


def test_where_all_layers_would_have_to_stay_in_float_there_is_no_mixture():
    model = fold(mlp())
    maker = maker_of(model)
    layers = [node.name for node in place(model.network).layers]
    field = Field(maker, Counting(layers))
    looked = Study(maker.make(STATIC), place(model.network), dict.fromkeys(layers, 20.0))
    assert fewest_floats(field, looked.sensitivities, STATIC) is None


def times(before, after, **others):
    return LayerTimes(before, after, **{"rounding": {}, "back": {}, "elements": {}, **others})


def test_a_slow_layer_at_the_border_is_proposed_and_one_inside_is_not():
    placement = place(fold(depthwise_net()).network)
    first, *inner, last = [node.name for node in placement.layers]
    before = dict.fromkeys((first, *inner, last), 10.0)
    fast = {**dict.fromkeys(before, 2.0)}
    assert slower(placement, times(before, fast)) == []
    assert slower(placement, times(before, {**fast, first: 30.0}))[0] == [first]
    assert slower(placement, times(before, {**fast, inner[0]: 25.0})) == []
    costly = times(before, {**fast, first: 30.0}, elements={v.name: 10**6 for v in placement.rounded})
    assert slower(placement, costly) == []  # the conversion that moves behind it would take more than it saves


def test_a_region_that_takes_longer_is_proposed_as_a_whole():
    placement = place(fold(attention()).network)
    found = regions(placement)
    assert sorted(sorted(node.name for node in region) for region in found)[0] == ["down"]
    names = [node.name for region in found for node in region]
    together = next([node.name for node in region] for region in found if len(region) == 3)
    assert sorted(together) == ["k", "q", "v"]  # they share one rounding
    after = {**dict.fromkeys(names, 1.0), **dict.fromkeys(together, 50.0)}
    assert slower(placement, times(dict.fromkeys(names, 10.0), after)) == [together]
    (down,) = (node for node in placement.layers if node.name == "down")
    rounding = {placement.reads(down)[0].name: 100.0}
    also = slower(placement, times(dict.fromkeys(names, 10.0), after, rounding=rounding))
    assert "down" in also[0] and set(together) < set(also[0])


def test_the_clock_is_looked_at_only_where_it_is_the_targets():
    model = fold(conv_net())
    maker = maker_of(model)
    looked = study(maker, maker.make(STATIC), data(model, seed=3), Context(), clock=True)
    assert looked.times is None and set(looked.sensitivities) == {"stem", "body", "head"}
    assert np.isinf(looked.after_us("stem"))


def test_a_layer_without_any_noise_is_told_without_a_number():
    """JSON has no infinity, and the table is written as JSON."""
    model = fold(mlp())
    maker = maker_of(model)
    whole = maker.make(STATIC)
    looked = Study(whole, place(model.network), {"first": np.inf, "second": 30.0})
    rows = {row.layer: row for row in layer_rows(model, whole, maker.ranges, data(model, seed=3), looked)}
    assert rows["first"].sensitivity is None and rows["second"].sensitivity == 30.0
    assert rows["first"].before_us is None and rows["first"].after_us is None


def test_mixtures_are_named_for_their_layers():
    assert Floats({"a": ""}).words == ", a in float"
    assert Floats({"a": "", "b": "", "c": ""}).words == ", a and 2 more in float"
    assert Floats({}).words == ""
