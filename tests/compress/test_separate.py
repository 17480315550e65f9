import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compress.base import Context
from compress.separate import Separate, separate
from export.lift import lift
from export.lifted import evaluating, tensors
from models.errors import UsageError
from models.records import InputSpec, Model

IMAGE = InputSpec(name="x", dtype="float32", dims=("N", 3, 16, 16))


def lifted(module, inputs=(IMAGE,)):
    torch.manual_seed(0)
    found = lift(module.eval(), inputs)
    return Model(network=found.network, inputs=tuple(inputs), outputs=found.outputs)


def rank_one(conv):
    """Give every input channel one spatial filter, mixed into the outputs by one column."""
    with torch.no_grad():
        k = conv.weight[0, 0].numel()
        filters, columns = torch.randn(conv.in_channels, 1, k), torch.randn(conv.in_channels, conv.out_channels, 1)
        conv.weight.copy_((columns @ filters).transpose(0, 1).reshape(conv.weight.shape))
    return conv


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(5, 7, 3, padding=1),
        nn.Conv2d(4, 6, (3, 5), stride=(2, 1), padding=(1, 2), bias=False),
        nn.Conv2d(4, 6, 3, dilation=2, padding="same", padding_mode="circular"),
        nn.Conv1d(5, 7, 5, stride=2, padding=2),
    ],
    ids=repr,
)
def test_a_separable_convolution_is_recovered_exactly(conv):
    torch.manual_seed(0)
    rank_one(conv)
    x = torch.randn(2, conv.in_channels, *[16] * (conv.weight.ndim - 2))
    torch.testing.assert_close(separate(conv)(x), conv(x), rtol=1e-4, atol=1e-4)  # sums of float32 in another order


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(2, 4), st.integers(0, 99))
def test_error_is_the_discarded_singular_values(inputs, outputs, k, seed):
    """Eckart & Young: the squared error of each input channel is the sum of its other squared singular values."""
    torch.manual_seed(seed)
    conv = nn.Conv2d(inputs, outputs, k).double()
    pair = separate(conv)
    near = (pair.pointwise.weight[:, :, 0] * pair.depthwise.weight[:, 0].flatten(1)[None]).view_as(conv.weight)
    s = torch.linalg.svdvals(conv.weight.flatten(2).transpose(0, 1))
    torch.testing.assert_close((near - conv.weight).square().sum(), s[:, 1:].square().sum(), rtol=1e-9, atol=1e-12)


def test_both_halves_get_the_same_scale():
    pair = separate(nn.Conv2d(6, 9, 3))
    spatial = pair.depthwise.weight.flatten(1).norm(dim=1)
    torch.testing.assert_close(spatial, pair.pointwise.weight.flatten(1).norm(dim=0), rtol=1e-4, atol=1e-6)


def test_refuses_a_grouped_convolution():
    with pytest.raises(ValueError, match="groups=8"):
        separate(nn.Conv2d(8, 8, 3, groups=8))


def test_the_pass_replaces_what_gains_and_says_why_not_elsewhere():
    model = lifted(
        nn.Sequential(
            nn.Conv2d(3, 16, 3),
            nn.Conv2d(16, 16, 3),
            nn.Conv2d(16, 16, 3, groups=4),
            nn.Conv2d(16, 16, 1),
            nn.Conv2d(16, 1, 3),
            nn.Conv2d(1, 20, 3),
        )
    )
    outcome = Separate(recover=0)(model, Context())
    assert {note.layer: note.text for note in outcome.skipped} == {
        "0": "it has 3 input channels, fewer than 16 (min_channels)",
        "2": "it is grouped already (groups=4)",
        "3": "it is pointwise: its kernel is 1",
        "4": "with 1 outputs the pair would have no fewer weights",
        "5": "it has 1 input channels, fewer than 16 (min_channels)",
    }
    (note,) = outcome.changed
    assert note.layer == "1" and note.text.startswith("3x3 convolution split in two: 2,304 -> 400 weights, ")
    network = outcome.model.network
    assert [n.target for n in network.graphs["main"].nodes if n.op == "call_module"][1:3] == [
        "1.depthwise",
        "1.pointwise",
    ]
    shapes = {n.target: n.meta["shape"] for n in network.graphs["main"].nodes if n.op == "call_module"}
    assert shapes["1.depthwise"] == shapes["1.pointwise"] == ("N", 16, 12, 12)
    assert isinstance(model.network.get_submodule("1"), nn.Conv2d)  # the one that came in is untouched


def test_a_network_of_separable_convolutions_keeps_its_outputs():
    torch.manual_seed(1)
    module = nn.Sequential(
        rank_one(nn.Conv2d(3, 16, 3)), nn.BatchNorm2d(16), nn.ReLU(), rank_one(nn.Conv2d(16, 20, 3, stride=2))
    )
    model = lifted(module)
    outcome = Separate(min_channels=1, recover=0)(model, Context())
    assert len(outcome.changed) == 2 and outcome.changed[0].text.endswith("100 % of their energy")
    x = tensors(model.inputs, {"N": 3})
    with evaluating(model.network), evaluating(outcome.model.network):
        torch.testing.assert_close(outcome.model.network(*x), model.network(*x), rtol=1e-4, atol=1e-4)


def test_a_convolution_called_twice_is_replaced_wherever_it_is_called():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.conv = nn.Conv2d(3, 16, 1), rank_one(nn.Conv2d(16, 16, 3, padding=1))

        def forward(self, x):
            return self.conv(torch.relu(self.conv(self.stem(x))))

    model = lifted(Twice())
    network = Separate(recover=0)(model, Context()).model.network
    called = [n.target for n in network.graphs["main"].nodes if n.op == "call_module"]
    assert called == ["stem", *["conv.depthwise", "conv.pointwise"] * 2]
    x = tensors(model.inputs, {"N": 2})
    with evaluating(model.network), evaluating(network):
        torch.testing.assert_close(network(*x), model.network(*x), rtol=1e-4, atol=1e-4)


def test_a_network_without_convolutions_is_given_back_with_the_reason():
    model = lifted(nn.Linear(4, 4), (InputSpec(name="x", dtype="float32", dims=("N", 4)),))
    outcome = Separate()(model, Context())
    assert outcome.model is model and not outcome.changed
    assert [n.text for n in outcome.skipped] == [
        "it has no convolution in 1 or 2 dimensions: there is nothing to separate"
    ]


def test_without_data_it_says_that_nothing_was_trained():
    outcome = Separate(min_channels=1)(lifted(nn.Conv2d(3, 16, 3)), Context())
    assert (
        outcome.skipped[-1].text == "separate: not recovered by training, since there is no data: name some with --data"
    )


def test_a_skipped_layer_is_left():
    outcome = Separate(min_channels=1, skip=("fir*",))(lifted(nn.Sequential(nn.Conv2d(3, 16, 3))), Context())
    assert outcome.changed
    layers = nn.Sequential()
    layers.add_module("first", nn.Conv2d(3, 16, 3))
    assert Separate(min_channels=1, skip=("fir*",))(lifted(layers), Context()).skipped[0].text == "skipped, as asked"


@pytest.mark.parametrize(("name", "value"), [("min_channels", 0), ("recover", -1), ("minutes", -0.5)])
def test_values_out_of_range_are_refused(name, value):
    with pytest.raises(UsageError, match=rf"separate: {name} {value} asked, and it must be . or more\."):
        Separate(**{name: value})
