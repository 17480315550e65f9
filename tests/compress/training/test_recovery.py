import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from compress.base import Context
from compress.training.engine import train
from compress.training.recovery import recover
from compress.training.settings import DEFAULTS, Recovery
from export.to_onnx import to_onnx
from models.errors import DataError, TrainingError, UsageError
from models.records import InputSpec, Training
from tests.compress.small_tasks import (
    FRAMES,
    Attending,
    Plain,
    Recurrent,
    convolutional,
    digits,
    lifted,
    same,
)

LABELS = tuple("0123456789")
FAST = Recovery(learning_rate=1e-2)


@pytest.fixture(scope="module")
def teacher():
    network = convolutional(width=12, seed=3)
    train(network, digits(), Training(learning_rate=1e-2), inputs=["x"], outputs=["logits"], steps=150)
    return lifted(network, labels=LABELS)


@pytest.fixture
def student():
    return lifted(convolutional(), labels=LABELS)


def test_it_learns_from_labels_and_a_teacher_and_leaves_its_input_alone(teacher, student):
    before, taught_by = copy.deepcopy(student.network), copy.deepcopy(teacher.network)
    made, facts = recover(student, Context(task=digits(), teacher=teacher), FAST, steps=90)
    assert same(student.network, before) and same(teacher.network, taught_by)
    assert facts["validation_before"] < 0.3 and facts["validation_after"] > 0.85
    assert (facts["steps"], facts["taught"], facts["remembered"]) == (90, True, 960)
    assert made.inputs == student.inputs and made.outputs == student.outputs
    assert not made.network.training
    assert all(p.requires_grad and p.is_contiguous() for p in made.network.parameters())


def test_the_same_seed_gives_the_same_bits_and_the_callers_random_numbers_go_on(teacher, student):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    context = Context(task=digits(), teacher=teacher)
    one, _ = recover(student, context, steps=35)
    assert torch.equal(torch.rand(3), expected)
    two, _ = recover(student, context, steps=35)
    other, _ = recover(student, replace(context, seed=1), steps=35)
    assert same(one.network, two.network) and not same(one.network, other.network)


def test_a_run_of_less_than_two_epochs_remembers_nothing(teacher, student):
    context = Context(task=digits(), teacher=teacher)
    facts = {steps: recover(student, context, steps=steps, validate=False)[1] for steps in (29, 30)}
    assert "remembered" not in facts[29] and facts[30]["remembered"] == 960


def test_without_labels_the_teacher_alone_teaches(teacher, student):
    calibration = [{"x": torch.from_numpy(inputs["x"]).numpy()} for inputs, _ in digits().train]
    made, facts = recover(student, Context(calibration=calibration, teacher=teacher), FAST, steps=90)
    assert "validation_after" not in facts and facts["taught"]
    runner = lambda arrays: {"logits": made.network(torch.from_numpy(arrays["x"])).detach().numpy()}  # noqa: E731
    assert digits().score(runner).value > 0.8


def test_without_a_teacher_the_labels_alone_teach(student):
    made, facts = recover(student, Context(task=digits()), Recovery(precision="off"), steps=20)
    expected = copy.deepcopy(student.network)
    train(
        expected, digits(), Training(learning_rate=DEFAULTS.learning_rate), inputs=["x"], outputs=["logits"], steps=20
    )
    assert same(made.network, expected) and not facts["taught"]


def test_an_onnx_model_teaches_too(teacher, student):
    _, facts = recover(student, Context(task=digits(), teacher=to_onnx(teacher)), steps=40, validate=False)
    assert facts["taught"] and facts["last_loss"] < facts["first_loss"]


@pytest.mark.parametrize("make", [Recurrent, Attending])
def test_recurrence_and_attention_recover_alike(make):
    torch.manual_seed(0)
    before, other = lifted(make(), (FRAMES,)), lifted(make(), (FRAMES,))
    made, facts = recover(
        before,
        Context(task=digits(frames=True), teacher=other),
        Recovery(learning_rate=1e-2, teacher_weight=0.2),
        steps=30,
    )
    assert facts["last_loss"] < facts["first_loss"] and not same(made.network, before.network)


def test_values_are_taught_by_the_mean_squared_error():
    torch.manual_seed(0)
    x = torch.randn(64, 8)
    spec = InputSpec(name="x", dtype="float32", dims=("N", 8))
    teacher, student = (lifted(nn.Linear(8, 3), (spec,), ("y",)) for _ in range(2))
    data = [{"x": batch.numpy()} for batch in x.split(16)]
    made, facts = recover(student, Context(calibration=data, teacher=teacher), Recovery(learning_rate=0.05), steps=400)
    assert facts["last_loss"] < 1e-3  # the student can be the teacher
    torch.testing.assert_close(made.network(x), teacher.network(x), atol=0.1, rtol=0)


