import pytest
import torch
from torch import nn

from export.lift import lift
from models.errors import LiftError
from models.records import InputSpec

INPUTS = (InputSpec(name="x", dtype="float32", dims=("N", 4, 6)),)


class Does(nn.Module):
    def __init__(self, operation):
        super().__init__()
        self.layer, self.operation = nn.Linear(6, 6), operation

    def forward(self, x):
        return self.operation(self.layer(x))


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: x.clip(-0.5, 0.5),
        lambda x: torch.where(torch.greater_equal(x, 0), torch.absolute(x), torch.negative(x)),
        lambda x: x.flatten(1).view_as(x) + x.flatten(1).reshape_as(x),
        lambda x: torch.trapezoid(x, dim=1),
        lambda x: torch.linalg.multi_dot([x[0], x[0].T, x[0]]),
        lambda x: torch.xlogy(x, x.abs() + 1),
        lambda x: x @ torch.block_diag(torch.ones(2, 2), torch.ones(4, 4)),
    ],
)
def test_other_names_and_what_is_made_of_other_operations_are_lifted(operation):
    assert lift(Does(operation).eval(), INPUTS).difference < 1e-5


def test_the_layers_stay_the_users_own():
    network = lift(Does(lambda x: x.clip(0, 1)).eval(), INPUTS).network
    assert isinstance(network.layer, nn.Linear)


def test_what_torch_cannot_write_otherwise_is_refused_with_what_to_do():
    with pytest.raises(LiftError, match=r"uses the operation 'kthvalue', which is not among .* Write it with plain"):
        lift(Does(lambda x: x.kthvalue(2, dim=1)[0]).eval(), INPUTS)
