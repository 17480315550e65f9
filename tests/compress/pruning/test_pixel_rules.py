import pytest
import torch
from torch.nn import functional as F

from tests.compress.between import assert_units_pass

GRID = torch.linspace(-1, 1, 12).view(1, 3, 2, 2)


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: x.unfold(1, 3, 2).mean(-1),
        lambda x: x.unfold(1, 2, 1).flatten(2).unflatten(2, (12, 2)).amax(-1),
        lambda x: F.grid_sample(
            x.mT.unflatten(2, (2, 3)), GRID.expand(x.shape[0], -1, -1, -1), align_corners=False
        ).flatten(2).mT,
    ],
)  # fmt: skip
def test_units_pass_where_positions_are_run_over(operation):
    assert_units_pass(operation)
