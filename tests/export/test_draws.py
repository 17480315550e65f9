"""Networks that draw random numbers: found, told, and held together all the same."""

from dataclasses import replace

import numpy as np
import pytest

from compress.base import Context
from compress.quantization.quantize import Quantize
from export.draws import drawing, seeded, told
from export.parity import verify
from export.session import repeats, runner_for
from models.records import Form, InputSpec, example
from tests.compress.onnx_nets import Net, mlp

ROWS = (InputSpec(name="x", dtype="float32", dims=("N", 32)),)


def autoencoder(kind="RandomNormalLike", **more):
    """Codes with noise in them."""
    net = Net()
    hidden = net.op("Relu", net.linear("x", 32, 64, name="encoder"), name="act")
    code = net.linear(hidden, 64, 8, name="code")
    if kind == "Dropout":
        code = net.op(kind, code, net.const("ratio", 0.5), net.const("training", True, np.bool_), name="noise")
    else:
        chance = net.op("Sigmoid", code, name="chance")
        code = net.op("Add", code, net.op(kind, chance, name="noise", **more), name="added")
    net.linear(net.op("Relu", net.linear(code, 8, 64, name="decoder"), name="act2"), 64, 32, name="last")
    return net.model(ROWS, {"y": ("N", 32)}, typical={"N": 1})


KINDS = ["RandomNormalLike", "RandomUniformLike", "Bernoulli", "Dropout"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_draws_gives_the_same_twice_where_it_is_compared(kind):
    model, x = autoencoder(kind), example(ROWS, {"N": 6})
    assert [node.name for node in drawing(model)] == ["noise"]
    again = runner_for(model)
    assert repeats(model, x) is (kind == "Dropout"), "which the runtime leaves out"
    np.testing.assert_array_equal(again(x)["y"], again(x)["y"])
    np.testing.assert_array_equal(again(x)["y"], runner_for(autoencoder(kind))(x)["y"])
    assert verify(model, autoencoder(kind)).sqnr_db == np.inf


def test_a_seed_of_the_users_is_kept_and_the_model_is_not_touched():
    model = autoencoder(seed=3.0)
    assert drawing(seeded(model))[0].attributes["seed"].as_float() == 3.0
    model = autoencoder()
    seeded(model)
    assert "seed" not in drawing(model)[0].attributes


def test_dropout_outside_training_draws_nothing():
    net = Net()
    net.op("Dropout", "x", net.const("ratio", 0.5), net.const("training", False, np.bool_), name="off")
    assert not drawing(net.model(ROWS, {"y": ("N", 32)})) and told(mlp()) == ""


def test_quantize_judges_it_by_what_it_did_and_says_so():
    model = autoencoder()
    data = [example(ROWS, {"N": 64}, seed=seed) for seed in range(4)]
    outcome = Quantize()(model, Context(calibration=data))
    rows = {row["name"]: row for row in outcome.facts["candidates"]}
    assert rows["weights"]["sqnr_db"] > 30 and rows["static per channel"]["sqnr_db"] > 15
    assert "seed" not in drawing(outcome.model)[0].attributes
    said = [note.text for note in outcome.skipped]
    assert any("draws random numbers at 'noise' (RandomNormalLike), so two runs of it differ" in text for text in said)
    assert "eval mode" in told(autoencoder("Dropout"))
    quiet = Quantize(mode="weights")(autoencoder("Dropout"), Context(calibration=data))
    assert not any("draws" in note.text for note in quiet.skipped)


def test_forms_that_draw_are_repeated_too():
    part, x = autoencoder(), example(ROWS, {"N": 3})
    form = Form(inputs=part.inputs, outputs=part.outputs, network=part.network)
    run = runner_for(replace(mlp(), forms={"decode": form})).forms["decode"]
    np.testing.assert_array_equal(run(x)["y"], run(x)["y"])
