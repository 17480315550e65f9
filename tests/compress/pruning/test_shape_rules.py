import pytest
import torch
import torch.nn.functional as F
from torch import nn

from compress.pruning.units import groups
from export.lift import lift
from export.parity import verify
from export.to_onnx import to_onnx
from models.records import InputSpec, Model
from tests.compress.between import assert_units_pass
from tests.compress.dead_units import dead_and_cut, outputs_of

SCALE = torch.tensor([2.0])


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: x * SCALE.repeat(12),
        lambda x: x * SCALE.repeat(6, 1, 12)[:1],
        lambda x: x * SCALE.tile((1, 12)),
        lambda x: x * SCALE[None, None].tile((12,)),
        lambda x: x * SCALE.repeat_interleave(12, 0),
    ],
    ids=["repeat", "repeat in front", "tile", "tile of fewer", "repeat_interleave"],
)
def test_one_number_repeated_is_as_wide_as_what_it_meets(operation):
    assert_units_pass(operation)


class Blurred(nn.Module):
    """Convolutions with a fixed kernel of one channel between them, repeated for all channels."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 3, padding=1), nn.Linear(12, 5)
        row = torch.tensor([1.0, 2.0, 1.0])
        self.register_buffer("kernel", torch.outer(row, row)[None, None] / 16)

    def blur(self, x):
        kernel = self.kernel.repeat(x.shape[1], 1, 1, 1)
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), kernel, stride=2, groups=x.shape[1])

    def forward(self, x):
        return self.out(self.blur(F.relu(self.b(self.blur(F.relu(self.a(x)))))).mean((2, 3)))


def test_a_blurring_kernel_follows_the_channels_and_the_file_agrees():
    torch.manual_seed(0)
    inputs = (InputSpec(name="x", dtype="float32", dims=("N", 3, 16, 16)),)
    found = lift(Blurred().eval(), inputs)
    model = Model(network=found.network, inputs=inputs, outputs=found.outputs)
    assert sorted(group.size for group in groups(model) if not group.reason) == [8, 12]
    dead, smaller = dead_and_cut(model)
    assert (smaller.network.a.out_channels, smaller.network.b.out_channels) == (4, 6)
    assert smaller.network.kernel.shape == (1, 1, 3, 3)
    torch.testing.assert_close(outputs_of(smaller)["y"], outputs_of(dead)["y"], rtol=0, atol=2e-5)
    verify(smaller, to_onnx(smaller))
