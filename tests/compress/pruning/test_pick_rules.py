import pytest
import torch
from torch import nn

from tests.compress.between import assert_units_pass

PLACES = torch.tensor([4, 0, 2])


def everywhere(x, places=PLACES):
    """The positions for each example and unit, as gather and scatter want them."""
    return places.view(1, -1, 1).expand(x.shape[0], -1, x.shape[2])


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: x[:, PLACES],
        lambda x: x.index_select(1, PLACES),
        lambda x: x.gather(1, everywhere(x)),
        lambda x: x.topk(3, dim=1)[0],
        lambda x: x.topk(3, dim=1)[0] + x.topk(3, dim=1)[1].float() * x.mean(1, keepdim=True),
        lambda x: torch.zeros_like(x).scatter(1, everywhere(x), x[:, :3]),
        lambda x: x.scatter_add(1, everywhere(x), x[:, 3:]),
        lambda x: x.index_add(1, PLACES, x[:, 3:]),
        lambda x: x.index_copy(1, PLACES, x[:, 3:]),
        lambda x: x.index_fill(1, PLACES, 0.0),
        lambda x: x.index_put((torch.tensor([0]), PLACES[:1]), x[0, :1]),
        lambda x: torch.cat([x[:, 1:], x[:, :1]], 1).index_put((torch.tensor([0]),), torch.zeros(())),
    ],
)
def test_units_beside_the_positions_pass(operation):
    assert_units_pass(operation)


def test_units_that_positions_are_named_of_stay():
    class Named(nn.Module):
        def forward(self, x):
            return x.gather(2, torch.zeros(1, 1, 1, dtype=torch.long).expand_as(x))

    with pytest.raises(AssertionError, match=r"'gather' \(gather\) looks positions up in it"):
        assert_units_pass(Named())
