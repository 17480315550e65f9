import copy

import pytest
import torch

from compress.base import Context
from compress.separate import Separate
from compress.training.own_function import Budget, train_by
from models.errors import CompressError, TrainingError, UsageError
from tests.compress.small_tasks import FRAMES, Recurrent, convolutional, digits, lifted, same

HERE = "tests.compress.training.own_functions"
STEPS = Budget(steps=20, minutes=None)


@pytest.fixture
def model():
    return lifted(convolutional())


def test_it_trains_and_the_facts_say_who_did(model):
    before = copy.deepcopy(model.network)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    made, facts = train_by(f"{HERE}:finetune", model, Context(task=digits()), STEPS)
    assert torch.equal(torch.rand(2), expected)
    again, _ = train_by(f"{HERE}:finetune", model, Context(task=digits()), STEPS, validate=False)
    assert same(model.network, before) and same(made.network, again.network) and not same(made.network, before)
    assert facts["trained_by"] == f"{HERE}:finetune" and facts["steps"] == 20
    assert facts["validation_after"] > facts["validation_before"] + 0.2


def test_hooks_stay_out_and_numbers_come_over(model):
    made, _ = train_by(f"{HERE}:hooked", model, Context(), STEPS)
    assert torch.equal(made.network.get_submodule("0").weight, 2 * model.network.get_submodule("0").weight)
    assert not made.network.get_submodule("0")._forward_hooks


def test_a_pass_hands_minutes_and_its_teacher_over(model):
    outcome = Separate(min_channels=1, recover=f"{HERE}:zeroed_budget", minutes=0.5)(model, Context())
    assert outcome.facts["trained_by"] == f"{HERE}:zeroed_budget" and outcome.facts["minutes"] == 0.5


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        ("nothing", UsageError, "gave nothing back. It takes module, budget and context"),
        ("words", UsageError, "gave a str back"),
        ("wrapped", UsageError, "gave another module back, a DataParallel; the module lies inside it"),
        ("other", UsageError, "gave another module back, a Linear. It takes"),
        ("wider", UsageError, "changed layer '0': weight is 16x1x3x3, and was 8x1x3x3"),
        ("replaced", UsageError, "made layer '1' a InstanceNorm2d, and it was a BatchNorm2d"),
        ("halved", UsageError, "changed layer '0': weight is float16, and was float32"),
        ("reparametrized", UsageError, "made layer '9' a ParametrizedLinear, and it was a Linear"),
        ("rewired", UsageError, "changed the graph of form 'main', and so its outputs"),
        ("ruined", TrainingError, r"left NaN or infinite numbers in layer '3' \(bias\)"),
        ("raising", CompressError, r"raised RuntimeError: no such loader at .*own_functions\.py:\d+\."),
        ("number", UsageError, "is a int, and no function"),
        ("finetunes", UsageError, "has no 'finetunes'. Did you mean 'finetune'"),
    ],
)
def test_a_function_that_does_something_else_is_told_so(model, function, error, message):
    with pytest.raises(error, match=message):
        train_by(f"{HERE}:{function}", model, Context(), STEPS)


def test_a_recurrent_network_is_handed_over_alike():
    model = lifted(Recurrent(), (FRAMES,))
    made, _ = train_by(f"{HERE}:finetune", model, Context(task=digits(frames=True)), STEPS, validate=False)
    assert not same(made.network, model.network)
