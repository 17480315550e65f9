"""Importances that are measured on data, and batch normalization's scale, against answers known without our code."""

import copy
import functools
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from compress.base import Context
from compress.contract import check
from compress.pruning.axes import resolve
from compress.pruning.importance import IMPORTANCES, score_units
from compress.pruning.prune import Prune
from compress.pruning.units import analyse, groups_of
from export.lift import lift
from models.errors import CompressError, TrainingError, UsageError
from models.records import Model, example, sizes_of
from tests.compress.networks import NETWORKS, spec
from tests.compress.small_tasks import FRAMES, Attending, Plain, Recurrent, convolutional, digits, same
from tests.compress.small_tasks import lifted as lifted_digits

VECTOR = (spec("x", "N", 5),)
MEASURED = ("taylor", "activation")


def lifted(module, inputs=VECTOR):
    found = lift(module.eval(), inputs)
    return Model(network=found.network, inputs=tuple(inputs), outputs=found.outputs)


def network_named(name):
    """A copy of its own."""
    model = lifted_once(name)
    return replace(model, network=copy.deepcopy(model.network))


@functools.cache
def lifted_once(name):
    network = next(n for n in NETWORKS if n.name == name)
    return lifted(network.module(), network.inputs)


def inputs_of(model, count=3):
    sizes = sizes_of(model, N=4)
    return Context(calibration=[example(model.inputs, sizes, seed=seed) for seed in range(count)])


def scores(model, kind, context):
    """By the layer of each group."""
    ties = analyse(model)
    found = [group for group in groups_of(ties) if not group.reason]
    scored, notes = score_units(model, ties, [group.axis for group in found], kind, context)
    return {group.layer: scored[group.axis] for group in found}, notes


def labelled(batches):
    return Context(task=Plain(train=batches))


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_taylor_is_what_the_loss_loses_to_first_order():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 3))
    batches = [({"x": drawn(6, 5, seed=s).numpy()}, drawn(6, 3, seed=s + 9)) for s in range(2)]
    a, b, c, d = (t.detach() for t in module.parameters())
    want = torch.zeros(7)
    for inputs, target in batches:  # by hand: dL/dy = 2 (y - t) / 18
        hidden = torch.from_numpy(inputs["x"]) @ a.T + b
        back = 2 * (hidden @ c.T + d - target) / 18
        want += (back.T @ hidden * c).sum(0).abs() / len(batches)
    found, notes = scores(lifted(module), "taylor", labelled(batches))
    np.testing.assert_allclose(found["0"], want.double().numpy(), rtol=1e-5)
    assert notes == ()


def test_without_labels_taylor_is_of_the_mean_square_of_the_outputs():
    module = nn.Sequential(nn.Linear(5, 4, bias=False), nn.Linear(4, 1, bias=False))
    x = drawn(6, 5)
    a, c = (t.detach() for t in module.parameters())
    hidden = x @ a.T
    y = hidden @ c.T
    share = (hidden * c * y).sum(0) / y.square().sum()  # of the output's energy that goes with each unit
    found, _ = scores(lifted(module), "taylor", Context(calibration=[{"x": x.numpy()}]))
    np.testing.assert_allclose(found["0"], (2 * share).abs().double().numpy(), rtol=1e-4)


def test_activation_is_the_norm_of_what_a_unit_adds():
    module = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
    x = drawn(6, 5)
    with torch.no_grad():
        hidden = module[:2](x)
        added = torch.stack([torch.outer(hidden[:, j], module[2].weight[:, j]).norm() for j in range(7)])
    found, _ = scores(lifted(module), "activation", Context(calibration=[{"x": x[:2].numpy()}, {"x": x[2:].numpy()}]))
    np.testing.assert_allclose(found["0"], (added / added.mean()).double().numpy(), rtol=1e-5)


