import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from compress.training.objective import blend
from compress.training.teaching import Lesson, class_axis, divergence, plan_lessons, taught
from models.errors import TrainingError
from models.records import InputSpec, Model, OutputSpec
from models.tasks import IGNORED
from tests.compress.small_tasks import DIGIT, IDS, Plain

LABELS = tuple("0123456789")


def softmax(logits):
    raised = [math.exp(logit) for logit in logits]
    return [value / sum(raised) for value in raised]


def test_the_loss_is_what_a_hand_computes():
    student, teacher, temperature, alpha = [1.0, -2.0, 0.5], [2.0, 1.0, -1.0], 3.0, 0.7
    p, q = softmax([v / temperature for v in teacher]), softmax([z / temperature for z in student])
    soft = temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    hard = -math.log(softmax(student)[2])

    loss = blend(
        lambda outputs, target, inputs: F.cross_entropy(outputs["y"], target),
        lambda inputs: {"y": torch.tensor([teacher])},
        [Lesson(output="y", kind="logits")],
        temperature=temperature,
        teacher_weight=alpha,
    )
    found = loss({"y": torch.tensor([student])}, torch.tensor([2]), {})
    assert found.item() == pytest.approx(alpha * soft + (1 - alpha) * hard, rel=1e-5)


def test_at_high_temperature_the_gradient_is_the_difference_of_logits_over_n():
    torch.manual_seed(0)
    student, teacher = (t - t.mean() for t in torch.randn(2, 5, dtype=torch.float64))
    student = student.detach().requires_grad_()
    errors = []
    for temperature in (10.0, 100.0, 1000.0):
        (gradient,) = torch.autograd.grad(divergence(student, teacher, temperature=temperature), student)
        errors.append((gradient - (student - teacher) / 5).abs().max().item())
    assert errors[-1] < 1e-3 * (student - teacher).abs().max().item() / 5
    assert errors[0] > 5 * errors[1] > 25 * errors[2]  # it falls as 1 / T


def test_at_temperature_one_without_a_teacher_it_is_the_cross_entropy():
    torch.manual_seed(0)
    logits, target = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    teacher = blend(
        lambda outputs, target, inputs: F.cross_entropy(outputs["y"], target),
        lambda inputs: {"y": torch.randn(6, 4)},
        [Lesson(output="y", kind="logits")],
        temperature=1.0,
        teacher_weight=0.0,
    )
    torch.testing.assert_close(teacher({"y": logits}, target, {}), F.cross_entropy(logits, target))


def test_a_task_that_says_itself_how_far_a_student_is_takes_the_place_of_the_lessons():
    student, target = torch.tensor([3.0]), torch.tensor([1.0])
    loss = blend(
        lambda outputs, target, inputs: (outputs["y"] - target).sum(),
        lambda inputs: {"y": torch.tensor([10.0])},
        [],
        temperature=4.0,
        teacher_weight=0.75,
        imitation=lambda outputs, answers: (answers["y"] - outputs["y"]).sum(),
    )
    assert loss({"y": student}, target, {}).item() == 0.75 * 7 + 0.25 * 2


@given(temperature=st.floats(0.5, 20), shift=st.floats(-5, 5), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_divergence_is_never_negative_and_zero_where_the_two_agree(temperature, shift, seed):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, 4, 3, dtype=torch.float64, generator=generator)
    assert divergence(student, teacher, temperature=temperature) >= 0
    assert abs(divergence(teacher + shift, teacher, temperature=temperature)) < 1e-9  # a shift of all logits is nothing


def test_divergence_agrees_with_torchs_kl():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 8, 5)
    expected = 4 * F.kl_div(
        (student / 2).log_softmax(-1), (teacher / 2).log_softmax(-1), log_target=True, reduction="batchmean"
    )
    torch.testing.assert_close(divergence(student, teacher, temperature=2.0), expected)
    images = student.reshape(2, 4, 5).transpose(1, 2), teacher.reshape(2, 4, 5).transpose(1, 2)  # (N, C, T)
    torch.testing.assert_close(divergence(*images, temperature=2.0, axis=1), expected)


def test_probabilities_are_taught_as_the_logits_they_came_from():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 8, 5)
    as_logits = Lesson(output="y", kind="logits").loss(student, teacher, 3.0)
    as_probabilities = Lesson(output="y", kind="probabilities").loss(student.softmax(-1), teacher.softmax(-1), 3.0)
    torch.testing.assert_close(as_probabilities, as_logits)


def model(*shapes, inputs=(DIGIT,), labels=()):
    outputs = [OutputSpec(name=f"y{i}", dtype="float32", dims=tuple(shape)) for i, shape in enumerate(shapes)]
    return Model(torch.nn.Identity(), inputs=inputs, outputs=tuple(outputs), labels=labels)


