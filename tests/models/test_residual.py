"""The residual block against its equation; resnet20 against the counts of the paper; vgg-small by hand."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from models import resnet8, resnet20, vgg_small
from models.residual import Block


def randomized(module):
    """The module with other running statistics, scales and shifts than those a normalization begins with."""
    torch.manual_seed(0)
    with torch.no_grad():
        for norm in (m for m in module.modules() if isinstance(m, nn.BatchNorm2d)):
            for values in (norm.weight, norm.running_var):
                values.uniform_(0.5, 2)
            for values in (norm.bias, norm.running_mean):
                values.normal_()
    return module.double().eval()


def normalized(x, norm):
    """(x - mean) / sqrt(variance + eps) * scale + shift, channel by channel."""
    mean, variance, scale, shift = (
        v[:, None, None] for v in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    return (x - mean) / (variance + norm.eps).sqrt() * scale + shift


def convolved(x, conv):
    """A convolution as the sum over its window, of windows that `unfold` lays out; with or without bias."""
    (stride, _), (padding, _) = conv.stride, conv.padding
    windows = F.unfold(x, conv.kernel_size, padding=padding, stride=stride)
    side = (x.shape[-1] + 2 * padding - conv.kernel_size[0]) // stride + 1
    found = (conv.weight.flatten(1) @ windows).unflatten(-1, (side, side))
    return found if conv.bias is None else found + conv.bias[:, None, None]


@pytest.mark.parametrize("bias", [False, True], ids=["the paper's", "MLPerf Tiny's"])
@pytest.mark.parametrize(("inputs", "outputs", "stride"), [(4, 4, 1), (4, 6, 2)])
@torch.no_grad()
def test_a_block_is_its_equation(inputs, outputs, stride, bias):
    block = randomized(Block(inputs, outputs, stride=stride, activation="relu", bias=bias))
    x = torch.randn(2, inputs, 8, 8, dtype=torch.float64)
    inner = normalized(convolved(x, block.conv1), block.norm1).clamp(min=0)
    branch = normalized(convolved(inner, block.conv2), block.norm2)
    if stride == 1:
        shortcut = x
    elif bias:
        shortcut = convolved(x, block.shortcut)
    else:
        shortcut = normalized(convolved(x, block.shortcut[0]), block.shortcut[1])
    torch.testing.assert_close(block(x), (branch + shortcut).clamp(min=0))


@pytest.mark.parametrize("blocks", [2, 5])
@torch.no_grad()
def test_blocks_that_add_nothing_pass_on_what_they_are_given(blocks):
    chain = nn.Sequential(*(Block(4, 4, stride=1, activation="relu", bias=False) for _ in range(blocks))).eval()
    for block in chain:
        nn.init.zeros_(block.norm2.weight)
    x = torch.rand(2, 4, 8, 8)
    torch.testing.assert_close(chain(x), x, rtol=0, atol=0)


def layers_of(network, kernel):
    return [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (kernel, kernel)]


def test_resnet20_has_the_layers_and_the_parameters_of_the_paper():
    network, n = resnet20.build(), 3
    convolutions, projections = layers_of(network, 3), layers_of(network, 1)
    assert len(convolutions) + 1 == 6 * n + 2 == 20  # sec. 4.2; the last is linear
    assert [c.out_channels for c in convolutions] == [16] * (2 * n + 1) + [32] * 2 * n + [64] * 2 * n
    assert len(projections) == 2  # option B: only where the shape changes
    of_projections = 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64
    assert sum(p.numel() for p in network.parameters()) == resnet20.ENTRY.params
    assert round((resnet20.ENTRY.params - of_projections) / 1e6, 2) == 0.27  # tab. 6, without them


def test_counts_by_hand():
    def block(inputs, outputs, side):
        return side**2 * (9 * (inputs * outputs + outputs**2) + (inputs * outputs if inputs != outputs else 0))

    widths = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
    sides = [32] * 3 + [16] * 3 + [8] * 3
    blocks = [block(*pair, side) for pair, side in zip(itertools.pairwise(widths), sides, strict=True)]
    assert resnet20.ENTRY.macs == 32**2 * 9 * 3 * 16 + sum(blocks) + 64 * 10
    widths, sides = [3, 32, 32, 64, 64, 128, 128], [32, 32, 16, 16, 8, 8]
    products = [9 * before * after for before, after in itertools.pairwise(widths)]
    assert vgg_small.ENTRY.macs == int(np.dot(np.square(sides), products)) + 128 * 10 == 38_634_752
    assert vgg_small.ENTRY.params == sum(products) + 2 * sum(widths[1:]) + 128 * 10 + 10


def test_each_keeps_the_biases_and_the_shortcuts_of_its_paper():
    mlperf, he = resnet8.build().state_dict(), resnet20.build().state_dict()
    assert {"stage2.shortcut.weight", "stage2.shortcut.bias", "stage1.conv1.bias"} <= set(mlperf)
    assert not any(key.startswith("stage1.shortcut") for key in mlperf)
    assert {"stage2.0.shortcut.0.weight", "stage2.0.shortcut.1.running_var"} <= set(he)
    assert not any("conv" in key and key.endswith("bias") for key in he)


@pytest.mark.parametrize("module", [vgg_small, resnet20], ids=["vgg-small", "resnet20"])
@torch.no_grad()
def test_a_mean_over_the_plane_takes_photographs_of_any_size(module):
    torch.manual_seed(0)
    network = module.tiny()
    for side in (8, 32, 40):
        assert network(torch.randn(2, 3, side, side)).shape == (2, 10)
