import numpy as np
import pytest

import compress  # noqa: F401
from export.parity import parity
from export.session import in_form, runner_for, stream
from export.to_onnx import to_onnx
from export.wrap import from_entry
from models import find
from models.records import example

CLASSIFIERS = ["rnn-fsdd", "lstm-fsdd", "gru-fsdd", "birnn-fsdd", "gru-gesture"]
STREAMED = [(name, form) for name in CLASSIFIERS for form in find(name).forms]


@pytest.fixture(scope="module")
def made():
    """Each classifier, narrow, in torch and in ONNX; made when it is first asked for."""
    models = {}

    def of(name):
        if name not in models:
            model = from_entry(find(name), weights=False, tiny=True)
            models[name] = model, to_onnx(model)
        return models[name]

    return of


@pytest.mark.parametrize(("name", "form"), [*((name, None) for name in CLASSIFIERS), *STREAMED])
def test_a_classifier_is_the_same_at_any_length_and_batch(made, name, form):
    model, exported = made(name)
    inputs = model.inputs if form is None else model.forms[form].inputs
    sizes = [(batch, length) for batch in (1, 2, 5) for length in (1, 7, 40)]
    batches = [example(inputs, {"N": n, "T": t}, seed=i) for i, (n, t) in enumerate(sizes)]
    a, b = (runner_for(each, form=form) for each in (model, exported))
    found = parity(a, b, batches, inputs=inputs, steps=3)
    assert [shapes["x"][:2] for shapes in found.shapes] == sizes
    assert found.max_abs < 1e-5  # float32 sums of 12 terms in another order, 120 steps long
    assert found.decision_flip_rate == 0


@pytest.mark.parametrize(("name", "form"), STREAMED)
def test_an_exported_file_streamed_is_the_file_run_at_once(made, name, form):
    _, exported = made(name)
    assert in_form(exported, form).inputs[0] == exported.inputs[0]
    x = example(exported.inputs, {"N": 2, "T": 11})["x"]
    parts = [{"x": part} for part in np.split(x, [1, 2, 6], axis=1)]
    *_, last = stream(runner_for(exported, form=form), in_form(exported, form).inputs, parts)
    np.testing.assert_allclose(last["logits"], runner_for(exported)({"x": x})["logits"], atol=1e-5)
