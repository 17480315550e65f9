import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

import compress  # noqa: F401
from export.wrap import Model
from tests.export.architectures import spec


class Symmetric(nn.Module):
    def forward(self, weight):
        return weight.triu() + weight.triu(1).mT


def symmetric(layer):
    parametrize.register_parametrization(layer, "weight", Symmetric())
    return layer


COMPUTED = [parametrizations.weight_norm, parametrizations.spectral_norm, parametrizations.orthogonal, symmetric]


@pytest.mark.parametrize("computed", COMPUTED, ids=lambda c: c.__name__)
def test_computed_weights_of_the_users_own_network_stay_as_they_were(computed):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), computed(nn.Linear(8, 8)), nn.Linear(8, 3)).eval()
    x, kind = torch.randn(2, 6), type(net[2])
    with torch.no_grad():
        before = net(x)
    found = Model(net, inputs=[spec("x", "N", 6)])
    with torch.no_grad():
        assert torch.equal(net(x), before)
    torch.testing.assert_close(found.network(x), before)
    assert type(net[2]) is kind and parametrize.is_parametrized(net[2], "weight")
    assert type(found.network.get_submodule("2")) is nn.Linear
    net(x).sum().backward()  # and it can be trained on
    assert all(p.grad is not None for p in net[2].parameters())


def test_two_copies_of_one_computed_layer_share_torchs_class_and_are_lifted():
    torch.manual_seed(0)
    layer = parametrizations.weight_norm(nn.Linear(6, 6))
    net = nn.Sequential(layer, nn.Tanh(), copy.deepcopy(layer)).eval()
    assert type(net[0]) is type(net[2])
    found = Model(net, inputs=[spec("x", "N", 6)])
    x = torch.randn(3, 6)
    torch.testing.assert_close(found.network(x), net(x))
