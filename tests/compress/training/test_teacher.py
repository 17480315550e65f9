import copy

import pytest
import torch
from torch import nn

from compress.training.teacher import Teacher
from export.to_onnx import to_onnx
from models.errors import UsageError
from tests.compress.small_tasks import DIGIT, FRAMES, Recurrent, convolutional, lifted, same

NAMES = {"inputs": ["image"], "outputs": ["scores"], "device": "cpu"}


def images(count=12, seed=0):
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_it_answers_under_the_students_names_in_eval_mode_and_is_not_touched():
    model = lifted(convolutional())
    before = copy.deepcopy(model.network)
    model.network.train()
    answers = Teacher(model, **NAMES)({"image": images()})
    torch.testing.assert_close(answers["scores"], before.eval()(images()))
    assert model.network.training and same(model.network, before)
    assert all(parameter.requires_grad for parameter in model.network.parameters())


def test_an_onnx_teacher_answers_alike():
    model = lifted(convolutional())
    from_torch, from_onnx = (Teacher(m, **NAMES)({"image": images()})["scores"] for m in (model, to_onnx(model)))
    torch.testing.assert_close(from_onnx, from_torch, rtol=1e-4, atol=1e-5)


class Counting(Teacher):
    asked = 0

    def ask(self, inputs):
        self.asked += len(inputs["image"])
        return super().ask(inputs)


def test_what_is_remembered_is_not_asked_again_and_the_rest_is():
    teacher, split = Counting(lifted(convolutional()), **NAMES), images()
    assert teacher.remember(lambda: ({"image": part} for part in split.split(4)), {"image": split[3:7]}) == 12
    assert teacher.asked == 12
    shuffled = split[[7, 0, 11, 3]]
    torch.testing.assert_close(teacher({"image": shuffled})["scores"], teacher.ask({"image": shuffled})["scores"])
    assert teacher.asked == 16
    mixed = torch.cat([split[:2], images(2, seed=5)])
    answers = teacher({"image": mixed})["scores"]
    assert teacher.asked == 18
    torch.testing.assert_close(answers, teacher.ask({"image": mixed})["scores"])


def test_nothing_is_remembered_where_training_rows_are_not_rows_of_the_split():
    teacher, split = Counting(lifted(convolutional()), **NAMES), images()
    assert teacher.remember(lambda: iter([{"image": split}]), {"image": images(seed=9)}) == 0
    assert teacher.asked == 0


def test_rows_of_several_lengths_are_not_remembered_and_still_answered():
    class Same(nn.Module):
        def forward(self, x):
            return 2 * x

    model = lifted(Same(), (FRAMES,), ("y",))
    teacher = Teacher(model, inputs=["x"], outputs=["y"], device="cpu")
    parts = [torch.randn(2, 3, 8), torch.randn(2, 5, 8)]
    assert teacher.remember(lambda: ({"x": part} for part in parts), {"x": parts[0]}) == 0
    torch.testing.assert_close(teacher({"x": parts[1]})["y"], 2 * parts[1])


def test_another_signature_is_refused():
    with pytest.raises(UsageError, match=r"takes \['x'\] and gives \['logits'\]; the student takes \['a', 'b'\]"):
        Teacher(lifted(Recurrent(), (FRAMES,)), inputs=["a", "b"], outputs=["y"], device="cpu")
    assert DIGIT.name == "x"
