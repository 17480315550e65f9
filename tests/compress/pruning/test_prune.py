import copy
import itertools
import re
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compress.base import Context
from compress.pruning.prune import Prune, _rounded
from export.checkpoint import load_checkpoint, save
from export.forms import own_names, parts
from export.lift import lift
from export.lifted import evaluating, tensors
from export.wrap import from_entry
from models import ZOO, find
from models.errors import CompressError, UsageError
from models.records import InputSpec, Model, sizes_of
from tests.compress.dead_units import count, outputs_of
from tests.compress.networks import IMAGE, NETWORKS, spec

VECTOR = (spec("x", "N", 10),)


def lifted(module, inputs=VECTOR):
    found = lift(module.eval(), inputs)
    return Model(network=found.network, inputs=tuple(inputs), outputs=found.outputs)


def chain(*widths):
    layers = []
    for one, other in itertools.pairwise(widths):
        layers += [nn.Linear(one, other), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@pytest.mark.parametrize("name", ZOO)
def test_every_reference_model_shrinks_and_keeps_its_signature(name):
    model = from_entry(find(name), weights=False, tiny=True)
    before = copy.deepcopy(model.network.state_dict())
    outcome = Prune(recover=0)(model, Context())
    torch.testing.assert_close(model.network.state_dict(), before, rtol=0, atol=0)
    assert 0.25 <= 1 - count(outcome.model) / count(model) <= 0.8
    for form in (None, *model.forms):
        want, have = outputs_of(model, form), outputs_of(outcome.model, form, like=model)
        own = own_names(parts(model), form or "main")
        assert {n: v.shape for n, v in want.items() if n not in own} == {
            n: v.shape for n, v in have.items() if n not in own
        }
        assert all(v.isfinite().all() for v in have.values())


def test_a_streaming_model_says_that_its_state_is_narrower():
    model = from_entry(find("gru-fsdd"), weights=False, tiny=True)
    (old,) = [s for s in model.forms["step"].inputs if s.state_of]
    outcome = Prune(recover=0)(model, Context())
    (new,) = [s for s in outcome.model.forms["step"].inputs if s.state_of]
    assert new.dims == ("N", old.dims[1] // 2)
    text = f"state 'h' of form 'step' is {list(new.dims)}, it was {list(old.dims)}"
    assert text in [note.text for note in outcome.changed]


@pytest.mark.parametrize("name", ["shuffle", "one-head", "variational", "padded-shortcut", "last-state", "llama"])
def test_what_was_cut_is_written_and_read_again_without_our_help(name, tmp_path):
    network = next(n for n in NETWORKS if n.name == name)
    smaller = Prune(recover=0)(lifted(network.module(), network.inputs), Context()).model
    save(smaller, tmp_path / "small.pt")
    again = load_checkpoint(tmp_path / "small.pt")
    for name, value in outputs_of(smaller).items():
        torch.testing.assert_close(outputs_of(again)[name], value, rtol=0, atol=1e-6)


def test_units_that_matter_least_go_and_the_others_stay_as_they_are():
    module = chain(10, 8, 4)
    with torch.no_grad():
        module[0].weight[[1, 2, 5]] *= 1e-3
        module[2].weight[:, [1, 2, 5]] *= 1e-3
    kept = [0, 3, 4, 6, 7]
    network = Prune(ratio=3 / 8, recover=0)(lifted(module), Context()).model.network
    torch.testing.assert_close(network.get_submodule("0").weight, module[0].weight[kept])
    torch.testing.assert_close(network.get_submodule("0").bias, module[0].bias[kept])
    torch.testing.assert_close(network.get_submodule("2").weight, module[2].weight[:, kept])


def test_each_layer_says_what_it_lost_or_why_it_lost_nothing():
    outcome = Prune(recover=0, skip=("2",))(lifted(chain(10, 8, 6, 12, 4)), Context())
    assert {n.layer: n.text for n in outcome.changed} == {"4": "weight 12x6 -> 6x6", "6": "weight 4x12 -> 4x6"}
    assert {n.layer: n.text for n in outcome.skipped} == {"0": "'2' is skipped", "2": "'2' is skipped"}
    assert outcome.facts["parameters"] == count(outcome.model) < outcome.facts["parameters_before"]


def test_what_cannot_be_cut_comes_back_as_it_was_with_the_reason():
    model = lifted(nn.Linear(10, 4))
    outcome = Prune()(model, Context())
    assert outcome.model is model and not outcome.changed
    assert [(n.layer, n.text) for n in outcome.skipped] == [("linear", "it is an output, 'y', of the model")]
    outcome = Prune(ratio=0.1)(lifted(chain(10, 8, 4)), Context())
    assert not outcome.changed and outcome.skipped[0].text == "its 8 units are too few for this ratio to take one"
    nothing = Prune()(lifted(nn.Tanh()), Context())
    assert [n.text for n in nothing.skipped] == ["it has no weights: there is nothing to prune"]


def test_layers_that_nobody_calls_are_left():
    class Spare(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.spare = nn.Linear(10, 8), nn.Linear(8, 4), nn.Linear(3, 3)

        def forward(self, x):
            return self.b(torch.relu(self.a(x)))

    assert len(Prune(recover=0)(lifted(Spare()), Context()).changed) == 2


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 400), st.floats(0, 0.99), st.sampled_from([1, 4, 8, 16, 32]), st.sampled_from([1, 3, 8, 24]))
def test_widths_are_rounded_up_only_where_that_costs_little(size, ratio, multiple, row):
    least = size - int(size * ratio + 1e-9)
    kept = _rounded(least, size, row, multiple)
    assert least <= kept <= size and 2 * kept <= 3 * least
    if kept != least:
        assert kept * row % multiple == 0 and kept < size


def test_widths_follow_the_device_or_the_field():
    model = lifted(chain(10, 72, 4))

    def width(device="any", **fields):
        return Prune(recover=0, **fields)(model, Context(device=device)).model.network.get_submodule("0").out_features

    assert width() == 48  # 36 of 72, up to a multiple of 16
    assert width("arm64") == 40 and width("rp2040") == 36
    assert width(multiple=1) == 36 and width(multiple=12) == 36 and width(multiple=64) == 36
    assert (
        width(ratio=0.0) == 72
        and width(ratio=0.99, multiple=1) == 1
        and width(ratio=0.9, min_units=20, multiple=1) == 20
    )


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"ratio": 1.0}, "prune: ratio 1 asked, and it is the share removed: 0 or more, and less than 1."),
        ({"ratio": -0.1}, "prune: ratio -0.1 asked, and it is the share removed: 0 or more, and less than 1."),
        ({"ratio": float("nan")}, "prune: ratio nan asked"),
        ({"min_units": 0}, "prune: min_units 0 asked, and it must be 1 or more."),
        ({"multiple": -1}, "prune: multiple -1 asked, and it must be 0 or more."),
        ({"recover": -1}, "prune: recover -1 asked, and it must be 0 or more."),
        ({"minutes": -1.0}, "prune: minutes -1.0 asked, and it must be 0 or more."),
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(fields, text):
    with pytest.raises(UsageError, match=re.escape(text)):
        Prune(**fields)


