"""Which outputs decide, and which are vectors whose largest element means nothing."""

from dataclasses import replace

import pytest

from compress.choices import decides, vocabularies
from models.records import InputSpec, OutputSpec
from tests.compress.onnx_nets import Net, mlp, stream

IDS = (InputSpec(name="ids", dtype="int64", dims=("N", "T")),)


def out(*dims, dtype="float32", **more):
    return OutputSpec(name="y", dtype=dtype, dims=dims, **more)


def words(dim=16, count=50, last="tokens", inputs=IDS):
    """Vectors of words, and what is made of them: a number for each word, hidden vectors, or chances."""
    net = Net()
    table = net.weight("table", count, dim)
    index = net.op("Cast", "ids", name="cast", to=7)
    hidden = net.matmul(net.op("Gather", table, index, name="look"), dim, dim, name="hidden")
    width = {"tokens": count, "hidden": dim, "chances": 7}[last]
    y = hidden if last == "hidden" else net.matmul(hidden, dim, width, name="head")
    y = net.op("Softmax", y, name="chance", axis=-1) if last == "chances" else y
    return net.model(inputs, {"y": ("N", "T", width)})


def test_a_vector_of_floats_a_row_is_a_choice_unless_it_is_an_input_drawn_again():
    assert decides(mlp().outputs[0], mlp())
    assert not decides(out("N", 32), mlp())
    assert not decides(out("N", 1), mlp()) and not decides(out("N"), mlp()) and not decides(out(), mlp())
    assert not decides(out("N", 8, dtype="int64"), mlp())
    assert not decides(out("N", 8, own_width=True), mlp())
    assert not decides(stream().outputs[0], stream()), "a state"


@pytest.mark.parametrize(("last", "chosen"), [("tokens", True), ("hidden", False), ("chances", True)])
def test_of_vectors_in_time_those_decide_that_tell_words_apart_or_chances(last, chosen):
    model = words(last=last)
    assert decides(model.outputs[0], model) is chosen


def test_hidden_vectors_as_wide_as_there_are_words_are_hidden_vectors():
    assert vocabularies(words(dim=16, count=16)) == frozenset()
    assert vocabularies(words(dim=16, count=50)) == {50}
    high = (replace(IDS[0], high=7),)
    assert vocabularies(words(inputs=high)) == {7, 50}


def test_class_names_say_which_output_decides():
    model = replace(mlp(), labels=tuple("abcdefgh"))
    assert decides(model.outputs[0], model)
    assert decides(out("N", "T", 8), model) and not decides(out("N", 5), model)


@pytest.mark.parametrize("kind", ["LayerNormalization", "LpNormalization", "Relu", "Tanh", "Div"])
def test_features_that_end_in_a_norm_or_an_activation_decide_nothing(kind):
    net = Net()
    y = net.linear("x", 32, 8, name="last")
    more = {"LayerNormalization": lambda: net.const("scale", [1.0] * 8), "Div": lambda: net.op("Abs", y, name="size")}
    net.op(kind, y, *([more[kind]()] if kind in more else []), name="end")
    model = net.model(mlp().inputs, {"y": ("N", 8)})
    assert not decides(model.outputs[0], model)


@pytest.mark.parametrize(("kind", "decide"), [("Tanh", False), ("Sigmoid", True)])
def test_a_scale_behind_an_activation_changes_nothing(kind, decide):
    """Two coordinates, a tanh times their reach and shifted, are no two classes."""
    net = Net()
    y = net.op(kind, net.linear("x", 32, 2, name="last"), name="bounded")
    y = net.op("Mul", y, net.const("reach", 0.001), name="scaled")
    net.op("Add", net.const("middle", [0.5, 0.5]), y, name="end")
    model = net.model(mlp().inputs, {"y": ("N", 2)})
    assert decides(model.outputs[0], model) == decide
