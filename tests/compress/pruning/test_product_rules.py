import pytest
import torch

from tests.compress.between import assert_units_pass


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: torch.einsum("...td,...sd->...ts", x, x) @ x,
        lambda x: torch.einsum("n...d,n...d->n...", x, x).unsqueeze(-1) * x,
        lambda x: torch.einsum("ntd, nsd", x, x)[None, None].mean((2, 3)) + x,
        lambda x: torch.inner(x[0], x[0]).unsqueeze(0) @ x,
        lambda x: torch.tensordot(x, x[0], dims=([2], [1])) @ x,
        lambda x: torch.outer(x.sum(2)[0], torch.ones(1)) * x,
        lambda x: torch.cdist(x, 2 * x) @ x,
        lambda x: torch.nn.functional.pairwise_distance(x, 2 * x, eps=0.0, keepdim=True) * x,
        lambda x: x / (1 + torch.linalg.norm(x, dim=-1, keepdim=True)),
        lambda x: torch.diff(x, dim=1, prepend=x[:, :1]),
        lambda x: torch.where(x > 0.1, x, 0.0),
        lambda x: torch.hstack([x, x]) + torch.vstack([x[:1], x[1:]]).repeat(1, 2, 1),
        lambda x: (x.unsqueeze(2) + x.unsqueeze(1)).diagonal(dim1=1, dim2=2).mT,
    ],
)
def test_units_pass_where_they_are_multiplied_and_summed_over(operation):
    assert_units_pass(operation)


def test_a_table_read_in_bags_loses_width():
    table = torch.nn.Parameter(torch.randn(5, 12))
    words = torch.tensor([[0, 3], [1, 1]])
    assert_units_pass(lambda x: x * torch.nn.functional.embedding_bag(words, table, mode="sum").mean(0))
