"""A layer, an operation, a layer: the smallest network that shows whether units pass through the operation."""

from __future__ import annotations

import torch
from torch import nn

from compress.pruning.units import groups
from export.lift import lift
from models.records import InputSpec, Model
from tests.compress.dead_units import dead_and_cut, outputs_of

INPUTS = (InputSpec(name="x", dtype="float32", dims=("N", 6, 10)),)


class Between(nn.Module):
    """(N, 6, 10) to (N, 6, 12 units), what the operation makes of it, and four numbers of that."""

    def __init__(self, operation):
        super().__init__()
        self.a, self.b, self.operation = nn.Linear(10, 12), nn.Linear(12, 4), operation

    def forward(self, x):
        return self.b(self.operation(torch.relu(self.a(x))))


def assert_units_pass(operation, layer="a.weight[0]"):
    """Half of the units can go, and dead ones leave no trace when they do."""
    torch.manual_seed(0)
    found = lift(Between(operation).eval(), INPUTS)
    model = Model(network=found.network, inputs=INPUTS, outputs=found.outputs)
    (group,) = [g for g in groups(model) if layer in g.places]
    assert not group.reason, group.reason
    dead, smaller = dead_and_cut(model)
    assert smaller.network.a.out_features == 6
    want = outputs_of(dead)["y"]
    assert want.abs().max() > 1e-3  # else nothing would be shown
    torch.testing.assert_close(outputs_of(smaller)["y"], want, rtol=0, atol=2e-5)  # sums round in another order
