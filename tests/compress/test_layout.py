import torch
from torch import nn

from compress.layout import channels_last
from tests.compress.small_tasks import convolutional


class Viewing(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)

    def forward(self, x):
        return self.conv(x).view(x.shape[0], -1)


def last(network):
    weights = [p for p in network.parameters() if p.ndim == 4 and p.shape[1] > 1]
    return [weight.is_contiguous(memory_format=torch.channels_last) for weight in weights]


def test_images_lie_with_channels_last_and_answers_and_modes_stay():
    network, x = convolutional(), torch.randn(2, 1, 8, 8)
    before = network(x)
    network.train()
    channels_last(network, [x])
    assert network.training and last(network) == [True]
    torch.testing.assert_close(network.eval()(x), before)


def test_a_network_that_does_not_run_so_is_left_as_it_is():
    network, x = Viewing(), torch.randn(2, 1, 8, 8)
    channels_last(network, [x])
    assert network.conv.weight.is_contiguous() and network(x).shape == (2, 144)
    channels_last(network, [])  # what is wrong with the data is for training to say


def test_a_tensor_of_five_dimensions_leaves_the_layout_as_it_is():
    network, x = Viewing(), torch.randn(2, 1, 8, 8)
    network.register_buffer("anchors", torch.zeros(1, 3, 1, 1, 2))
    channels_last(network, [x])
    assert network.conv.weight.is_contiguous() and network.training