@pytest.mark.parametrize("kind", MEASURED)
def test_the_layers_inside_a_stack_of_recurrent_ones_are_seen(kind):
    class Stack(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.LSTM(5, 6, 2, batch_first=True, bidirectional=True), nn.Linear(12, 3)

        def forward(self, x):
            return self.head(self.rnn(x)[0])

    module = Stack()
    with torch.no_grad():  # unit 2 of the first layer's forward direction is heeded by nobody
        module.rnn.weight_hh_l0[:, 2] = 0
        module.rnn.weight_ih_l1[:, 2] = module.rnn.weight_ih_l1_reverse[:, 2] = 0
    model = lifted(module, (spec("x", "N", "T", 5),))
    ties = analyse(model)
    axis = resolve(ties.tensor(model.network.rnn.weight_hh_l0)[1])
    found, notes = score_units(model, ties, [axis], kind, inputs_of(model))
    assert notes == () and found[axis].argmin() == 2 and found[axis][2] == 0 < np.delete(found[axis], 2).min()


def silence(model, group):
    """Set everything to zero that reads unit 1 of a group; None where it is not read by weights alone."""
    readers = [place for place in group.places if not place.endswith("[0]") and place.split("[")[0].endswith("weight")]
    with torch.no_grad():
        for place in readers:
            name, _, position = place.rstrip("]").rpartition("[")
            owner, _, attribute = name.rpartition(".")
            getattr(model.network.get_submodule(owner), attribute).select(int(position), 1).zero_()


@pytest.mark.parametrize("kind", MEASURED)
@pytest.mark.parametrize(
    ("name", "layer"), [("dueling", "conv.0"), ("mixer", "channels.0"), ("llama", "gate"), ("one-head", "value")]
)
def test_a_unit_that_nobody_heeds_matters_least(kind, name, layer):
    model = network_named(name)
    (group,) = [group for group in groups_of(analyse(model)) if group.layer == layer and not group.reason]
    silence(model, group)
    found, _ = scores(model, kind, inputs_of(model))
    assert abs(found[layer][1]) <= 1e-12 < np.delete(found[layer], 1).min()


def permuted(model, group, order):
    """The same network with the units of a group in another order."""
    other = replace(model, network=copy.deepcopy(model.network))
    named = dict(other.network.named_parameters()) | dict(other.network.named_buffers())
    with torch.no_grad():
        for place in group.places:
            name, _, position = place.rstrip("]").rpartition("[")
            named[name].copy_(named[name].index_select(int(position), torch.from_numpy(order)))
    return other


@pytest.mark.parametrize("kind", [kind for kind in IMPORTANCES if kind != "random"])
@pytest.mark.parametrize(("name", "layer"), [("mixer", "channels.0"), ("one-head", "value"), ("llama", "gate")])
def test_units_in_another_order_have_the_same_scores(kind, name, layer):
    model = network_named(name)
    found = [group for group in groups_of(analyse(model)) if not group.reason]
    group = next((group for group in found if group.layer == layer), found[0])
    order = np.random.default_rng(0).permutation(group.size)
    one, _ = scores(model, kind, inputs_of(model))
    other, _ = scores(permuted(model, group, order), kind, inputs_of(model))
    np.testing.assert_allclose(other[group.layer], one[group.layer][order], rtol=1e-3, atol=1e-9)


def test_the_scale_of_batch_normalization_is_read_and_other_groups_fall_back():
    module = convolutional(width=6)
    with torch.no_grad():
        module[1].weight.copy_(torch.tensor([0.5, -2.0, 0.0, 1.0, 3.0, -0.1]))
    found, notes = scores(lifted_digits(module), "bn-scale", Context())
    np.testing.assert_allclose(found["0"], [0.5, 2.0, 0.0, 1.0, 3.0, 0.1], rtol=1e-6)
    np.testing.assert_allclose(found["3"], module[4].weight.detach().abs().numpy())
    assert notes == ()
    model = network_named("one-head")
    found, (note,) = scores(model, "bn-scale", Context())
    assert note.text == "importance 'bn-scale' says nothing of 'query', 'value': scored by l2"
    assert {name: list(values) for name, values in found.items()} == {
        name: list(values) for name, values in scores(model, "l2", Context())[0].items()
    }


def test_channels_that_are_normalized_twice_have_the_mean_scale():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.one, self.other = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm1d(16)
            self.head = nn.Linear(16, 2)

        def forward(self, x):
            x = F.adaptive_avg_pool2d(self.one(self.conv(x)), 2)
            return self.head(self.other(x.flatten(1)))

    module = Twice()
    with torch.no_grad():
        module.one.weight.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
        module.other.weight.copy_(torch.arange(16.0))
    found, _ = scores(lifted(module, (spec("x", "N", 3, 8, 8),)), "bn-scale", Context())
    each = [(gamma + sum(range(4 * i, 4 * i + 4))) / 5 for i, gamma in enumerate([1, 2, 3, 4])]
    np.testing.assert_allclose(found["conv"], each, rtol=1e-6)


@pytest.mark.parametrize("kind", MEASURED)
@pytest.mark.parametrize("module", [convolutional, Recurrent, Attending], ids=lambda m: m.__name__)
def test_measuring_leaves_no_trace_and_repeats_itself(kind, module):
    frames = module is not convolutional
    model = lifted_digits(module(), (FRAMES,)) if frames else lifted_digits(module())
    model.network.train()
    next(model.network.parameters()).requires_grad_(False)
    before = copy.deepcopy(model.network)
    task = digits(frames=frames)
    torch.manual_seed(3)
    one, _ = scores(model, kind, Context(task=task, seed=1))
    drawn_after = torch.rand(1)
    other, _ = scores(model, kind, Context(task=task, seed=1))
    torch.manual_seed(3)
    assert torch.equal(drawn_after, torch.rand(1))
    assert same(model.network, before) and all(m.training for m in model.network.modules())
    assert [p.requires_grad for p in model.network.parameters()] == [p.requires_grad for p in before.parameters()]
    assert all(p.grad is None for p in model.network.parameters())
    for layer, values in one.items():
        np.testing.assert_array_equal(values, other[layer])


@pytest.mark.parametrize("kind", MEASURED)
def test_no_data_is_refused_with_the_way_out(kind):
    with pytest.raises(
        UsageError, match=re.escape(f"importance '{kind}' is measured on data, and there is none. Name")
    ):
        Prune(importance=kind, recover=0)(network_named("one-head"), Context())


def test_data_that_does_not_fit_the_loss_is_named():
    model = lifted(nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)))
    batches = [({"x": drawn(6, 5).numpy()}, torch.full((6,), 8))]
    with pytest.raises(TrainingError, match=r"importance 'taylor', batch x float32\[6, 5\]: Target 8 is out of bounds"):
        scores(model, "taylor", labelled(batches))


def test_a_weight_that_is_no_number_is_found():
    module = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
    with torch.no_grad():
        module[0].weight[0, 0] = float("nan")
    with pytest.raises(CompressError, match="importance 'l2' gives numbers that are not finite for a group of 7 units"):
        scores(lifted(module), "l2", Context())


def test_a_name_that_is_none_is_refused_at_once():
    text = "prune: no importance named 'tailor'. Did you mean 'taylor'? Your own is named as pkg.module:function."
    with pytest.raises(UsageError, match=re.escape(text)):
        Prune(importance="tailor")
    with pytest.raises(UsageError, match=r"--importance 'nowhere\.at:all': there is no module 'nowhere'"):
        Prune(importance="nowhere.at:all")


def test_the_contract_holds_for_all_of_it_at_once():
    check(
        Prune(importance="taylor", scope="network", ratio=0.25, recover=5, multiple=1),
        lifted_digits(Recurrent(), (FRAMES,)),
        Context(task=digits(frames=True), calibration=[batch for batch, _ in list(digits(frames=True).train)[:4]]),
    )