def test_no_steps_measure_batch_statistics_anew(student):
    wrong = copy.deepcopy(student)
    norms = [m for m in wrong.network.modules() if isinstance(m, nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.running_mean.fill_(7.0)
    made, facts = recover(wrong, Context(task=digits()), validate=False)
    assert facts == {"steps": 0, "recalibrated": 15}
    images = torch.cat([torch.from_numpy(inputs["x"]) for inputs, _ in digits().train])
    norm, seen = made.network.get_submodule("1"), student.network.get_submodule("0")(images)
    torch.testing.assert_close(norm.running_mean, seen.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert norm.momentum == 0.1 and norms[0].running_mean[0] == 7.0


def test_frozen_layers_stay_and_can_be_trained_again(student):
    made, _ = recover(student, Context(task=digits()), steps=5, frozen=("0", "1"))
    assert same(made.network.get_submodule("0"), student.network.get_submodule("0"))
    assert same(made.network.get_submodule("1"), student.network.get_submodule("1"))
    assert not same(made.network.get_submodule("3"), student.network.get_submodule("3"))
    assert all(parameter.requires_grad for parameter in made.network.parameters())


def test_it_resumes_to_the_same_bits(tmp_path, teacher, student):
    context, path = Context(task=digits(), teacher=teacher), tmp_path / "run.pt"
    undisturbed, _ = recover(student, context, steps=40, validate=False)

    def stop(network, calls=[0]):  # noqa: B006 counts its own calls
        calls[0] += 1
        if calls[0] == 22:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recover(student, context, steps=40, validate=False, checkpoint=path, after_step=stop)
    resumed, _ = recover(student, context, steps=40, validate=False, checkpoint=path, resume=True)
    assert same(resumed.network, undisturbed.network)


@pytest.mark.parametrize(
    ("context", "options", "error", "message"),
    [
        (Context(), {"steps": 1}, DataError, "prune: there is no data to learn from. Give some with --data"),
        (Context(task=Plain([])), {"steps": 1}, DataError, "it is empty"),
        (Context(calibration=[{"x": torch.zeros(2, 1, 8, 8).numpy()}]), {"steps": 1}, DataError, "has no labels, and"),
        (Context(task=digits()), {"steps": -1}, UsageError, "steps=-1, minutes=0"),
        (
            Context(task=Plain([(torch.zeros(2, 3, 8, 8), torch.zeros(2).long())])),
            {"steps": 1},
            DataError,
            r"takes 'x' as float32\[N,1,8,8\], and the data hold an array of shape \[2, 3, 8, 8\]",
        ),
        (
            Context(task=digits()),
            {"steps": 1, "frozen": ("0", "1", "3", "4", "9")},
            TrainingError,
            r"prune: .* no parameter .*\. All its layers with weights are frozen \(0, 1, 3, 4, \.\.\.\)",
        ),
        (
            Context(task=Plain([(torch.zeros(2, 1, 8, 8), torch.zeros(2).long())])),
            {"steps": 1, "settings": Recovery(batch_size=7)},
            UsageError,
            "batch_size=7, but the batches of 'plain' come from a loader",
        ),
    ],
)
def test_what_cannot_be_recovered_is_said_in_a_sentence(student, context, options, error, message):
    with pytest.raises(error, match=message):
        recover(student, context, validate=False, what="prune", **options)


def test_a_teacher_with_other_outputs_is_refused(student):
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with pytest.raises(
        UsageError, match=r"the teacher gives \[64, 3\] as output 'logits', and the student \['N', 10\]"
    ):
        recover(student, Context(task=digits(), teacher=lifted(other)), steps=1, validate=False)


def test_a_teacher_that_cannot_take_the_batch_is_refused(student):
    spec = InputSpec(name="x", dtype="float32", dims=("N", 3))
    teacher = lifted(nn.Linear(3, 10), (spec,), name="tall")
    with pytest.raises(
        UsageError, match=r"recover: the teacher 'tall' cannot take the student's batch x float32\[64, 1"
    ):
        recover(student, Context(task=digits(), teacher=teacher), steps=1, validate=False)


def test_another_batch_size_is_used(student):
    _, facts = recover(student, Context(task=digits()), Recovery(batch_size=480), steps=4, validate=False)
    assert facts["epochs"] == 2
