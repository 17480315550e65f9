import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compress.base import Context
from compress.pruning.magnitude import largest_of, zipped_bytes
from compress.pruning.prune import Prune
from export.wrap import Model
from models.errors import UsageError
from tests.compress.networks import spec


def test_two_of_four_are_kept_along_the_inputs():
    weight = torch.tensor([[1.0, -3, 2, 0.5, 7, 7, 7, 7], [0, 0, 0, 1, -9, 8, 1, 2]])
    kept = largest_of(weight, 2, 4)
    assert (weight * kept).tolist() == [[0, -3, 2, 0, 7, 7, 0, 0], [0, 0, 0, 1, -9, 8, 0, 0]]


def test_each_pixel_of_a_kernel_is_a_row_of_its_own():
    weight = torch.arange(1.0, 17).reshape(1, 4, 2, 2)
    assert largest_of(weight, 1, 4)[0].flatten(1).any(1).tolist() == [False, False, False, True]
    turned = largest_of(weight.transpose(0, 1), 1, 4, dim=0)
    assert torch.equal(turned.transpose(0, 1), largest_of(weight, 1, 4))


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 11))
def test_what_is_kept_is_the_most_that_the_pattern_allows(keep, more, width):
    of, weight = keep + more, torch.rand(3, width) + 0.1
    mask = largest_of(weight, keep, of)
    for start in range(0, width, of):
        group, kept = weight[:, start : start + of], mask[:, start : start + of]
        best = group.topk(min(keep, group.shape[1]), 1).values
        torch.testing.assert_close((group * kept).sum(1), best.sum(1))


class Several(nn.Module):
    """A table, a kernel, a turned kernel, a recurrent layer and a matrix."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(9, 8)
        self.conv, self.turned = nn.Conv1d(8, 16, 3, padding=1), nn.ConvTranspose1d(16, 8, 3, padding=1)
        self.rnn, self.head = nn.GRU(8, 12, batch_first=True), nn.Linear(12, 64)

    def forward(self, words):
        x = self.turned(torch.relu(self.conv(self.table(words).transpose(1, 2)))).transpose(1, 2)
        return self.head(self.rnn(x)[0])


@pytest.fixture(scope="module")
def several():
    torch.manual_seed(0)
    return Model(Several().eval(), inputs=(spec("words", "N", "T", dtype="int64", high=9),))


def test_every_product_of_a_network_becomes_two_of_four_and_the_zipped_size_is_what_zip_gives(several):
    outcome = Prune(kind="weights", pattern="2:4", recover=0)(several, Context())
    named = dict(outcome.model.network.named_parameters())
    for name, dim in {"conv.weight": 1, "turned.weight": 0, "rnn.weight_hh_l0": 1, "head.weight": 1}.items():
        groups = (named[name] != 0).movedim(dim, -1).unflatten(-1, (-1, 4)).sum(-1)
        assert (groups == 2).all(), name
    assert (named["table.weight"] != 0).all()
    assert any(n.layer == "table" and "has no inputs" in n.text for n in outcome.skipped)
    before, after = outcome.facts["zipped_bytes_before"], outcome.facts["zipped_bytes"]
    assert (before, after) == (zipped_bytes(several.network), zipped_bytes(outcome.model.network))
    raw = 4 * sum(p.numel() for p in several.network.parameters())
    assert 0.85 * raw < before < raw  # numbers of 24 random bits hardly pack
    assert after < 0.75 * before  # a half of nearly all is gone; where the zeros lie takes its share
    (plainly,) = (note.text for note in outcome.skipped if not note.layer)
    assert f"take {after:,} bytes; they took {before:,}" in plainly and "as slow as before" in plainly


def test_zeros_of_a_share_pack_too(several):
    outcome = Prune(kind="weights", ratio=0.9, recover=0)(several, Context())
    assert outcome.facts["zipped_bytes"] < 0.35 * outcome.facts["zipped_bytes_before"]


@pytest.mark.parametrize("pattern", ["4:2", "2:2", "0:4", "2/4", "half"])
def test_a_pattern_keeps_fewer_than_there_are(pattern):
    with pytest.raises(UsageError, match=f"pattern '{pattern}' asked, .* n:m with n less than m: 2:4"):
        Prune(kind="weights", pattern=pattern)


def test_a_pattern_is_of_weights():
    with pytest.raises(UsageError, match="pattern '2:4' is for single weights, and kind is \"units\""):
        Prune(pattern="2:4")
