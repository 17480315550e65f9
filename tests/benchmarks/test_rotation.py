import json

import numpy as np
import pytest
from scipy.stats import binomtest

import compress  # noqa: F401
from benchmarks.rotation import compare, fold, mcnemar
from models.fsdd import ROTATIONS, features
from models.records import Training

SHORT = Training(epochs=1, batch_size=512)


def test_every_recording_is_tested_in_one_rotation_and_none_is_in_two_splits():
    tested = np.concatenate([features("test", rotation).x for rotation in range(ROTATIONS)])
    assert len(np.unique(tested.reshape(3000, -1), axis=0)) == 3000
    for rotation in range(ROTATIONS):
        rows = {split: features(split, rotation).x for split in ("train", "validation", "test")}
        assert [len(x) for x in rows.values()] == [2100, 300, 600]
        assert len(np.unique(np.concatenate(list(rows.values())).reshape(3000, -1), axis=0)) == 3000
    np.testing.assert_array_equal(features("test", 0).x, features("test").x)


@pytest.mark.parametrize(("a", "b"), [(0, 0), (3, 3), (0, 5), (12, 4), (40, 61)])
def test_mcnemars_probability_is_that_of_a_fair_coin(a, b):
    wanted = binomtest(a, a + b).pvalue if a + b else 1.0
    assert mcnemar(a, b) == pytest.approx(wanted)


def test_a_finished_fold_is_not_trained_again_and_one_of_other_settings_is(tmp_path):
    first = fold("gru-fsdd", 1, tmp_path, training=SHORT, options={"width": 4})
    (path,) = tmp_path.iterdir()
    assert path.name == "gru-fsdd.1.json" and len(first["right"]) == 600
    path.write_text(json.dumps({**first, "right": [1] * 600}))  # to be told from a training
    assert sum(fold("gru-fsdd", 1, tmp_path, training=SHORT, options={"width": 4})["right"]) == 600
    other = fold("gru-fsdd", 1, tmp_path, training=SHORT, options={"width": 5})
    assert sum(other["right"]) < 600 and other["parameters"] > first["parameters"]


def test_two_models_are_compared_by_recording():
    def folds(parameters, *rows):
        facts = {"parameters": parameters, "training": {}, "seconds": 1.0}
        return [{**facts, "right": list(map(int, row))} for row in rows]

    found = compare({"large": folds(20, "1101", "1111"), "small": folds(10, "1111", "1110")})
    assert found["models"]["large"]["of_each_rotation"] == [0.75, 1.0]
    assert found["predictions"] == 8 and found["only_right"] == {"large": 1, "small": 1}
    assert found["difference"]["value"] == 0 and found["mcnemar_p"] == 1
    assert found["difference"]["low"] < 0 < found["difference"]["high"]
