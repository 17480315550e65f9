"""Initial states of recurrent layers: their units go with the layer's, the number of layers stays."""

import pytest
import torch
from torch import nn

from compress.pruning.units import groups
from export.lift import lift
from models.records import InputSpec, Model
from tests.compress.dead_units import dead_and_cut, outputs_of

X = InputSpec(name="x", dtype="float32", dims=("N", "T", 10))
Z = InputSpec(name="z", dtype="float32", dims=("N", 6))
K = InputSpec(name="k", dtype="int64", dims=("N",), high=5)


class Learned(nn.Module):
    """A state that is a parameter, spread over the batch."""

    def __init__(self, spread, *, layers, bidirectional):
        super().__init__()
        ways = 1 + bidirectional
        self.rnn = nn.GRU(10, 24, layers, bidirectional=bidirectional, batch_first=True)
        self.state, self.spread = nn.Parameter(torch.randn(layers * ways, 1, 24)), spread
        self.out = nn.Linear(24 * ways, 3)

    def forward(self, x):
        return self.out(self.rnn(x, self.spread(self.state, x.size(0)))[0])


class FromLinear(nn.Module):
    """Both states of two layers from one linear layer."""

    def __init__(self):
        super().__init__()
        self.start, self.rnn, self.out = nn.Linear(6, 96), nn.LSTM(10, 24, 2, batch_first=True), nn.Linear(24, 3)

    def forward(self, x, z):
        h, c = self.start(z).view(-1, 2, 2, 24).permute(2, 1, 0, 3).contiguous().unbind(0)
        return self.out(self.rnn(x, (h, c))[0])


class FromTable(nn.Module):
    """A speaker's state for each of two layers, looked up."""

    def __init__(self):
        super().__init__()
        self.start, self.rnn, self.out = nn.Embedding(5, 48), nn.GRU(10, 24, 2, batch_first=True), nn.Linear(24, 3)

    def forward(self, x, k):
        return self.out(self.rnn(x, self.start(k).view(x.size(0), 2, 24).transpose(0, 1).contiguous())[0])


class OfAFixedBatch(nn.Module):
    """A state for each example of a batch that is written down."""

    def __init__(self):
        super().__init__()
        self.rnn, self.out = nn.GRU(10, 24, batch_first=True), nn.Linear(24, 3)
        self.state = nn.Parameter(torch.randn(1, 4, 24))

    def forward(self, x):
        return self.out(self.rnn(x, self.state)[0]).mean((0, 1))


def expanded(state, batch):
    return state.expand(-1, batch, -1).contiguous()


def repeated(state, batch):
    return state.repeat(1, batch, 1)


NETWORKS = {
    "expanded, two layers": (lambda: Learned(expanded, layers=2, bidirectional=False), (X,), "state"),
    "repeated, both ways": (lambda: Learned(repeated, layers=1, bidirectional=True), (X,), "state"),
    "expanded, two layers both ways": (lambda: Learned(expanded, layers=2, bidirectional=True), (X,), "state"),
    "from a linear layer": (FromLinear, (X, Z), "start.weight"),
    "from a table": (FromTable, (X, K), "start.weight"),
    "of a fixed batch": (OfAFixedBatch, (InputSpec(name="x", dtype="float32", dims=(4, "T", 10)),), "state"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_units_of_an_initial_state_go_with_those_of_the_layer_and_its_layers_stay(name):
    torch.manual_seed(0)
    build, inputs, start = NETWORKS[name]
    found = lift(build().eval(), inputs)
    model = Model(network=found.network, inputs=inputs, outputs=found.outputs)
    free = [group for group in groups(model) if not group.reason]
    assert {group.size for group in free} == {24}
    assert any(place.startswith(start) for group in free for place in group.places)
    dead, smaller = dead_and_cut(model)
    assert smaller.network.rnn.hidden_size == 12
    want = outputs_of(dead)["y"]
    torch.testing.assert_close(outputs_of(smaller)["y"], want, rtol=0, atol=2e-5)  # sums round in another order


def test_the_reason_is_told():
    found = lift(Learned(expanded, layers=2, bidirectional=False).eval(), (X,))
    reasons = {
        place: group.reason
        for group in groups(Model(network=found.network, inputs=(X,), outputs=found.outputs))
        for place in group.places
    }
    assert reasons["state[0]"] == "GRU 'rnn' has so many layers and directions"
