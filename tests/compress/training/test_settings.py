import dataclasses

import pytest

from compress.training.settings import DEFAULTS, Recovery
from models.errors import UsageError


def test_every_setting_is_a_fact():
    assert list(DEFAULTS.facts()) == [field.name for field in dataclasses.fields(Recovery)]
    assert {"learning_rate", "average", "teacher_weight", "features", "precision"} <= DEFAULTS.facts().keys()
    training = Recovery(learning_rate=0.5, average=0.25).training()
    assert (training.learning_rate, training.average) == (0.5, 0.25)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 0.0}, "recovery: learning_rate=0, and it must be more than 0"),
        ({"temperature": float("inf")}, "recovery: temperature=inf, and it must be more"),
        ({"teacher_weight": 1.5}, "teacher_weight=1.5, and it must lie from 0 to 1"),
        ({"average": 1.0}, "average=1, and it must be 0 or more, and less than 1"),
        ({"patience": -1}, "patience=-1, and it must be 0 or more"),
        ({"features": float("nan")}, "features=nan, and it must be 0 or more"),
        ({"precision": "int8"}, "precision='int8', and it is one of auto, off, bf16, fp16"),
    ],
)
def test_what_is_out_of_range_is_refused(change, message):
    with pytest.raises(UsageError, match=message):
        Recovery(**change)
