import pytest
import torch
from torch import nn

from compress.base import Context
from compress.training.features import apart, attention_map, layers_to_watch, watched
from compress.training.recovery import recover
from compress.training.settings import Recovery
from export.to_onnx import to_onnx
from models.errors import UsageError
from tests.compress.small_tasks import FRAMES, Attending, Plain, Recurrent, convolutional, lifted


def test_a_map_is_the_sum_of_squares_over_channels_and_has_length_one():
    value = torch.tensor([[[3.0, 0.0], [0.0, 4.0]]])  # (N=1, C=2, places=2): squares 9 and 16
    expected = torch.tensor([[9.0, 16.0]]) / (81 + 256) ** 0.5
    torch.testing.assert_close(attention_map(value, 1), expected)
    torch.testing.assert_close(attention_map(value.transpose(1, 2), -1), expected)


def test_any_number_of_channels_attends_alike_and_other_places_are_two_apart():
    value = torch.rand(4, 6, 5, 5)
    wide, narrow = attention_map(value, 1), attention_map(value.square().sum(1, keepdim=True).sqrt(), 1)
    assert apart({"a": wide}, {"a": narrow}).item() == pytest.approx(0, abs=1e-10)
    left, right = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    assert apart({"a": left, "b": left}, {"a": right, "b": left}).item() == 2


def test_the_last_layer_of_each_resolution_is_watched():
    student, teacher = convolutional(width=4), convolutional(width=8)
    assert layers_to_watch(student, teacher, [torch.rand(2, 1, 8, 8)]) == ("1", "4")  # 8x8, then 4x4
    assert student.training is False
    with watched(student, ("1",)) as maps:
        student(torch.rand(3, 1, 8, 8))
        assert maps["1"].shape == (3, 64)
    assert not student[1]._forward_hooks


@pytest.mark.parametrize(("make", "layer"), [(Recurrent, "gru"), (Attending, "attention")])
def test_of_a_sequence_it_is_the_last_layer_with_time(make, layer):
    assert layers_to_watch(make(), make(), [torch.rand(2, 5, 8)]) == (layer,)


@pytest.mark.parametrize("make", [convolutional, Recurrent, Attending])
def test_with_features_the_student_comes_to_attend_as_its_teacher(make):
    image = make is convolutional
    x = torch.rand(32, 1, 8, 8) if image else torch.rand(32, 8, 8)
    inputs = () if image else ((FRAMES,),)
    torch.manual_seed(1)
    teacher = lifted(make(width=12, seed=1) if image else make(), *inputs)
    torch.manual_seed(2)
    student = lifted(make(width=8, seed=2) if image else make(), *inputs)
    layers = layers_to_watch(student.network, teacher.network, [x])

    def distance(network):
        with torch.no_grad(), watched(network, layers) as mine, watched(teacher.network, layers) as theirs:
            network(x), teacher.network(x)
        return apart(mine, theirs).item()

    context = Context(task=Plain([(x, torch.zeros(32).long())]), teacher=teacher)
    settings = Recovery(learning_rate=1e-2, features=100.0, precision="off")
    made, facts = recover(student, context, settings, steps=20, validate=False)
    assert distance(made.network) < 0.5 * distance(student.network)
    assert facts["features"] == 100.0 and "remembered" not in facts
    assert not any(layer._forward_hooks for layer in made.network.modules())


def test_a_teacher_without_such_layers_is_refused():
    with pytest.raises(UsageError, match=r"no layer under a name and at places of the student's \(0, 1, 3, 4\)\. Set"):
        layers_to_watch(convolutional(), nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), [torch.rand(2, 1, 8, 8)])
    model = lifted(convolutional())
    context = Context(task=Plain([(torch.rand(2, 1, 8, 8), torch.zeros(2).long())]), teacher=to_onnx(model))
    with pytest.raises(UsageError, match="a teacher that is ONNX, and has no layers"):
        recover(model, context, Recovery(features=1.0), steps=1, validate=False)
