import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from compress.base import Context
from compress.pruning.importance import score_units
from compress.pruning.magnitude import keep_zero, large
from compress.pruning.units import analyse, groups_of
from export.lift import lift
from models.records import InputSpec, Model


def model_of(module):
    inputs = (InputSpec(name="x", dtype="float32", dims=("N", 5)),)
    found = lift(module.eval(), inputs)
    return Model(network=found.network, inputs=inputs, outputs=found.outputs)


def scores(model, kind, **context):
    copied = replace(model, network=copy.deepcopy(model.network))
    ties = analyse(copied)
    (axis,) = [group.axis for group in groups_of(ties) if not group.reason]
    return score_units(copied, ties, [axis], kind, Context(**context))[0][axis]


@pytest.mark.parametrize(("kind", "order"), [("l2", 2), ("l1", 1)])
def test_each_weight_votes_with_its_norms_over_their_mean(kind, order):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
    a, b = (module[i].weight.detach().double() for i in (0, 2))
    one, other = a.norm(order, dim=1), b.norm(order, dim=0)
    want = (one / one.mean() + other / other.mean()) / 2
    np.testing.assert_allclose(scores(model_of(module), kind), want.numpy(), rtol=1e-6)


def test_a_unit_that_is_not_there_matters_least():
    module = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
    with torch.no_grad():
        module[0].weight[4] = 0
        module[2].weight[:, 4] = 0
    assert scores(model_of(module), "l2").argmin() == 4 == scores(model_of(module), "l1").argmin()


def test_random_depends_on_the_seed_alone():
    one, other = (model_of(nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))) for _ in range(2))
    assert scores(one, "random", seed=3).tolist() == scores(other, "random", seed=3).tolist()
    assert scores(one, "random", seed=3).tolist() != scores(one, "random", seed=4).tolist()


def test_the_share_of_least_magnitude_is_marked():
    weight = torch.tensor([[3.0, -1.0, 0.5], [-2.0, 4.0, 0.0]])
    assert large(weight, 0.5).tolist() == [[True, False, False], [True, True, False]]
    assert large(weight, 0.0).all() and large(weight, 0.99).sum() == 1


def test_zeros_are_kept_where_the_mask_says():
    layer = nn.Linear(3, 2)
    keep_zero(layer, {"weight": torch.tensor([[True, False, True], [False, True, True]])})
    assert (layer.weight == 0).sum() == 2 and (layer.bias != 0).all()
