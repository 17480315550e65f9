"""What is faster than the best and loses too much is tried again, with its costliest layers in float."""

from dataclasses import replace

import onnx_ir as ir

from compress.quantization.calibrated import look
from compress.quantization.candidates import Maker
from compress.quantization.field import Field
from compress.quantization.loss import ByAgreement
from compress.quantization.schemes import scheme_for
from compress.quantization.second_look import look_again
from export.device import find_device
from export.folded import fold
from export.stopwatch import Comparison
from models.records import InputSpec, example
from tests.compress.onnx_nets import Net


def spoilt():
    """Four products, the second with one weight that dwarfs the others: in eight bits they are lost beside it."""
    net, x = Net(3), "x"
    for name in ("one", "two", "three", "four"):
        x = net.matmul(x, 32, 32, name=name)
        x = net.op("Tanh", x, name=f"{name}.act") if name != "four" else x
    model = net.model((InputSpec(name="x", dtype="float32", dims=("N", 32)),), {"y": ("N", 32)})
    value = model.onnx.graph.initializers["two.weight"]
    numbers = value.const_value.numpy().copy()
    numbers[0] *= 150
    value.const_value = ir.tensor(numbers, name="two.weight")
    return fold(model)


def data(model):
    return [example(model.inputs, {"N": 40}, seed=seed) for seed in range(3)]


def field_of(model, allowed):
    batches = data(model)
    maker = Maker(model, scheme_for(find_device("any")), look(model, batches[:2]).ranges()[0])
    return Field(maker, ByAgreement(model, batches[2:], allowed)), batches[2:]


def timed(field, speeds):
    """The candidates as if they had been timed so."""
    made = []
    for one in field.judged:
        speed = speeds.get(one.name, 1.0)
        verdict = "faster" if speed > 1 else "no difference"
        found = Comparison(a="float", b=one.name, speedup=speed, low=speed, high=speed, verdict=verdict, turns=9)
        made.append(replace(one, comparison=found))
    return made


def test_the_fastest_that_loses_comes_back_with_as_few_layers_in_float_as_it_takes():
    model = spoilt()
    field, unseen = field_of(model, 0.02)
    dynamic = next(one for one in field.judged if one.name == "dynamic")
    assert not dynamic.loss.keeps
    judged = timed(field, {"dynamic": 1.8})
    new = look_again(field, judged, judged[0], unseen)
    assert [one.name for one in new] == ["dynamic, two in float"] and new[0].loss.keeps
    made = field.candidates["dynamic, two in float"]
    told = {note.layer: note.text for note in made.changed}
    assert told["two"].endswith("computed in float: of all layers it costs most in int8")
    assert all(told[name] == "Gemm in int8, ranges taken at run time" for name in ("one", "three", "four"))


def test_what_is_no_faster_than_the_best_is_left():
    field, unseen = field_of(spoilt(), 0.02)
    judged = timed(field, {"dynamic": 1.8, "weights": 1.0})
    best = replace(judged[0], comparison=replace(judged[1].comparison, speedup=1.79, verdict="faster"), integer_nodes=4)
    assert look_again(field, judged, best, unseen) == []