@pytest.mark.parametrize(
    ("shape", "target", "classes", "axis"),
    [
        ((4, 10), torch.zeros(4).long(), 10, 1),
        ((4, 10), torch.zeros(4).long(), 0, 1),
        ((4, 7), torch.zeros(4).long(), 10, None),
        ((4, 6, 10), torch.zeros(4, 6).long(), 10, 2),
        ((4, 10, 8, 6), torch.zeros(4, 8, 6).long(), 10, 1),
        ((4, 10), torch.zeros(4), 10, None),
        ((4, 10), torch.zeros(4, 10), 10, None),
        ((4, 10), None, 10, None),
    ],
)
def test_classes_are_found_by_the_targets(shape, target, classes, axis):
    assert class_axis(torch.zeros(shape), target, classes) == axis


@pytest.mark.parametrize(
    ("shape", "options", "kind"),
    [
        ((4, 10), {"labels": LABELS}, "logits"),
        ((4, 10), {}, "values"),
        ((4, 6, 10), {"inputs": (IDS,)}, "logits"),
        ((4, 10), {"inputs": (IDS,)}, "values"),
        ((4, 6), {"labels": LABELS}, "values"),
        ((4,), {"labels": LABELS}, "values"),
    ],
)
def test_without_targets_classes_are_found_by_labels_or_tokens(shape, options, kind):
    (lesson,) = plan_lessons(model(shape, **options), None, None, {"y0": torch.randn(shape)})
    assert lesson.kind == kind


def test_probabilities_are_told_from_logits():
    (lesson,) = plan_lessons(
        model((4, 10)), Plain([], labels=LABELS), torch.zeros(4).long(), {"y0": torch.randn(4, 10).softmax(1)}
    )
    assert lesson.kind == "probabilities"


def test_states_and_whole_numbers_are_not_taught():
    state = InputSpec(name="h", dtype="float32", dims=("N", 5), state_of="y1")
    several = model((4, 10), (4, 5), (4,), inputs=(DIGIT, state), labels=LABELS)
    answers = {"y0": torch.randn(4, 10), "y1": torch.randn(4, 5), "y2": torch.zeros(4).long()}
    assert [lesson.output for lesson in plan_lessons(several, None, None, answers)] == ["y0"]
    with pytest.raises(TrainingError, match=r"no output of the model can be taught: .*'y0'.* whole numbers"):
        plan_lessons(model((4,)), None, None, {"y0": torch.zeros(4).long()})


def test_several_outputs_add_up():
    torch.manual_seed(0)
    answers = {"a": torch.randn(3, 4), "b": torch.randn(3, 2)}
    outputs = {"a": torch.randn(3, 4), "b": torch.randn(3, 2)}
    lessons = [Lesson(output="a", kind="logits"), Lesson(output="b", kind="values")]
    expected = divergence(outputs["a"], answers["a"], temperature=2.0) + F.mse_loss(outputs["b"], answers["b"])
    torch.testing.assert_close(taught(lessons, outputs, answers, 2.0), expected)


def test_nothing_is_learned_where_the_target_is_ignored():
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(2, 5, 7, generator=generator) for _ in range(2))
    target = torch.randint(0, 7, (2, 5), generator=generator)
    target[0, 3:] = target[1, 1:] = IGNORED
    counted = target != IGNORED
    lesson = Lesson(output="logits", kind="logits", axis=2)
    alone = divergence(student[counted], teacher[counted], temperature=2.0)
    torch.testing.assert_close(lesson.loss(student, teacher, 2.0, target), alone)
    changed = torch.where(counted[..., None], student, 100.0)
    torch.testing.assert_close(lesson.loss(changed, teacher, 2.0, target), alone)
    values = Lesson(output="states", kind="values")
    expected = (student[counted] - teacher[counted]).square().mean()
    torch.testing.assert_close(values.loss(student, teacher, 2.0, target), expected)
    whole = values.loss(student[:, 0], teacher[:, 0], 2.0, target)  # one vector a row is no padding
    torch.testing.assert_close(whole, (student[:, 0] - teacher[:, 0]).square().mean())
    assert lesson.loss(student, teacher, 2.0) == divergence(student, teacher, temperature=2.0)


def test_classes_in_the_middle_are_masked_too():
    student, teacher = torch.randn(2, 7, 5), torch.randn(2, 7, 5)
    target = torch.zeros(2, 5, dtype=torch.int64)
    target[:, 2:] = IGNORED
    lesson = Lesson(output="logits", kind="logits", axis=1)
    alone = divergence(student[:, :, :2], teacher[:, :, :2], temperature=3.0, axis=1)
    torch.testing.assert_close(lesson.loss(student, teacher, 3.0, target), alone)
