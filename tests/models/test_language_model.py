import numpy as np
import pytest
import torch

from models import find
from models.records import example
from models.utterances import next_words
from models.vocabulary import BOS, EOS

NAMES = ["lm-char", "lm-word"]


@pytest.mark.parametrize("name", NAMES)
def test_step_by_step_is_the_same_as_at_once(name):
    entry = find(name)
    network, form = entry.tiny(), entry.forms["step"]
    ids = torch.from_numpy(example(entry.inputs, {"N": 3, "T": 9})["ids"])
    width = network.lstm.hidden_size
    h, c = torch.zeros(3, width), torch.zeros(3, width)
    found = []
    with torch.no_grad():
        for new in (ids[:, :1], ids[:, 1:5], ids[:, 5:]):
            logits, h, c = getattr(network, form.method)(new, h, c)
            found.append(logits)
        torch.testing.assert_close(torch.cat(found, 1), network(ids))
    assert [spec.state_of for spec in form.inputs] == [None, "h_out", "c_out"]


@pytest.mark.parametrize("name", NAMES)
def test_it_reads_nothing_that_is_still_to_come(name):
    network = find(name).tiny()
    ids = torch.randint(4, 60, (2, 12))
    other = ids.clone()
    other[:, 7:] = 5
    with torch.no_grad():
        torch.testing.assert_close(network(ids)[:, :7], network(other)[:, :7])
        assert (network(ids)[:, 7:] != network(other)[:, 7:]).any()


def test_a_tied_model_learns_one_table_from_both_its_ends():
    network = find("lm-word").tiny()
    rows, embedding = network.token.weight.shape
    assert sum(p.numel() for p in network.parameters() if p.shape[:1] == (rows,)) == rows * embedding + rows
    logits = network(torch.tensor([[5]]))
    logits[0, 0, 9].backward()
    # 9 was never read, so its vector can have learned from the output alone, and the other way round for 5
    used = network.token.weight.grad.abs().sum(1).nonzero().ravel().tolist()
    assert used == [5, 9]


def test_an_utterance_begins_with_a_mark_and_is_to_end_with_one():
    batches = next_words([np.array([7, 8]), np.array([9])], name="ids", batch_size=1)
    found = {tuple(inputs["ids"][0]): tuple(target[0]) for inputs, target in batches}
    assert found == {(BOS, 7, 8): (7, 8, EOS), (BOS, 9): (9, EOS)}


def test_macs_by_hand():
    assert find("lm-char").macs == 128 * (4 * 416 * (64 + 416) + 416 * 65)
    assert find("lm-word").macs == 16 * (4 * 256 * (160 + 256) + 256 * 160 + 160 * 3000)
