import numpy as np
import pytest
import torch

from models import seq2seq, seq2seq_attention

WIDTH = 6


@pytest.fixture
def plain():
    torch.manual_seed(0)
    return seq2seq.build(width=WIDTH, words=20)


@pytest.fixture
def looking():
    torch.manual_seed(0)
    return seq2seq_attention.build(width=WIDTH, words=20)


def words(*shape):
    return torch.randint(4, 20, shape, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
@pytest.mark.parametrize("cuts", [[1, 2, 3, 4], [3]], ids=str)
def test_step_by_step_is_all_at_once(plain, looking, cuts):
    source, target = words(3, 5), words(3, 6)
    for network in (plain, looking):
        given = network.encode(source)
        *memory, h = given if isinstance(given, tuple) else (given,)
        found = []
        for part in target.tensor_split(cuts, 1):
            logits, h = network.step(part, *memory, h)
            found.append(logits)
        torch.testing.assert_close(torch.cat(found, 1), network(source, target))


@torch.no_grad()
def test_the_thought_vector_is_all_the_decoder_learns_of_the_source(plain):
    h = plain.encode(words(2, 5))
    assert h.shape == (2, WIDTH)
    target = words(1, 4).expand(2, 4)
    torch.testing.assert_close(plain.step(target, h[:1].expand(2, WIDTH))[0][0], plain.step(target, h)[0][0])
    assert (plain.step(target, h)[0][0] != plain.step(target, h)[0][1]).any()


@torch.no_grad()
def test_the_decoder_begins_with_both_ends_of_the_encoder(looking):
    memory, h = looking.encode(words(2, 5))
    half = WIDTH // 2
    torch.testing.assert_close(h, torch.cat([memory[:, -1, :half], memory[:, 0, half:]], 1))


@torch.no_grad()
def test_attention_is_luongs_by_hand():
    torch.manual_seed(0)
    attention = seq2seq_attention.GlobalAttention(WIDTH)
    said, memory = torch.randn(2, 3, WIDTH), torch.randn(2, 4, WIDTH)
    found, weights = attention(said, memory).numpy(), attention.weights(said, memory).numpy()
    general, mix = attention.score.weight.numpy(), attention.mix.weight.numpy()
    for n in range(2):
        for t in range(3):
            h = said[n, t].numpy()
            score = np.array([m @ general @ h for m in memory[n].numpy()])
            a = np.exp(score) / np.exp(score).sum()
            np.testing.assert_allclose(weights[n, t], a, rtol=1e-5)
            context = (a[:, None] * memory[n].numpy()).sum(0)
            np.testing.assert_allclose(found[n, t], np.tanh(mix @ np.concatenate([context, h])), rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_the_attention_that_is_drawn_is_the_one_that_was_used(looking):
    source, target = words(2, 5), words(2, 4)
    weights = looking.attend(source, target)
    assert weights.shape == (2, 4, 5)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4))
    memory, h = looking.encode(source)
    said, _ = looking.decoder(looking.target(target), h[None])
    looked = torch.tanh(looking.attention.mix(torch.cat([weights @ memory, said], -1)))
    torch.testing.assert_close(looking.head(looked), looking(source, target))


def test_the_last_layer_and_the_targets_embedding_are_one(plain, looking):
    for network in (plain, looking):
        assert network.head.weight is network.target.weight
