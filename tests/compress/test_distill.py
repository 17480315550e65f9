import copy
import json
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from torch import nn

import compress
import models
from compress.base import Context
from compress.distill import Distill
from compress.fields import settings
from compress.student import new_student, untouched
from compress.training.engine import train
from export.session import torch_runner
from export.wrap import from_entry
from models.errors import CompressError, DataError, UsageError
from models.records import Training
from tests.compress.small_tasks import FRAMES, Recurrent, convolutional, digits, lifted, same

LABELS = tuple("0123456789")


@pytest.fixture(scope="module")
def teacher():
    network = convolutional(width=16, seed=3)
    train(network, digits(), Training(learning_rate=1e-2), inputs=["x"], outputs=["logits"], steps=150)
    return lifted(network, labels=LABELS, name="teacher")


@pytest.fixture(scope="module")
def factory(tmp_path_factory):
    """A user's module of that name, in a folder on the path."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "their_students.py").write_text(
        "from torch import nn\n"
        "def small():\n"
        "    layers = [nn.Conv2d(1, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 10)]\n"
        "    return nn.Sequential(*layers)\n"
        "def three():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))\n"
        "def broken():\n"
        "    raise RuntimeError('no weights today')\n"
        "def number():\n"
        "    return 5\n"
    )
    sys.path.insert(0, str(folder))
    yield "their_students"
    sys.path.remove(str(folder))
    sys.modules.pop("their_students", None)


def test_a_student_from_a_factory_learns_and_takes_the_teachers_place(teacher, factory):
    context = Context(task=digits())
    before = copy.deepcopy(teacher.network)
    step = Distill(student=f"{factory}:small", steps=120, learning_rate=1e-2)
    outcome = step(teacher, context)
    assert same(teacher.network, before)
    assert (outcome.model.inputs, outcome.model.outputs) == (teacher.inputs, teacher.outputs)
    assert outcome.facts["taught"] and outcome.facts["validation_after"] > 0.85
    (note,) = outcome.changed
    assert note.text == "a network of 418 parameters taught by one of 3,194 in 120 steps"
    assert digits().score(torch_runner(outcome.model), "validation").value == outcome.facts["validation_after"]
    assert same(step(teacher, context).model.network, outcome.model.network)
    assert not same(step(teacher, replace(context, seed=1)).model.network, outcome.model.network)


def test_the_model_in_flight_is_the_students_start_and_the_first_model_teaches(teacher):
    student = lifted(convolutional(), labels=LABELS)
    outcome = Distill(steps=60)(student, Context(task=digits(), teacher=teacher))
    assert outcome.facts["taught"] and not same(outcome.model.network, student.network)
    assert outcome.facts["last_loss"] < outcome.facts["first_loss"]


def test_alpha_zero_is_training_on_labels_alone(teacher):
    student = lifted(convolutional(), labels=LABELS)
    outcome = Distill(steps=20, alpha=0.0, learning_rate=1e-3)(student, Context(task=digits(), teacher=teacher))
    expected = copy.deepcopy(student.network)
    names = {"inputs": ["x"], "outputs": ["logits"]}
    train(expected, digits(), Training(learning_rate=1e-3), **names, steps=20, precision="auto")
    for made, wanted in zip(outcome.model.network.parameters(), expected.parameters(), strict=True):
        assert torch.equal(made, wanted)  # batch statistics are measured anew after
    assert outcome.changed[0].text.endswith("taught by labels alone in 20 steps")


def test_alpha_one_needs_no_labels(teacher):
    student = lifted(convolutional(), labels=LABELS)
    calibration = [dict(inputs) for inputs, _ in digits().train]
    outcome = Distill(steps=90, alpha=1.0, learning_rate=1e-2)(
        student, Context(calibration=calibration, teacher=teacher)
    )
    assert outcome.facts["last_loss"] < outcome.facts["first_loss"]


def test_a_narrowed_copy_is_smaller_and_learns(teacher):
    outcome = Distill(width=0.5, steps=60, learning_rate=1e-2)(teacher, Context(task=digits()))
    (wide, narrow) = (sum(p.numel() for p in m.network.parameters()) for m in (teacher, outcome.model))
    assert narrow < 0.45 * wide
    assert outcome.facts["validation_after"] > 0.85


def test_skipped_layers_of_the_student_stay(teacher):
    student = lifted(convolutional(), labels=LABELS)
    outcome = Distill(steps=3, skip=("[01]",))(student, Context(task=digits(), teacher=teacher))
    assert [note.layer for note in outcome.skipped] == ["0", "1"]
    for layer in ("0", "1"):
        assert same(outcome.model.network.get_submodule(layer), student.network.get_submodule(layer))


def test_a_recurrent_student_learns_from_a_recurrent_teacher():
    torch.manual_seed(0)
    teacher, student = (lifted(Recurrent(), (FRAMES,), labels=LABELS) for _ in range(2))
    outcome = Distill(steps=30, learning_rate=1e-2)(student, Context(task=digits(frames=True), teacher=teacher))
    assert outcome.facts["last_loss"] < outcome.facts["first_loss"]
    assert outcome.model.inputs[0].dims == ("N", "T", 8)


@pytest.mark.parametrize("name", models.ZOO)
def test_it_works_on_every_reference_model(name):
    entry = models.find(name)
    model = from_entry(entry, tiny=True)
    teacher = from_entry(entry, tiny=True)
    with torch.no_grad():
        for parameter in teacher.network.parameters():
            parameter.mul_(1.05)
    rng = np.random.default_rng(0)
    calibration = [made(model, rng) for _ in range(3)]
    outcome = Distill(steps=2, alpha=1.0)(model, Context(calibration=calibration, teacher=teacher))
    answers = torch_runner(outcome.model)(calibration[0])
    assert {n: a.shape for n, a in answers.items()} == {
        n: a.shape for n, a in torch_runner(model)(calibration[0]).items()
    }
    assert all(np.isfinite(answer).all() for answer in answers.values())
    assert outcome.facts["steps"] == 2 and list(outcome.model.forms) == list(model.forms)


def made(model, rng):
    from models.records import sizes_of

    sizes = {**sizes_of(model), "N": 4}
    return {
        spec.name: rng.integers(0, spec.high, spec.shape(sizes))
        if spec.high
        else rng.standard_normal(spec.shape(sizes)).astype(np.float32)
        for spec in model.inputs
    }


def test_an_entry_is_a_student_with_random_weights_of_the_seed():
    teacher = from_entry(models.find("cnn-fsdd"), tiny=True)
    one, again, other = (new_student("dscnn-fsdd", teacher, seed=seed) for seed in (0, 0, 1))
    assert untouched(one, again) and not untouched(one, other)
    assert (one.inputs, one.outputs, one.labels) == (teacher.inputs, teacher.outputs, teacher.labels)
    assert sum(p.numel() for p in one.network.parameters()) == models.find("dscnn-fsdd").params


def test_a_student_of_the_same_entry_has_its_forms():
    entry = models.find("gru-fsdd")
    teacher = from_entry(entry, weights=False)
    student = new_student("gru-fsdd", teacher, seed=4)
    assert student.forms == teacher.forms and set(student.network.graphs) == {"main", "step"}


@pytest.mark.parametrize("context", [Context(), Context(teacher="itself"), Context(teacher="a copy")])
def test_nothing_to_learn_is_refused(teacher, context):
    copied = replace(teacher, network=copy.deepcopy(teacher.network))
    context = replace(context, teacher={"itself": teacher, "a copy": copied}.get(context.teacher), task=digits())
    with pytest.raises(UsageError, match=r"'teacher' would be taught by itself, .* --width 0\.5 .* after a pass"):
        Distill(steps=1)(teacher, context)


@pytest.mark.parametrize(
    ("student", "error", "message"),
    [
        ("dscnn-fsd", UsageError, "no student 'dscnn-fsd'. Did you mean 'dscnn-fsdd'"),
        ("a-b-c-d", UsageError, r"no student 'a-b-c-d'. There are: .*dscnn-fsdd.*or name pkg\.module:factory"),
        ("resnet8", UsageError, r"'resnet8' does not fit 'teacher', which takes x:float32\['N', 1, 8, 8\]: .*channels"),
        ("nothing.here:build", UsageError, "--student 'nothing.here:build': there is no module 'nothing'"),
        (
            "their_students:three",
            UsageError,
            r"is float32\['N', 3\], the teacher's is float32\['N', 10\]",
        ),
        ("their_students:number", UsageError, "gives a int, and not a torch nn.Module"),
        ("their_students:broken", CompressError, "raised RuntimeError: no weights today at .*their_students.py:8"),
        ("their_students:smal", UsageError, "Did you mean 'small'"),
    ],
)
def test_a_student_that_does_not_fit_is_refused(teacher, factory, student, error, message):
    with pytest.raises(error, match=message):
        Distill(student=student, steps=1)(teacher, Context(task=digits()))


def test_a_student_without_the_teachers_forms_is_refused(factory):
    teacher = from_entry(models.find("gru-fsdd"), tiny=True)
    with pytest.raises(UsageError, match="does not fit 'gru-fsdd', which has the form 'step' too"):
        Distill(student=f"{factory}:small", steps=1)(teacher, Context(task=digits()))


def test_a_pattern_that_fits_no_layer_is_refused(teacher, factory):
    with pytest.raises(UsageError, match=r"--skip 'head' fits no layer of the student. There are: 0, 1, 4"):
        Distill(student=f"{factory}:small", skip=("head",), steps=1)(teacher, Context(task=digits()))


def test_no_data_is_refused(teacher, factory):
    with pytest.raises(DataError, match=r"distill: there is no data to learn from. Give some with --data"):
        Distill(student=f"{factory}:small", steps=1)(teacher, Context())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"alpha": 1.5}, "alpha 1.5 asked, it must lie from 0 to 1"),
        ({"alpha": float("nan")}, "alpha nan asked"),
        ({"width": 1.0}, "width 1 asked, it must lie from 0"),
        ({"temperature": 0.0}, "temperature 0 asked, it must be more than 0"),
        ({"learning_rate": -1.0}, "learning_rate -1 asked"),
        ({"steps": 0}, "steps 0 and minutes 0 asked, so nothing would be learned"),
        ({"steps": -1}, "steps -1, minutes 0, batch_size 0 asked"),
        ({"minutes": float("nan")}, "steps 1000, minutes nan"),
        ({"student": "resnet8", "width": 0.5}, "both student 'resnet8' and width 0.5 asked. Give one of them"),
    ],
)
def test_a_value_out_of_its_range_is_refused(values, message):
    with pytest.raises(UsageError, match=f"distill: {message}"):
        Distill(**values)


def test_its_settings_are_plain_data_and_its_line_is_true():
    step = Distill(student="dscnn-fsdd", skip=("head",))
    assert Distill(**{**json.loads(json.dumps(asdict(step))), "skip": ("head",)}) == step
    assert compress.PASSES["distill"] == ("compress.distill:Distill", Distill.__doc__.splitlines()[0])
    assert step.takes == "torch"
    assert all(setting.help for setting in settings(Distill))


def test_dropout_and_batch_statistics_are_off_in_what_comes_out(teacher):
    student = lifted(convolutional(), labels=LABELS)
    made = Distill(steps=2)(student, Context(task=digits(), teacher=teacher)).model.network
    assert not any(module.training for module in made.modules() if isinstance(module, nn.Dropout | nn.BatchNorm2d))
