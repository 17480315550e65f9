import numpy as np
import pytest

import compress  # noqa: F401
from export.parity import parity
from export.session import in_form, runner_for, stream
from export.stream import initial_state
from export.to_onnx import to_onnx
from export.wrap import from_entry
from models import find
from models.records import example

FORMS = [(name, form) for name in ("seq2seq-dialogue", "hred", "vhred") for form in ("main", *find(name).forms)]


@pytest.fixture(scope="module")
def made():
    """Each network, narrow, in torch and in ONNX; made when it is first asked for."""
    models = {}

    def of(name):
        if name not in models:
            model = from_entry(find(name), weights=False, tiny=True)
            models[name] = model, to_onnx(model)
        return models[name]

    return of


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_a_form_is_the_same_at_any_length_and_batch(made, name, form):
    models = made(name)
    inputs = in_form(models[1], form).inputs
    sizes = [(batch, length) for batch in (1, 2, 5) for length in (1, 7, 19)]
    batches = [example(inputs, {"N": n, "T": t, "L": 8 - t // 3, "U": t}, seed=i) for i, (n, t) in enumerate(sizes)]
    for batch in batches:
        for spec in inputs:
            if spec.name == "h_context":
                del batch[spec.name]  # begins with silence, and goes on from what comes out
    found = parity(*(runner_for(each, form=form) for each in models), batches, inputs=inputs, steps=2)
    assert len(found.shapes) == 9
    assert found.max_abs < 1e-5  # float32 sums of a dozen terms in another order
    assert found.decision_flip_rate == 0


def heard(run, context):
    *_, last = stream(run, run.inputs, ({"context": part} for part in np.split(context, [1, 3], axis=1)))
    return last


def written(run, target, given):
    parts = [{"target": part, **given} for part in np.split(target, [1, 4], axis=1)]
    parts = [parts[0], *({k: v for k, v in part.items() if k != "h"} for part in parts[1:])]
    return np.concatenate([found["logits"] for found in stream(run, run.inputs, parts)], axis=1)


@pytest.mark.parametrize("name", ["seq2seq-dialogue", "hred"])
def test_the_files_in_a_row_are_the_whole(made, name):
    run = runner_for(made(name)[1])
    given = example(run.inputs, {"N": 2, "U": 5, "L": 6, "T": 7})
    given["context"][0, ..., 4:] = 0
    found = (
        heard(run.forms["listen"], given["context"])
        if name == "hred"
        else run.forms["encode"]({"context": given["context"]})
    )
    logits = written(run.forms["step"], given["target"], {key: found[key] for key in ("h", "told")})
    np.testing.assert_allclose(logits, run(given)["logits"], atol=1e-5)


def test_a_thought_is_the_same_however_the_utterances_came_and_noise_makes_the_reply_another(made):
    run = runner_for(made("vhred")[1])
    context = example(run.inputs, {"N": 2, "U": 5, "L": 6, "T": 1})["context"]
    listen, latent = run.forms["listen"], run.forms["latent"]
    bit_by_bit = heard(listen, context)["thought"]
    at_once = listen({"context": context, **initial_state(listen.inputs, {"context": context})})["thought"]
    np.testing.assert_allclose(bit_by_bit, at_once, atol=1e-5)
    noise = np.ones((2, 24), np.float32)
    assert (
        latent({"thought": at_once, "noise": noise})["told"] != latent({"thought": at_once, "noise": -noise})["told"]
    ).any()
