import numpy as np
import pytest

from models.errors import DataError
from models.vocabulary import PAD, UNK
from models.word_pairs import WordPairs, held_out, keep_probability, noise_distribution

COUNTS = np.array([0, 0, 0, 0, 1, 16, 81, 256])
SENTENCES = [np.array([4, 5, 6, 7, 4]), np.array([6, 7]), np.array([5])]


def pairs(sentences=SENTENCES, **changed):
    settings = {"counts": COUNTS, "names": ("centre", "words"), "threshold": 1e9, **changed}
    return WordPairs(sentences=sentences, **settings)


def rng():
    return np.random.default_rng(0)


def test_noise_is_drawn_by_the_count_to_the_three_quarters():
    expected = np.array([0, 0, 0, 0, 1, 8, 27, 64]) / 100
    np.testing.assert_allclose(noise_distribution(COUNTS), expected)
    n = 200_000
    drawn = np.bincount(pairs().noise((n,), rng()), minlength=8)
    assert (abs(drawn - n * expected) <= 5 * np.sqrt(n * expected)).all()  # five standard deviations


def test_what_is_left_out_follows_the_papers_formula():
    counts = np.array([0, 0, 0, 0, 1, 4, 35, 60])  # shares of 0.01, 0.04, ...
    np.testing.assert_allclose(keep_probability(counts, 0.01)[4:], [1, 0.5, (1 / 35) ** 0.5, (1 / 60) ** 0.5])
    n = 20_000
    text = [np.array([4, 4, 5, 5])] * n  # the rarest word stays, and gives each of the others something around it
    _, kept = pairs(text, counts=counts, threshold=0.01, window=5, whole=True).rows(text, rng())
    assert np.bincount(kept)[4] == 2 * n
    assert abs(np.bincount(kept)[5] - n) < 5 * np.sqrt(2 * n * 0.25)


def test_with_a_window_of_one_the_pairs_are_the_neighbours_within_a_sentence():
    centre, word = pairs(window=1).rows(SENTENCES, rng())
    found = sorted(zip(centre.tolist(), word.tolist(), strict=True))
    assert found == sorted([(4, 5), (5, 4), (5, 6), (6, 5), (6, 7), (7, 6), (7, 4), (4, 7), (6, 7), (7, 6)])


def test_a_neighbour_is_seen_the_less_often_the_farther_it_is():
    text = [np.array([4, 5, 6, 7])] * 20_000
    centre, word = pairs(text, window=3).rows(text, rng())
    for other, share in ((5, 1), (6, 2 / 3), (7, 1 / 3)):  # P(1 <= distance <= width drawn from 1, 2, 3)
        assert np.mean((centre == 4) & (word == other)) * len(word) / 20_000 == pytest.approx(share, abs=0.02)


def test_a_window_holds_what_stands_around_its_word():
    context, word = pairs(window=1, whole=True).rows(SENTENCES, rng())
    assert word.tolist() == [4, 5, 6, 7, 4, 6, 7]  # a word that stands alone has nothing around it
    assert context.tolist() == [[PAD, 5], [4, 6], [5, 7], [6, 4], [7, PAD], [PAD, 7], [6, PAD]]


def test_unknown_words_are_left_out_and_their_neighbours_move_together():
    text = [np.array([4, UNK, 5])]
    assert [x.tolist() for x in pairs(text, window=1).rows(text, rng())] == [[4, 5], [5, 4]]


def test_an_epoch_depends_on_its_number_and_the_seed_alone():
    made = pairs(SENTENCES * 20, negatives=3, batch_size=16)

    def flat(number, seed):
        return np.concatenate([np.c_[i["centre"], i["words"], t] for i, t in made.epoch(number, seed)])

    first = flat(0, 0)
    assert first.shape[1] == 1 + 4 + 4 and (first[:, 5:] == [1, 0, 0, 0]).all()
    np.testing.assert_array_equal(first, flat(0, 0))
    assert first.shape != (other := flat(1, 0)).shape or (first != other).any()
    assert made.with_batch_size(3).batch_size == 3


def test_what_is_held_out_stays_the_same_and_its_noise_is_another_word():
    made = held_out(pairs(SENTENCES * 50, batch_size=10), 200, 1)
    again = held_out(pairs(SENTENCES * 50), 200, 1)
    true, noise = made.inputs["words"].T
    assert (true != noise).all() and len(made) == 20
    np.testing.assert_array_equal(made.inputs["words"], again.inputs["words"])
    with pytest.raises(DataError, match="word pairs: 200 rows asked, and the text gives"):
        held_out(pairs(), 200, 1)


def test_refuses_what_cannot_be():
    with pytest.raises(DataError, match="batch size 0 asked"):
        pairs(batch_size=0)
    with pytest.raises(DataError, match="no sentences"):
        pairs([])