def test_single_weights_become_zero_and_stay_so_while_the_others_are_trained():
    model = lifted(chain(10, 32, 4))
    batches = [{"x": x.numpy()} for x in torch.randn(6, 16, 10, generator=torch.Generator().manual_seed(0))]
    outcome = Prune(kind="weights", ratio=0.75, recover=20)(model, Context(calibration=batches))
    pruned = dict(outcome.model.network.named_parameters())
    at_once = dict(Prune(kind="weights", ratio=0.75, recover=0)(model, Context()).model.network.named_parameters())
    for name in ("0.weight", "2.weight"):
        assert int((pruned[name] == 0).sum()) == pruned[name].numel() * 3 // 4
        assert torch.equal(pruned[name] == 0, at_once[name] == 0)
        assert not torch.equal(pruned[name], at_once[name])
    assert outcome.changed[0].text == "240 of 320 weights set to zero"
    assert "as large and as slow as before" in outcome.skipped[0].text and outcome.facts["steps"] == 20


def test_recovery_brings_a_pruned_network_closer_to_its_teacher():
    torch.manual_seed(0)
    model = lifted(chain(10, 64, 64, 4))
    generator = torch.Generator().manual_seed(0)
    batches = [{"x": x.numpy()} for x in torch.randn(20, 32, 10, generator=generator)]
    (x,) = tensors((InputSpec(name="x", dtype="float32", dims=("N", 10)),), {"N": 200})

    def error(recover):
        pruned = Prune(recover=recover)(model, Context(calibration=batches)).model.network
        with evaluating(pruned), evaluating(model.network):
            return float((pruned(x) - model.network(x)).square().mean())

    assert error(150) < error(0) / 2


def test_an_untouched_copy_comes_in_and_the_same_weights_come_out():
    network = next(n for n in NETWORKS if n.name == "dense")
    model = lifted(network.module(), IMAGE)
    one, other = (Prune(recover=0)(model, Context()).model.network.state_dict() for _ in range(2))
    torch.testing.assert_close(one, other, rtol=0, atol=0)
    controls = [
        Prune(recover=0, importance="random")(model, Context(seed=s)).model.network.state_dict() for s in (0, 1)
    ]
    assert any(not torch.equal(a, b) for a, b in zip(*(c.values() for c in controls), strict=True))


def test_shapes_in_the_graph_follow():
    model = lifted(chain(10, 16, 4))
    graph = Prune(recover=0)(model, Context()).model.network.graphs["main"]
    shapes = {n.target: n.meta["shape"] for n in graph.nodes if n.op == "call_module"}
    assert shapes["0"] == ("N", 8) and shapes["2"] == ("N", 4)
    assert sizes_of(replace(model)) == {"N": 1}


def test_a_network_whose_outputs_would_change_is_not_given(monkeypatch):
    model = lifted(chain(10, 16, 4))
    monkeypatch.setattr("compress.pruning.units.Border.given", lambda *given: None)  # as if a rule were wrong
    with pytest.raises(CompressError, match=r"prune: after the cut output 'y' has the shape \['N', 2\], .* \['N', 4\]"):
        Prune(recover=0)(model, Context())


class Pieces(nn.Module):
    """Two pieces of one layer, of different length, that one layer reads; and heads cut from one projection."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(10, 32), nn.Linear(32, 4)
        self.qkv = nn.Linear(10, 48)

    def forward(self, x):
        one, other = self.a(x).split((8, 24), -1)
        q, k, v = self.qkv(x).view(x.shape[0], 4, 12).split(4, -1)
        weights = (q @ k.transpose(-1, -2)).sum((1, 2), keepdim=True) * v
        return self.b(torch.cat([torch.relu(one), torch.tanh(other)], -1)) + weights.sum(1)


@pytest.mark.parametrize("rounds", [1, 2])
def test_groups_that_lie_in_the_same_weights_are_told_apart(rounds):
    network = Prune(recover=0, rounds=rounds, multiple=1)(lifted(Pieces()), Context()).model.network
    splits = [node.args[1] for node in network.graphs["main"].nodes if "split" in str(node.target)]
    assert [4, 12] in splits
    assert network.get_submodule("qkv").out_features == 24
