import pytest
import torch
from torch import nn

from models import find, hred, seq2seq_dialogue, vhred
from models.hred import last
from models.records import example
from models.vocabulary import BOS, PAD

SIZES = {"N": 3, "U": 4, "L": 5, "T": 6}


def arrays(name, **sizes):
    torch.manual_seed(0)
    made = example(find(name).inputs, {**SIZES, **sizes})
    made["context"], made["target"] = made["context"] % 2900 + 4, made["target"] % 2900 + 4
    return {key: torch.from_numpy(value) for key, value in made.items()}


def states(width=8):
    return torch.zeros(SIZES["N"], width)


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def test_the_last_real_state_is_taken_and_none_where_none_is():
    x = torch.randn(3, 4, 2)
    real = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]]).bool()
    torch.testing.assert_close(last(x, real), torch.stack([x[0, 1], x[1, 3], torch.zeros(2)]))


@pytest.mark.parametrize("name", ["seq2seq-dialogue", "hred", "vhred"])
def test_padding_changes_nothing(name):
    network, given = find(name).tiny(), arrays(name)
    wanted = network(*given.values())
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    wider = nn.functional.pad(given["context"], (0, 3), value=PAD)  # words behind the last of each utterance
    if given["context"].ndim == 3:
        wider = nn.functional.pad(wider, (0, 0, 0, 2), value=PAD)  # utterances behind the last
    found = network(wider, *list(given.values())[1:])
    found = found if isinstance(found, tuple) else (found,)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_a_padded_reply_has_the_same_code():
    network, given = vhred.tiny(), arrays("vhred")
    longer = nn.functional.pad(given["target"], (0, 2), value=PAD)
    found, wanted = network(given["context"], longer, given["noise"]), network(*given.values())
    torch.testing.assert_close(found[0][:, :6], wanted[0])
    torch.testing.assert_close(found[1:], wanted[1:])


def test_packed_in_training_is_padded_in_use():
    network, given = hred.build(width=8, embedding=6, dropout=0.0), arrays("hred")
    given["context"][0, :, 2:] = given["context"][1, 3] = PAD
    wanted = network(*given.values())
    torch.testing.assert_close(network.train()(*given.values()), wanted)


def test_heard_utterance_by_utterance_and_written_word_by_word_is_the_same_as_at_once():
    network, given = hred.tiny(), arrays("hred")
    h_context = states()
    for new in given["context"].split([1, 2, 1], 1):
        h_context, h, told = network.listen(new, h_context)
    logits = []
    for new in given["target"].split([1, 3, 2], 1):
        found, h = network.step(new, h, told)
        logits.append(found)
    torch.testing.assert_close(torch.cat(logits, 1), network(*given.values()))


def test_one_utterance_encoded_and_written_word_by_word_is_the_same_as_at_once():
    network, given = seq2seq_dialogue.tiny(), arrays("seq2seq-dialogue")
    h, told = network.encode(given["context"])
    logits = []
    for new in given["target"].split([2, 1, 3], 1):
        found, h = network.step(new, h, told)
        logits.append(found)
    torch.testing.assert_close(torch.cat(logits, 1), network(*given.values()))


def test_a_latent_variable_drawn_from_the_prior_writes_as_one_from_the_posterior_would():
    """Where both distributions are the same, what `latent` draws is what the main form draws."""
    network, given = vhred.tiny(), arrays("vhred")
    for part in ("mean", "log_variance"):
        layer, bias = getattr(network, f"posterior_{part}"), torch.randn(24)
        for one in (layer, getattr(network, f"prior_{part}")):
            one.weight.zero_()
            one.bias.copy_(bias)
    logits, *code = network(*given.values())
    torch.testing.assert_close(code[0], code[2])
    torch.testing.assert_close(code[1], code[3])
    h_context = states()
    for new in given["context"].split([3, 1], 1):
        h_context, thought = network.listen(new, h_context)
    h, told = network.latent(thought, given["noise"])
    torch.testing.assert_close(network.step(given["target"], h, told)[0], logits)
    other, _ = network.latent(thought, -given["noise"])
    assert (other != h).any()


def test_only_the_posterior_knows_the_reply():
    network, given = vhred.tiny(), arrays("vhred")
    first = network(*given.values())
    second = network(given["context"], given["target"].flip(1), given["noise"])
    torch.testing.assert_close(second[1:3], first[1:3])
    assert (second[3] != first[3]).any() and (second[4] != first[4]).any()


def test_an_earlier_turn_matters_to_hred_and_the_order_does():
    network, given = hred.tiny(), arrays("hred")
    wanted = network(*given.values())
    for changed in (given["context"].flip(1), given["context"].clone().fill_(7)):
        changed[:, -1] = given["context"][:, -1]
        assert (network(changed, given["target"]) != wanted).any()


@pytest.mark.parametrize("name", ["seq2seq-dialogue", "hred", "vhred"])
def test_a_reply_reads_nothing_that_is_still_to_come(name):
    network, given = find(name).tiny(), arrays(name)
    if name == "vhred":  # its code does know the whole reply in training; so hold the code fast
        network.posterior_mean.weight.zero_()
        network.posterior_log_variance.weight.zero_()
    other = {**given, "target": given["target"].clone()}
    other["target"][:, 3:] = BOS
    first, second = (network(*one.values()) for one in (given, other))
    first, second = (one[0] if isinstance(one, tuple) else one for one in (first, second))
    torch.testing.assert_close(first[:, :3], second[:, :3])
    assert (first[:, 3:] != second[:, 3:]).any()


def gru(inputs, width):
    return 3 * width * (inputs + width)


def test_macs_by_hand():
    width, embedding, words, code = 192, 128, 3000, 24
    reply = 16 * (gru(embedding, width) + width * embedding + embedding * words) + width * (width + embedding)
    utterance = 16 * gru(embedding, width)
    assert find("seq2seq-dialogue").macs == utterance + reply
    heard = 7 * (utterance + gru(width, width))
    assert find("hred").macs == heard + reply
    latent = 3 * width * width + 4 * width * code + code * (width + embedding)
    assert find("vhred").macs == heard + utterance + latent + reply
