import functools

import pytest
import torch
from torch import nn

from compress.pruning.units import RULES, groups
from export.from_onnx import lift_onnx
from export.lift import lift
from export.to_onnx import to_onnx
from models.records import InputSpec, Model
from tests.compress.dead_units import count, dead_and_cut, outputs_of
from tests.compress.networks import FRAMES, IMAGE, NETWORKS, Network, spec

BY_NAME = {network.name: network for network in NETWORKS}
EXACT = {"rtol": 0, "atol": 2e-5}  # float32 sums over other lengths round in another order; outputs are of order 1


@functools.cache
def lifted(name):
    return lift_module(BY_NAME[name].module(), BY_NAME[name].inputs)


def lift_module(module, inputs):
    found = lift(module.eval(), inputs)
    return Model(network=found.network, inputs=tuple(inputs), outputs=found.outputs)


def by_place(model, **settings):
    return {place: group for group in groups(model, **settings) for place in group.places}


def test_there_are_networks_of_many_kinds():
    assert len(BY_NAME) == len(NETWORKS) >= 28


@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: n.name)
def test_dead_units_leave_no_trace_when_they_are_cut(network: Network):
    model = lifted(network.name)
    dead, smaller = dead_and_cut(model, skip=network.averaged)
    for add in (0, 3):
        want, have = outputs_of(dead, add=add), outputs_of(smaller, add=add, like=dead)
        assert want.keys() == have.keys()
        for name in want:
            assert want[name].abs().max() > 1e-3  # else nothing would be shown
            torch.testing.assert_close(have[name], want[name], **EXACT)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: n.name)
def test_a_quarter_to_four_fifths_of_the_parameters_go_at_ratio_one_half(network: Network):
    model = lifted(network.name)
    _, smaller = dead_and_cut(model)
    assert 0.25 <= 1 - count(smaller) / count(model) <= 0.8
    assert [(s.name, s.dims) for s in smaller.outputs] == [(s.name, s.dims) for s in model.outputs]
    assert smaller.inputs == model.inputs


def test_a_residual_ties_what_it_adds():
    found = by_place(lifted("inverted"))
    assert found["stem.0.weight[0]"] == found["blocks.0.4.0.weight[0]"] == found["head.weight[1]"]
    assert found["blocks.0.0.0.weight[0]"] == found["blocks.0.2.0.weight[0]"] != found["blocks.1.0.0.weight[0]"]


def test_heads_go_whole_with_query_key_value_and_output():
    found = [g for g in groups(lifted("tied-transformer")) if "qkv.weight[0]" in g.places]
    assert [(g.size, g.reason) for g in found if not g.reason] == [(4, "")]
    assert "out.weight[1]" in found[0].places
    assert {g.reason for g in found if g.reason} == {"it is the inside of 4 units that go as a whole"}


def test_tied_embeddings_are_one_table():
    found = by_place(lifted("tied-transformer"))
    assert found["token.weight[1]"] == found["place[2]"] == found["norm3.weight[0]"]
    assert (
        found["token.weight[0]"].reason == "it is an output, 'y', of the model"
        or "looks rows up" in found["token.weight[0]"].reason
    )


def test_hidden_units_take_all_gates_with_them_and_each_direction_has_its_own():
    found = by_place(lifted("conv-recurrent"))
    assert found["rnn.weight_hh_l0[1]"].size == 12
    assert found["rnn.weight_hh_l0[1]"] != found["rnn.weight_hh_l0_reverse[1]"]
    assert "rnn.weight_hh_l0[0]" in found["rnn.weight_hh_l0[1]"].places
    assert "rnn.weight_ih_l1[1]" in found["rnn.weight_hh_l0[1]"].places


def test_layers_whose_last_states_are_read_as_one_tensor_share_their_units():
    found = by_place(lifted("last-state"))
    assert found["rnn.weight_hh_l0[1]"] == found["rnn.weight_hh_l1_reverse[1]"]


