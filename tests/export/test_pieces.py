import torch
from torch import nn

from export.lift import lift
from models.records import InputSpec


def test_parameters_reached_through_a_dict_of_the_users_own_are_weights_and_no_constants():
    class Kept(nn.Module):
        def __init__(self):
            super().__init__()
            self.own = {"into": nn.Parameter(torch.randn(12, 10)), "out": nn.Parameter(torch.randn(4, 12))}
            for name, tensor in self.own.items():
                self.register_parameter(f"{name}_weight", tensor)

        def forward(self, x):
            return torch.relu(x @ self.own["into"].T) @ self.own["out"].T

    network = lift(Kept().eval(), (InputSpec(name="x", dtype="float32", dims=("N", 10)),)).network
    assert sum(p.numel() for p in network.parameters()) == 12 * 10 + 4 * 12
    assert not list(network.buffers())
