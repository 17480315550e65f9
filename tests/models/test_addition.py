import numpy as np

from models.addition import STEPS, pairs, task, to_bits


def test_all_pairs_are_tested_and_the_other_parts_do_not_meet():
    everything = {tuple(pair) for pair in pairs("test").tolist()}
    assert everything == {(a, b) for a in range(256) for b in range(256)}
    train, validation = ({tuple(pair) for pair in pairs(split).tolist()} for split in ("train", "validation"))
    assert (len(train), len(validation)) == (24_576, 8_192)
    assert not train & validation and train | validation <= everything


def test_bits_begin_with_the_least():
    assert to_bits(np.array([6, 1]), 4).tolist() == [[0, 1, 1, 0], [1, 0, 0, 0]]


def test_the_target_is_the_sum():
    weights = 1 << np.arange(STEPS)
    for inputs, target in task(batch_size=5000).test:
        assert inputs["bits"].dtype == np.float32 and inputs["bits"].shape[1:] == (STEPS, 2)
        a, b = (inputs["bits"] * weights[:, None]).sum(1).T
        np.testing.assert_array_equal(a + b, target @ weights)
