import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.decoding import Decoder, first_states

WORDS, BEGIN, END = 5, 0, 1


def markov(table):
    """A step whose next token depends on the last alone, with a state that counts and a memory that stays."""

    def step(arrays):
        assert arrays["memory"].shape[0] == arrays["target"].shape[0] == arrays["h"].shape[0]
        logits = table[arrays["target"]] + arrays["memory"][:, None]
        return {"logits": logits, "h_out": arrays["h"] + arrays["target"].shape[1], "seen": arrays["h"]}

    return step


def start(rows):
    return {"memory": np.zeros((rows, WORDS)), "h": np.zeros((rows, 1))}


def decoder(table, longest=4):
    return Decoder(step=markov(table), begin=BEGIN, end=END, longest=longest)


def log_softmax(x):
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def best_by_trying_all(table, longest, length_penalty):
    """Every sequence that ends within `longest` tokens, scored."""
    logs = log_softmax(table)
    found = []
    for length in range(1, longest + 1):
        for body in itertools.product([w for w in range(WORDS) if w != END], repeat=length - 1):
            path = [BEGIN, *body, END]
            total = sum(logs[a, b] for a, b in itertools.pairwise(path))
            found.append((total / length**length_penalty, body))
    return max(found)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.0, 0.7, 1.0]))
def test_a_beam_as_wide_as_all_sequences_finds_the_best(seed, length_penalty):
    table = np.random.default_rng(seed).normal(size=(WORDS, WORDS)) * 2
    (found,) = decoder(table, 3).beam(start(1), width=200, length_penalty=length_penalty)
    assert tuple(found) == best_by_trying_all(table, 3, length_penalty)[1]


def test_a_beam_of_one_is_greedy_where_greedy_ends():
    table = np.full((WORDS, WORDS), -5.0)
    for a, b in [(BEGIN, 3), (3, 2), (2, 4), (4, END)]:
        table[a, b] = 5.0
    greedy = decoder(table).greedy(start(2))
    assert greedy.tolist() == [[3, 2, 4, END]] * 2
    assert [found.tolist() for found in decoder(table).beam(start(2), width=1)] == [[3, 2, 4]] * 2


def test_rows_end_apart_and_go_on_with_the_end():
    table = np.zeros((WORDS, WORDS))
    arrays = start(2)
    arrays["memory"] = np.eye(WORDS)[[END, 2]] * 9
    assert decoder(table, 3).greedy(arrays).tolist() == [[END] * 3, [2, 2, 2]]


def test_a_prompt_is_read_at_once_and_states_go_on():
    seen = []

    def step(arrays):
        seen.append((arrays["target"].tolist(), arrays["h"].item()))
        return {"logits": np.eye(WORDS)[arrays["target"]], "h_out": arrays["h"] + 1}

    found = Decoder(step=step, begin=BEGIN, end=END, longest=2).greedy({"h": np.zeros((1, 1))}, prompt=[[2, 3]])
    assert found.tolist() == [[3, 3]]
    assert seen == [([[2, 3]], 0.0), ([[3]], 1.0)]


def test_a_state_may_grow():
    def step(arrays):
        grown = np.concatenate([arrays["past"], arrays["target"].astype(float)], 1)
        return {"logits": np.eye(WORDS)[np.full(arrays["target"].shape, grown.shape[1] % WORDS)], "past_out": grown}

    found = Decoder(step=step, begin=BEGIN, end=END, longest=4).beam({"past": np.zeros((1, 1))}, width=2)
    assert found[0].tolist()[:2] == [2, 3]


def test_tokens_are_drawn_by_their_probabilities():
    logits = np.log([0.05, 0.05, 0.2, 0.3, 0.4])
    table = np.tile(logits, (WORDS, 1))
    draw = decoder(table, 1)
    found = draw.sampled(start(20_000), np.random.default_rng(0))[:, 0]
    np.testing.assert_allclose(np.bincount(found, minlength=WORDS) / 20_000, np.exp(logits), atol=0.015)
    cold = draw.sampled(start(500), np.random.default_rng(0), temperature=0.01)[:, 0]
    assert (cold == 4).all()
    assert set(draw.sampled(start(500), np.random.default_rng(0), top=2)[:, 0]) == {3, 4}


def test_nothing_of_ours_is_needed_on_a_device():
    import subprocess
    import sys
    from pathlib import Path

    import models.decoding

    folder = Path(models.decoding.__file__).parent
    code = "import decoding, sys; print(decoding.Decoder.__name__, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["Decoder", "False"], done.stderr


@pytest.mark.parametrize("width", [1, 3])
def test_a_beam_that_never_ends_gives_the_longest(width):
    table = np.zeros((WORDS, WORDS))
    table[:, END] = -50.0
    (found,) = decoder(table, 4).beam(start(1), width=width)
    assert len(found) == 4 and END not in found


def test_what_a_step_takes_first_is_zero_and_what_was_read_before_is_empty():
    shapes = {"memory": ("N", "S", 6), "h": ("N", 4), "past": ("N", "P", 6), "as_long": ["N", "S", 2]}
    found = first_states(shapes, {"memory": np.ones((3, 5, 6), np.float32), "other": np.ones(2)})
    assert {name: array.shape for name, array in found.items()} == {
        "h": (3, 4),
        "past": (3, 0, 6),
        "as_long": (3, 5, 2),
    }
    assert all(not array.any() and array.dtype == np.float32 for array in found.values())
