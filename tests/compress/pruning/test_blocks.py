import copy
import functools
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from compress.base import Context
from compress.pruning.branches import branches
from compress.pruning.prune import Prune
from export.checkpoint import load_checkpoint, save
from export.wrap import Model
from models.errors import UsageError
from models.records import Form
from tests.compress.dead_units import count, outputs_of
from tests.compress.networks import NETWORKS, spec

FRAMES = (spec("x", "N", "T", 8),)


def data(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Context(calibration=[{"x": torch.randn(4, *shape, generator=generator).numpy()} for _ in range(2)])


class Residual(nn.Module):
    """Convolutions beside shortcuts with an activation after, one of which is a convolution itself."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.same = nn.ModuleList(self.branch(6, 6, 1) for _ in range(3))
        self.down, self.shortcut = self.branch(6, 8, 2), nn.Conv2d(6, 8, 1, stride=2)
        self.head = nn.Linear(8, 4)

    @staticmethod
    def branch(inputs, outputs, stride):
        first = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)
        return nn.Sequential(first, nn.BatchNorm2d(outputs), nn.ReLU(), nn.Conv2d(outputs, outputs, 3, padding=1))

    def forward(self, x):
        x = F.relu(self.stem(x))
        for branch in self.same:
            x = F.relu(x + branch(x))
        x = F.relu(self.shortcut(x) + self.down(x))
        return self.head(x.mean((2, 3)))


class Layer(nn.Module):
    """Attention and feed-forward, each beside a shortcut, the sums written both ways round."""

    def __init__(self):
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(8), nn.Linear(8, 24)
        self.out, self.wide, self.narrow = nn.Linear(8, 8), nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x):
        q, k, v = self.attention(self.norm(x)).chunk(3, -1)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v))
        return self.narrow(F.gelu(self.wide(x))) + x


class Attentive(nn.Module):
    """Two such layers over a recurrent one, and a form that stops before the head."""

    def __init__(self, layers=2):
        super().__init__()
        self.rnn, self.layers = nn.GRU(8, 8, batch_first=True), nn.ModuleList(Layer() for _ in range(layers))
        self.head = nn.Linear(8, 3)

    def features(self, x):
        x, _ = self.rnn(x)
        for layer in self.layers:
            x = layer(x)
        return x

    def forward(self, x):
        return self.head(self.features(x))


@functools.cache
def model_of(module, inputs, form=None):
    torch.manual_seed(0)
    settings = {"forms": {form: Form(inputs=inputs, outputs=(), method=form)}} if form else {}
    return Model(module().eval(), inputs, **settings)


def silenced(model, *layers):
    """A copy whose branches that end in these layers give zero."""
    network = copy.deepcopy(model.network)
    with torch.no_grad():
        for layer in layers:
            for parameter in network.get_submodule(layer).parameters():
                parameter.zero_()
    return replace(model, network=network)


IMAGE = (spec("x", "N", 3, 8, 8),)


def test_shortcuts_are_found_and_those_that_are_computed_are_not():
    found = branches(model_of(Residual, IMAGE).network)
    assert [branch.name for branch in found] == ["same.0.0", "same.1.0", "same.2.0"]
    assert found[0].layers == ("same.0.0", "same.0.1", "same.0.3") and not any(b.reason for b in found)


def test_attention_and_feed_forward_are_a_branch_each():
    found = branches(model_of(Attentive, FRAMES, "features").network)
    assert [branch.layers for branch in found] == [
        ("layers.0.norm", "layers.0.attention", "layers.0.out"),
        ("layers.0.wide", "layers.0.narrow"),
        ("layers.1.norm", "layers.1.attention", "layers.1.out"),
        ("layers.1.wide", "layers.1.narrow"),
    ]


def test_a_silent_convolutional_block_goes_without_a_trace(tmp_path):
    model = silenced(model_of(Residual, IMAGE), "same.1.3")
    outcome = Prune(kind="blocks", ratio=1 / 3, recover=0)(model, data(3, 8, 8))
    assert [note.layer for note in outcome.changed] == ["same.1.0"] and "was 0.000 of its sum" in outcome.changed[
        0
    ].text
    assert outcome.facts["blocks"] == 3 and outcome.facts["blocks_removed"] == 1
    assert count(outcome.model) == count(model) - (6 * 6 * 9 + 6) * 2 - 12
    torch.testing.assert_close(outputs_of(outcome.model)["y"], outputs_of(model)["y"], rtol=0, atol=0)
    save(outcome.model, tmp_path / "small.pt")
    again = load_checkpoint(tmp_path / "small.pt")
    torch.testing.assert_close(outputs_of(again)["y"], outputs_of(model)["y"], rtol=0, atol=1e-6)


def test_silent_branches_of_attention_go_in_every_form_even_side_by_side():
    model = silenced(model_of(Attentive, FRAMES, "features"), "layers.0.narrow", "layers.1.out", "layers.1.narrow")
    outcome = Prune(kind="blocks", ratio=0.75, recover=0)(model, data(5, 8))
    assert [note.layer for note in outcome.changed] == ["layers.0.wide", "layers.1.norm", "layers.1.wide"]
    assert not [n for n, _ in outcome.model.network.named_modules() if n.startswith("layers.1")]
    for form in (None, "features"):
        for name, value in outputs_of(model, form).items():
            torch.testing.assert_close(outputs_of(outcome.model, form)[name], value, rtol=0, atol=0)


def test_the_branch_that_changes_least_goes():
    model = silenced(model_of(Residual, IMAGE))
    with torch.no_grad():
        model.network.get_submodule("same.2.3").weight.mul_(0.01)
        model.network.get_submodule("same.2.3").bias.zero_()
    outcome = Prune(kind="blocks", ratio=0.4, recover=0)(model, data(3, 8, 8))
    assert [note.layer for note in outcome.changed] == ["same.2.0"]
    assert {note.layer for note in outcome.skipped} == {"same.0.0", "same.1.0"}


class Shared(nn.Module):
    """One branch that runs twice, and one of which a part is used again outside."""

    def __init__(self):
        super().__init__()
        self.twice, self.also, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        x = x + torch.tanh(self.twice(x))
        x = x + torch.tanh(self.twice(x))
        x = x + torch.tanh(self.also(x))
        return self.head(self.also(x))


def test_a_branch_that_runs_twice_goes_twice_and_one_used_elsewhere_stays():
    model = silenced(model_of(Shared, FRAMES), "twice")
    outcome = Prune(kind="blocks", ratio=0.9, recover=0)(model, data(5, 8))
    assert [note.layer for note in outcome.changed] == ["twice"]
    stays = "this residual branch stays: 'also' is also used outside of it, in form 'main'"
    assert [(note.layer, note.text) for note in outcome.skipped] == [("also", stays)]
    torch.testing.assert_close(outputs_of(outcome.model)["y"], outputs_of(model)["y"], rtol=0, atol=0)


def test_layers_that_are_skipped_stay():
    outcome = Prune(kind="blocks", ratio=0.9, recover=0, skip=("same.[12].*",))(
        model_of(Residual, IMAGE), data(3, 8, 8)
    )
    assert [note.layer for note in outcome.changed] == ["same.0.0"]


def test_a_network_without_blocks_or_too_few_of_them_says_so():
    padded = next(n for n in NETWORKS if n.name == "peephole")
    model = Model(padded.module(), padded.inputs)
    outcome = Prune(kind="blocks", recover=0)(model, Context())
    text = "it has no residual branches, x + f(x): there are no blocks to prune"
    assert outcome.model is model and [note.text for note in outcome.skipped] == [text]
    outcome = Prune(kind="blocks", ratio=0.1, recover=0)(model_of(Residual, IMAGE), Context())
    assert [note.text for note in outcome.skipped] == ["its 3 residual branches are too few for ratio 0.1"]


def test_without_data_there_is_nothing_to_measure_on():
    with pytest.raises(UsageError, match=r"prune: kind 'blocks' asked, and there is no data to measure .* --data"):
        Prune(kind="blocks", recover=0)(model_of(Residual, IMAGE), Context())
