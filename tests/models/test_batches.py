import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.batches import ArrayBatches
from models.errors import DataError


def rows_of(batches):
    return np.concatenate([target for _, target in batches])


def numbered(rows, **options):
    return ArrayBatches(inputs={"x": np.arange(rows, dtype=np.float32)[:, None]}, target=np.arange(rows), **options)


@given(rows=st.integers(1, 40), size=st.integers(1, 50))
@settings(deadline=None)
def test_every_row_comes_once_in_order_and_shuffled(rows, size):
    batches = numbered(rows, batch_size=size)
    assert rows_of(batches).tolist() == list(range(rows))
    assert rows_of(batches).tolist() == list(range(rows))  # again: re-iterable
    assert sorted(rows_of(batches.epoch(3, 0)).tolist()) == list(range(rows))
    assert len(list(batches)) == len(batches) == len(list(batches.epoch(0, 0)))


def test_an_epoch_depends_on_its_number_and_the_seed_alone():
    batches = numbered(50, batch_size=8)
    first = rows_of(batches.epoch(0, 7)).tolist()
    assert first == rows_of(batches.epoch(0, 7)).tolist()
    assert first != rows_of(batches.epoch(1, 7)).tolist()
    assert first != rows_of(batches.epoch(0, 8)).tolist()


@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=30), size=st.integers(1, 5))
@settings(deadline=None)
def test_rows_of_one_length_make_one_batch_and_are_cut_to_it(lengths, size):
    padded = np.full((len(lengths), 6, 2), -1.0, np.float32)
    for row, length in enumerate(lengths):
        padded[row, :length] = row
    batches = ArrayBatches(
        inputs={"x": padded}, target=np.arange(len(lengths)), batch_size=size, lengths=np.array(lengths)
    )
    seen = []
    for inputs, target in [*batches, *batches.epoch(0, 0)]:
        assert {lengths[row] for row in target} == {inputs["x"].shape[1]}
        assert (inputs["x"] == target[:, None, None]).all()
        seen += target.tolist()
    assert sorted(seen) == sorted([*range(len(lengths))] * 2)
    assert len(list(batches)) == len(batches)


def test_augmentation_is_for_epochs_alone_and_preparation_for_both():
    batches = numbered(
        4,
        batch_size=4,
        augment={"x": lambda array, rng: array + 100},
        prepare={"x": lambda array: array * 2},
    )
    (inputs, target), *_ = batches
    np.testing.assert_array_equal(inputs["x"][:, 0], 2 * target)
    (inputs, target), *_ = batches.epoch(0, 0)
    np.testing.assert_array_equal(inputs["x"][:, 0], 2 * (target + 100))


def test_another_batch_size_is_the_same_data():
    assert [len(target) for _, target in numbered(5, batch_size=2).with_batch_size(3)] == [3, 2]


@pytest.mark.parametrize(
    ("inputs", "target", "size", "message"),
    [
        ({"x": np.ones((3, 2))}, np.zeros(4), 1, "'x' has 3 rows and the target 4"),
        ({"x": np.ones((0, 2))}, np.zeros(0), 1, "'x' has no rows"),
        ({"x": np.array([[0.0], [np.nan]])}, np.zeros(2), 1, "'x' holds NaN or infinity, first in row 1"),
        ({"x": np.ones((3, 2))}, np.zeros(3), 0, "batch size 0 asked"),
        ({}, np.zeros(3), 1, "no input array"),
    ],
)
def test_refuses_data_that_cannot_be_right(inputs, target, size, message):
    with pytest.raises(DataError, match=message):
        ArrayBatches(inputs=inputs, target=target, batch_size=size)
