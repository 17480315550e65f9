import pytest
import torch
import torch.nn.functional as F
from torch import nn

from compress.pruning.units import analyse, groups
from export.lift import lift
from models.records import Model
from tests.compress.between import INPUTS, Between, assert_units_pass


def model_of(operation):
    torch.manual_seed(0)
    found = lift(Between(operation).eval(), INPUTS)
    return Model(network=found.network, inputs=INPUTS, outputs=found.outputs)


def reason(operation):
    return next(g.reason for g in groups(model_of(operation)) if "a.weight[0]" in g.places)


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: x * x.tanh().sum(-1, keepdim=True),
        lambda x: x / (x.expm1().sum(-1, keepdim=True) + 1),
        lambda x: x / x.square().sum(-1, keepdim=True).add(1).sqrt(),
        lambda x: x * (x * x.sigmoid()).sum(-1, keepdim=True),
        lambda x: x.sigmoid() @ x.mT @ x,
        lambda x: F.normalize(x, dim=-1) @ x.mT @ x,
        lambda x: x * torch.linalg.vector_norm(F.gelu(x), dim=-1, keepdim=True),
        lambda x: x * x.exp().mean(-1, keepdim=True) ** 0,  # a mean runs over what is left
    ],
)
def test_what_is_zero_at_zero_may_be_summed(operation):
    assert_units_pass(operation)


@pytest.mark.parametrize(
    ("operation", "sum_"),
    [
        (lambda x: x * x.sigmoid().sum(-1, keepdim=True), "'sum' (sum_1)"),
        (lambda x: x.exp() / x.exp().sum(-1, keepdim=True), "'sum' (sum_1)"),
        (lambda x: x * torch.linalg.vector_norm(x + 1, dim=-1, keepdim=True), "'linalg_vector_norm' "),
        (lambda x: (F.elu(x) + 1) @ (F.elu(x) + 1).mT @ x, "'matmul' (matmul)"),
        (lambda x: x * (x.cos() + F.pad(x, (0, 3))[..., :12]).sum(-1, keepdim=True), "'sum' (sum_1)"),
    ],
)
def test_what_is_not_zero_at_zero_may_not(operation, sum_):
    found = reason(operation)
    assert found.startswith(sum_)
    assert found.endswith("adds it up, and a unit whose weights are zero is not zero there")


def test_the_network_is_as_it_was():
    model = model_of(lambda x: x * x.sigmoid().sum(-1, keepdim=True))
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    analyse(model)
    assert all(torch.equal(value, before[name]) for name, value in model.network.state_dict().items())


def test_other_groups_are_not_touched_by_one_that_shows():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.out = nn.Linear(10, 12), nn.Linear(12, 8), nn.Linear(8, 4)

        def forward(self, x):
            h = self.a(x).sigmoid()
            return self.out(F.relu(self.b(h / h.sum(-1, keepdim=True))))

    found = lift(Two().eval(), INPUTS)
    free = [g for g in groups(Model(network=found.network, inputs=INPUTS, outputs=found.outputs)) if not g.reason]
    assert [g.layer for g in free] == ["b"]