def test_outputs_and_inputs_say_what_they_are():
    found = by_place(lifted("squeeze-excite"))
    assert found["head.weight[0]"].reason == "it is an output, 'y', of the model"
    assert found["conv.0.weight[1]"].reason == "it is an input, 'x', of the model"
    assert str(found["out.weight[0]"]) == "out: 8 units in out.weight[0], out.bias[0], head.weight[1]; can be cut"
    assert str(found["head.weight[0]"]).endswith("; kept: it is an output, 'y', of the model")


def test_a_skipped_layer_keeps_what_it_gives_and_takes():
    found = by_place(lifted("squeeze-excite"), skip=["dow*"])
    assert found["down.weight[0]"].reason == found["down.weight[1]"].reason == "'dow*' is skipped"
    assert found["conv.0.weight[0]"].reason == "'dow*' is skipped"
    assert not found["out.weight[0]"].reason


class Asks(nn.Module):
    """One layer, then an operation, then another layer."""

    def __init__(self, operation, width=12):
        super().__init__()
        self.a, self.b, self.operation = nn.Linear(10, 12), nn.Linear(width, 4), operation

    def forward(self, x):
        return self.b(self.operation(torch.relu(self.a(x))))


@pytest.mark.parametrize(
    ("operation", "kind", "why"),
    [
        (lambda x: x.softmax(-1), "softmax", "runs over it"),
        (lambda x: x.cumsum(-1), "cumsum", "runs over it"),
        (lambda x: x.amax(-1, keepdim=True) + x, "amax", "runs over it"),
        (lambda x: x.flip(-1), "flip", "moves what lies along it"),
        (lambda x: x[..., ::2].repeat(1, 1, 2), "slice", "takes computed or scattered indices of it"),
        (lambda x: torch.stack(x.unbind(-1), -1), "unbind", "gives a tensor for each index of it"),
        (lambda x: x[..., torch.arange(11, -1, -1)], "index", "looks positions up in it"),
        (lambda x: x.roll(1, -1), "roll", "moves what lies along it"),
        (lambda x: nn.functional.pad(x, (1, -1)), "pad", "pads or crops it"),
        (
            lambda x: x.unflatten(-1, (3, 4)).flatten(-2) + torch.cat([x[..., :5], x[..., 5:]], -1),
            "slice",
            "takes it apart where it is not put together",
        ),
        (
            lambda x: x.unflatten(-1, (3, 4)).transpose(-1, -2).flatten(-2) + x,
            "add",
            "ties what is put together in different ways",
        ),
    ],
    ids=lambda v: "" if callable(v) else v,
)
def test_what_cannot_be_followed_is_kept_and_says_which_operation_ties_it(operation, kind, why):
    model = lift_module(Asks(operation), FRAMES)
    reason = by_place(model)["a.weight[0]"].reason
    assert reason.startswith(f"'{kind}' (") and reason.endswith(why)
    dead, same = dead_and_cut(model)
    torch.testing.assert_close(outputs_of(same), outputs_of(dead))


def test_a_custom_layer_without_a_rule_freezes_what_it_touches():
    model = lift_module(nn.Sequential(nn.Linear(10, 12), nn.ReLU(), nn.Linear(12, 4)), (spec("x", "N", 10),))
    model.network.set_submodule("0", Doubled(model.network.get_submodule("0")))
    (reason,) = {g.reason for g in groups(model) if "2.weight[1]" in g.places}
    assert reason == "Doubled '0' makes it"


