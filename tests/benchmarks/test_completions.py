import numpy as np
import pytest

import compress
from benchmarks.completions import BEGINNINGS, completions, main, without
from export.session import torch_runner
from models.dialogues import vocabulary
from models.shakespeare import encode
from models.vocabulary import UNK, tokenized


@pytest.mark.parametrize("name", BEGINNINGS)
def test_a_greedy_text_is_what_the_whole_form_expects_at_every_place(name):
    model = compress.load(name)
    beginning = BEGINNINGS[name][0]
    found = dict(completions(model, beginning))
    assert list(found) == ["greedy", "beam of 4", "drawn, temperature 0.7", "drawn, temperature 1"]
    assert all(text.startswith(beginning) for text in found.values())
    if name == "lm-word":
        ids = vocabulary().encode(tokenized(found["greedy"]), begin=True, end=True)
        read = len(tokenized(beginning)) + 1
    else:
        ids, read = encode(found["greedy"]), len(beginning)
        assert len(ids) == read + 120
    expected = torch_runner(model)({"ids": ids[None]})["logits"][0]
    if name == "lm-word":
        expected[:, UNK] = -np.inf
    np.testing.assert_array_equal(expected.argmax(1)[read - 1 : -1], ids[read:])


def test_a_token_that_is_left_out_is_never_foretold():
    logits = np.array([[[1.0, 9.0, 2.0]]])
    found = without(lambda arrays: {"logits": logits, "h_out": arrays["h"]}, 1)({"h": np.ones(2)})
    assert found["logits"].argmax() == 2 and logits.argmax() == 1
    assert found["h_out"].all()


def test_the_command_completes_what_it_is_given(capsys):
    main(["lm-word", "Is there a"])
    said = capsys.readouterr().out
    assert said.startswith("'Is there a'\n  greedy: Is there a ") and "<unk>" not in said
