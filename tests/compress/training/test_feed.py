import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from compress.training.feed import Feed, generators, own_generators, set_generators, tensor, tensors
from models.batches import ArrayBatches
from models.errors import DataError


def feed(data, names=("x",), *, alone=True):
    return Feed(data, names, seed=0, device="cpu", alone=alone)


def rows(walk, batches):
    stream = iter(walk)
    return [next(stream)[0]["x"].flatten().tolist() for _ in range(batches)]


def test_epochs_follow_one_another_in_the_order_of_the_data():
    batches = ArrayBatches(inputs={"x": np.arange(6.0)[:, None]}, target=np.arange(6), batch_size=4)
    walked = feed(batches)
    expected = [i["x"].flatten().tolist() for epoch in (0, 1) for i, _ in batches.epoch(epoch, 0)]
    assert rows(walked, 4) == expected
    assert (walked.epoch, walked.index) == (1, 2)
    assert walked.batches_per_epoch() == 2
    assert [i["x"].flatten().tolist() for i, _ in walked.walk()] == [[0, 1, 2, 3], [4, 5]]


@pytest.mark.parametrize("stop", range(7))
def test_it_goes_on_where_it_was_with_the_generators_as_they_were(stop):
    data = DataLoader(TensorDataset(torch.arange(12.0)), batch_size=4, shuffle=True)

    def drawn(walked, count):
        stream, found = iter(walked), []
        for _ in range(count):
            found.append((next(stream)[0]["x"].tolist(), torch.rand(1).item(), np.random.rand(), random.random()))
        return found

    whole = drawn(feed(data), 8)
    first = feed(data)
    assert drawn(first, stop) == whole[:stop]
    state = generators()
    torch.rand(5), np.random.rand(5), random.random()
    second = feed(data)
    second.resume(first.epoch, first.index, state)
    assert drawn(second, 8 - stop) == whole[stop:]


def test_generators_inside_are_the_seeds_own_and_outside_the_callers():
    before = generators()
    with own_generators(3):
        one = torch.rand(1), np.random.rand(), random.random()
    assert torch.equal(torch.get_rng_state(), before["torch"])
    with own_generators(3):
        assert (torch.rand(1), np.random.rand(), random.random()) == one
    set_generators(before)
    assert random.getstate() == before["python"]


def test_a_batch_may_be_named_ordered_bare_or_unlabelled():
    x, y = torch.ones(2, 3), torch.zeros(2).long()
    for batch in (({"x": x}, y), (x, y), [x, y], ((x,), y)):
        inputs, target = next(iter(feed([batch])))
        assert torch.equal(inputs["x"], x) and torch.equal(target, y)
    for batch in ({"x": x}, [x], x):
        inputs, target = next(iter(feed([batch])))
        assert torch.equal(inputs["x"], x) and target is None
    inputs, _ = next(iter(feed([({"b": x, "a": y, "more": x}, y)], ("a", "b"))))
    assert list(inputs) == ["a", "b"]


def test_a_last_batch_of_one_row_is_left_out_where_batch_statistics_need_two():
    data = [torch.arange(4.0)[:, None], torch.ones(1, 1)]
    assert rows(feed(data, alone=False), 2) == [[0, 1, 2, 3]] * 2
    assert rows(feed(data), 2) == [[0, 1, 2, 3], [1]]
    assert rows(feed([torch.ones(1, 1), torch.zeros(1, 1)], alone=False), 2) == [[1], [0]]  # all are of one row


def test_arrays_become_tensors_without_a_copy_where_that_is_safe():
    array = np.zeros(3, np.float32)
    assert tensor(array, "cpu").data_ptr() == array.ctypes.data
    array.flags.writeable = False
    assert tensor(array, "cpu").data_ptr() != array.ctypes.data  # torch would warn, and could write to it
    assert tensor(np.arange(3)[::-1], "cpu").tolist() == [2, 1, 0]


def test_whole_numbers_of_targets_become_int64_and_nests_stay():
    target = {"boxes": np.ones((1, 4), np.float32), "kinds": (np.uint8([3]), np.array([True]))}
    made = tensors(target, "cpu")
    assert made["boxes"].dtype == torch.float32
    assert [part.dtype for part in made["kinds"]] == [torch.int64, torch.bool]
    assert tensors(None, "cpu") is None


def test_a_missing_name_says_what_is_there():
    with pytest.raises(DataError, match=r"no array 'y' in a batch that has \['x'\]; the network takes \['x', 'y'\]"):
        next(iter(feed([({"x": torch.ones(1)}, None)], ("x", "y"))))