class Doubled(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return 2 * self.inner(x)


def test_a_state_is_cut_with_the_units_that_make_it():
    class Step(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.head = nn.GRUCell(10, 16), nn.Linear(16, 4)

        def forward(self, x, h):
            h = self.cell(x, h)
            return self.head(h), h

    inputs = (spec("x", "N", 10), InputSpec(name="h", dtype="float32", dims=("N", 16), state_of="output_1"))
    model = lift_module(Step(), inputs)
    dead, smaller = dead_and_cut(model)
    assert smaller.inputs[1].dims == ("N", 8) and smaller.outputs[1].dims == ("N", 8)
    torch.testing.assert_close(outputs_of(smaller, like=dead)["output_0"], outputs_of(dead)["output_0"], **EXACT)
    kept = lift_module(Step(), (inputs[0], spec("h", "N", 16)))
    assert not [g for g in groups(kept) if not g.reason]


def test_layers_of_one_recurrent_module_keep_the_same_number():
    class Deep(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.GRU(10, 12, 2, batch_first=True)

        def forward(self, x):
            return self.rnn(x)[0]

    model = lift_module(Deep(), FRAMES)  # the second layer's units are the output, so the first keeps its own too
    assert not [g for g in groups(model) if not g.reason]
    assert by_place(model)["rnn.weight_hh_l0[1]"].reason == "it is an output, 'y', of the model"


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")
def test_a_projected_layer_keeps_more_units_than_it_gives():
    class Projected(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.LSTM(10, 16, proj_size=6, batch_first=True)

        def forward(self, x):
            return self.rnn(x)[0]

    dead, smaller = dead_and_cut(lift_module(Projected(), FRAMES), ratio=0.9)
    assert (smaller.network.rnn.hidden_size, smaller.network.rnn.proj_size) == (7, 6)
    torch.testing.assert_close(outputs_of(smaller)["y"], outputs_of(dead)["y"], **EXACT)


def test_attributes_follow_so_that_a_layer_can_be_made_again():
    _, smaller = dead_and_cut(lifted("grouped"))
    grouped, norm = smaller.network.grouped, smaller.network.norm
    assert (grouped.in_channels, grouped.out_channels, grouped.groups) == (8, 8, 2)
    assert (norm.num_groups, norm.num_channels) == (2, 8)
    _, smaller = dead_and_cut(lifted("volume"))
    assert (smaller.network.up.in_channels, smaller.network.up.out_channels) == (6, 4)
    assert smaller.network.slope.num_parameters == 4 and smaller.network.norm.num_features == 6
    _, smaller = dead_and_cut(lifted("last-state"))
    assert (smaller.network.rnn.input_size, smaller.network.rnn.hidden_size) == (6, 8)
    assert smaller.network.table.embedding_dim == 6 and smaller.network.head.in_features == 16
    _, smaller = dead_and_cut(lifted("convnext"))
    assert smaller.network.norm.normalized_shape == (6,)


def test_attention_keeps_the_scale_it_was_trained_with():
    _, smaller = dead_and_cut(lifted("one-head"))
    (node,) = [n for n in smaller.network.graphs["main"].nodes if "scaled_dot" in str(n.target)]
    assert node.kwargs["scale"] == 16**-0.5
    assert smaller.network.query.out_features == 8


def test_a_network_that_exists_only_as_onnx_loses_the_same_units():
    model = lifted("tied-transformer")
    dead, smaller = dead_and_cut(lift_onnx(to_onnx(model)))
    positions = 64 * 8  # a constant in ONNX, a parameter in torch
    assert count(smaller) == count(dead_and_cut(model)[1]) - positions
    for name, value in outputs_of(dead).items():
        torch.testing.assert_close(outputs_of(smaller)[name], value, **EXACT)


def test_a_network_shown_only_images_of_one_size_is_walked_at_that_size():
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 14 * 14, 4))
    assert not by_place(lift_module(module, IMAGE))["0.weight[0]"].reason


def test_a_call_that_its_rule_was_not_written_for_is_frozen_like_an_unknown_one(monkeypatch):
    def puzzled(call):
        raise IndexError

    monkeypatch.setitem(RULES, "relu", puzzled)
    monkeypatch.setattr("compress.pruning.units.computes_pointwise", lambda node: False)
    assert by_place(lift_module(Asks(lambda x: x), FRAMES))["a.weight[0]"].reason == "'relu' (relu) has no rule"
