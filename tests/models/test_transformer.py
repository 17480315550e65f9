import numpy as np
import pytest
import torch
from torch import nn

from models.transformer import Attention, DecoderBlock, EncoderBlock, Position, build

WIDTH = 8


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build(width=WIDTH, heads=2, inner=12, words=20)


def causal(length):
    return torch.ones(length, length, dtype=torch.bool).tril()


def test_positions_are_the_papers_sinusoids():
    added = Position(WIDTH)(torch.zeros(1, 30, WIDTH))[0].numpy()
    for p in range(30):
        for i in range(WIDTH // 2):
            angle = p / 10000 ** (2 * i / WIDTH)
            # the paper has the cosine beside the sine, here it is half the width further
            assert added[p, [i, i + WIDTH // 2]] == pytest.approx([np.sin(angle), np.cos(angle)], abs=1e-5)
    # so a shift is a rotation: products of positions depend on their distance alone
    products = added @ added.T
    np.testing.assert_allclose(products[3, 5:9], products[13, 15:19], atol=1e-5)


def test_positions_go_on_after_what_was_read_before():
    position, x = Position(WIDTH), torch.randn(2, 9, WIDTH)
    torch.testing.assert_close(torch.cat([position(x[:, :4]), position(x[:, 4:], 4)], 1), position(x))


def in_torchs_own(attention):
    """The same weights in torch's layer."""
    theirs = nn.MultiheadAttention(WIDTH, attention.heads, batch_first=True)
    parts = (attention.query, attention.key, attention.value)
    theirs.in_proj_weight.data = torch.cat([part.weight for part in parts])
    theirs.in_proj_bias.data = torch.cat([part.bias for part in parts])
    theirs.out_proj.load_state_dict(attention.out.state_dict())
    return theirs


def test_attention_is_torchs():
    torch.manual_seed(0)
    mine, x, memory = Attention(WIDTH, 2), torch.randn(3, 5, WIDTH), torch.randn(3, 7, WIDTH)
    mask = causal(7)[:5]
    wanted, _ = in_torchs_own(mine)(x, memory, memory, attn_mask=~mask)
    torch.testing.assert_close(mine(x, *mine.remember(memory), mask), wanted)


def test_the_encoders_block_is_torchs():
    torch.manual_seed(0)
    mine, x = EncoderBlock(WIDTH, 2, 12, "relu", 0.0), torch.randn(2, 5, WIDTH)
    theirs = nn.TransformerEncoderLayer(WIDTH, 2, 12, 0.0, batch_first=True, norm_first=True)
    theirs.self_attn = in_torchs_own(mine.attention)
    theirs.linear1, theirs.linear2 = mine.feed_forward.wide, mine.feed_forward.narrow
    theirs.norm1, theirs.norm2 = mine.norm1, mine.norm2
    torch.testing.assert_close(mine(x), theirs(x))


def test_the_decoders_block_is_torchs():
    torch.manual_seed(0)
    mine = DecoderBlock(WIDTH, 2, 12, "relu", 0.0)
    x, memory, mask = torch.randn(2, 5, WIDTH), torch.randn(2, 7, WIDTH), causal(5)
    theirs = nn.TransformerDecoderLayer(WIDTH, 2, 12, 0.0, batch_first=True, norm_first=True)
    theirs.self_attn, theirs.multihead_attn = in_torchs_own(mine.attention), in_torchs_own(mine.cross)
    theirs.linear1, theirs.linear2 = mine.feed_forward.wide, mine.feed_forward.narrow
    theirs.norm1, theirs.norm2, theirs.norm3 = mine.norm1, mine.norm2, mine.norm3
    found, keys, values = mine(x, mine.cross.remember(memory), None, mask)
    torch.testing.assert_close(found, theirs(x, memory, tgt_mask=~mask))
    assert keys.shape == values.shape == x.shape


@torch.no_grad()
@pytest.mark.parametrize("cuts", [[1, 2, 3, 4, 5, 6], [4], [2, 3]], ids=str)
def test_step_by_step_is_all_at_once(network, cuts):
    source, target = torch.randint(0, 20, (3, 5)), torch.randint(0, 20, (3, 7))
    memory = network.encode(source)
    states = [torch.zeros(3, 0, WIDTH)] * 4
    found = []
    for part in target.tensor_split(cuts, 1):
        logits, *states = network.step(part, *memory, *states)
        found.append(logits)
    torch.testing.assert_close(torch.cat(found, 1), network(source, target), atol=1e-5, rtol=1e-5)
    assert [tuple(s.shape) for s in states] == [(3, 7, WIDTH)] * 4


@torch.no_grad()
def test_no_word_is_read_before_it_is_written_and_all_of_the_source_is(network):
    source, target = torch.randint(4, 20, (2, 5)), torch.randint(4, 20, (2, 7))
    later, other = target.clone(), source.clone()
    later[:, 4:] = 1
    other[:, 4] = 1
    torch.testing.assert_close(network(source, later)[:, :4], network(source, target)[:, :4])
    assert (network(source, later)[:, 4:] != network(source, target)[:, 4:]).any()
    assert (network(other, target) != network(source, target)).any(-1).all()


def test_the_last_layer_and_the_targets_embedding_are_one(network):
    assert network.head.weight is network.target.weight
