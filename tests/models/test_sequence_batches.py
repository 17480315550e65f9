import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import DataError
from models.sequence_batches import SequenceBatches, padded
from models.tasks import IGNORED
from models.vocabulary import PAD


def made(lengths, sources=None, **more):
    rows = [np.arange(1, n + 1) + 100 * i for i, n in enumerate(lengths)]
    inputs = {"target": rows}
    if sources is not None:
        inputs["source"] = [np.full(n, i + 1) for i, n in enumerate(sources)]
    return SequenceBatches(inputs=inputs, target=[row + 1 for row in rows], **more)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 4)), min_size=1, max_size=40), st.integers(1, 7))
def test_every_row_is_in_one_batch_and_padding_is_marked(pairs, batch_size):
    lengths, sources = zip(*pairs, strict=True)
    data = made(lengths, sources, alike=("source",), batch_size=batch_size)
    for batches in (list(data), list(data.epoch(3, 5))):
        assert len(batches) == len(data)
        seen = []
        for inputs, target in batches:
            assert len(target) <= batch_size and (inputs["source"] != PAD).all()
            for tokens, wanted in zip(inputs["target"], target, strict=True):
                real = tokens != PAD
                assert (wanted[real] == tokens[real] + 1).all() and (wanted[~real] == IGNORED).all()
                seen.append((int(tokens[0]) // 100, int(real.sum())))
        assert sorted(seen) == sorted(enumerate(lengths))


def test_a_walk_tells_its_order_and_repeats_itself():
    data = made([3, 1, 2, 5, 4], batch_size=2, noise={"noise": (3,)})
    order = np.concatenate(list(data.order()))
    walked = np.concatenate([inputs["target"][:, 0] // 100 for inputs, _ in data])
    assert (order == walked).all()
    for (a, _), (b, _) in zip(data, data, strict=True):
        assert a["noise"].shape == (len(a["target"]), 3) and (a["noise"] == b["noise"]).all()


def test_an_epoch_is_the_same_for_the_same_numbers_and_another_for_others():
    data = made(list(range(1, 30)), batch_size=4, noise={"noise": (2,)})
    first, again, other = (list(data.epoch(*n)) for n in ((1, 0), (1, 0), (2, 0)))
    assert all((a["noise"] == b["noise"]).all() for (a, _), (b, _) in zip(first, again, strict=True))
    assert any(a["target"].shape != b["target"].shape for (a, _), (b, _) in zip(first, other, strict=True))


def test_a_change_is_for_training_alone():
    def drop(arrays, rng):
        return {**arrays, "target": np.zeros_like(arrays["target"])}

    data = made([2, 3], change=drop)
    assert not any(inputs["target"].any() for inputs, _ in data.epoch(0, 0))
    assert all(inputs["target"].any() for inputs, _ in data)


def test_padding_of_two_axes_is_at_the_end_of_both():
    found = padded([np.ones((1, 3), int), np.ones((2, 1), int)], 7)
    assert found.tolist() == [[[1, 1, 1], [7, 7, 7]], [[1, 7, 7], [1, 7, 7]]]


def test_what_does_not_fit_is_a_sentence():
    with pytest.raises(DataError, match="'source' has 1 rows and the target 2"):
        made([1, 2], [1])
    with pytest.raises(DataError, match="batch size 0 asked"):
        made([1], batch_size=0)
    with pytest.raises(DataError, match="no rows"):
        made([])
