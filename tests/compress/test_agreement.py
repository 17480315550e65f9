"""How far two networks agree, and which power their noise is held against."""

import numpy as np
import pytest

from compress.agreement import Agreement, Compared, Spread


def compared(wanted, found, *, rows=None, decides=False):
    one = Compared(decides=decides)
    one.add(np.asarray(wanted), None if found is None else np.asarray(found), len(wanted) if rows is None else rows)
    return one


def test_a_large_mean_hides_no_noise():
    varies, noise = np.array([[1.0], [-1.0]]), np.array([[0.1], [0.1]])
    assert compared(1000 + varies, 1000 + varies + noise).sqnr_db == pytest.approx(20.0)
    np.testing.assert_allclose(compared(1000 + varies, 1000 + varies + noise).alike(), 0.99)
    assert compared(np.full((2, 1), 10.0), np.full((2, 1), 11.0)).sqnr_db == pytest.approx(20.0), "none varies"


def test_the_mean_is_that_of_each_element_over_all_batches():
    drawn = np.random.default_rng(0).standard_normal((60, 3, 4, 5)) + np.arange(5) * 1e4 + np.arange(3)[:, None, None]
    spread = Spread()
    for batch in np.split(drawn, [7, 8, 40]):
        spread.add(batch)
    assert spread.power == pytest.approx(np.square(drawn - drawn.mean(0)).mean(), rel=1e-9)


def test_where_lengths_differ_the_mean_is_that_of_the_last_dimension():
    rng, spread = np.random.default_rng(0), Spread()
    parts = [rng.standard_normal((4, length, 6)) + 100 * np.arange(6) for length in (3, 9)]
    for part in parts:
        spread.add(part)
    flat = np.concatenate([part.reshape(-1, 6) for part in parts])
    assert spread.power == pytest.approx(np.square(flat - flat.mean(0)).mean(), rel=1e-9)


def test_decisions_and_whole_numbers_are_the_same_or_not():
    flips = compared([[1.0, 2], [3, 1]], [[2.0, 1], [3, 1]], decides=True)
    assert flips.wrong == 0.5 and flips.count == 2 and flips.alike().tolist() == [0, 1]
    lost = compared([[1.0, 2], [3, 1]], [[np.nan, 3], [3, 1]], decides=True)
    assert lost.alike().tolist() == [0, 1], "no number decides nothing"
    whole = compared([[1, 2], [3, 4]], [[1, 2], [3, 5]])
    assert whole.alike().tolist() == [1, 0.5] and whole.sqnr_db is None
    assert compared([True, False], [True, True]).wrong == 0.5


def test_a_number_alone_is_one_for_the_whole_batch():
    one = Compared()
    for value in (1.0, 3.0):
        one.add(np.float32(value), np.float32(value + 0.1), 5)
    assert one.alike().shape == (10,) and one.alike()[0] == pytest.approx(0.99, abs=1e-4)


def test_another_shape_agrees_in_nothing():
    one = compared(np.ones((3, 2)), np.ones((4, 2)))
    assert (one.alike().tolist(), one.wrong, one.reshaped, one.sqnr_db) == ([0, 0, 0], 1.0, 1, None)
    assert compared(np.ones((3, 2)), None).alike().tolist() == [0, 0, 0], "nor does an output that is not there"


def test_of_a_list_those_entries_agree_that_both_have():
    """What a detector's suppression leaves: as many places as it likes, in the order of their scores."""
    one = compared([[0, 1], [0, 2], [0, 3]], [[0, 3], [0, 1]], rows=4)
    assert one.alike().tolist() == [0.8] * 4 and one.reshaped == 0
    assert compared(np.zeros((0, 3), int), np.zeros((0, 3), int), rows=4).wrong == 0.0


def test_the_same_infinity_is_no_noise_and_another_is_all_of_it():
    wanted = np.array([[-np.inf, 1.0], [-np.inf, 2.0]])
    assert compared(wanted, wanted).alike().tolist() == [1, 1]
    assert compared(wanted, np.array([[-9.0, 1.0], [-np.inf, 2.0]])).alike().tolist() == [0, 1]


def test_outputs_are_matched_by_name_else_by_place():
    a, b = np.ones((2, 1)), np.zeros((2, 1))
    named, placed = Agreement(), Agreement()
    named.add({"a": a, "b": b}, {"b": b, "a": a}, {"x": a})
    placed.add({"a": a, "b": b}, {"c": a, "d": b}, {"x": a})
    for agreed in (named, placed):
        assert [one.alike().tolist() for one in agreed.outputs.values()] == [[1, 1], [1, 1]]


def test_two_empty_lists_agree_and_an_empty_one_with_no_other():
    found = Agreement()
    batch = {"x": np.zeros((4, 2))}
    found.add({"o": np.zeros((0, 3), np.int64)}, {"o": np.zeros((0, 3), np.int64)}, batch)
    assert found.outputs["o"].wrong == 0
    found.add({"o": np.zeros((0, 3), np.int64)}, {"o": np.ones((2, 3), np.int64)}, batch)
    assert found.outputs["o"].wrong == 0.5
