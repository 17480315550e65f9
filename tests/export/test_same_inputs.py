"""Models that are compared see one length and the same numbers, whichever of them knows the length."""

from dataclasses import replace

import numpy as np

from export.same_inputs import known_lengths, same_arrays, same_numbers, usual_sizes
from models.records import InputSpec, Model, example, sizes_of


def model(*inputs: tuple[str, tuple[int | str, ...]], **typical: int) -> Model:
    return Model(None, tuple(InputSpec(name=n, dtype="float32", dims=d) for n, d in inputs), typical=typical)


def lengths(*models: Model) -> list[tuple[int, ...]]:
    """The shapes of all inputs, model by model."""
    known = known_lengths(models)
    return [spec.shape(sizes_of(one, **usual_sizes(one, known))) for one in models for spec in one.inputs]


def test_a_length_that_one_knows_is_that_of_all_whatever_they_call_it():
    heard, written = model(("x", ("N", "time", 4)), time=3), model(("x", ("N", "T", 4)))
    assert lengths(written, heard) == lengths(heard, written) == [(1, 3, 4)] * 2


def test_of_two_that_know_one_the_first_is_right():
    assert lengths(model(("x", ("N", "T")), T=3), model(("x", ("N", "T")), T=5)) == [(1, 3)] * 2


def test_what_no_model_knows_is_as_the_first_has_it_and_a_fixed_batch_follows():
    free, fixed = model(("x", ("N", "T", 4))), model(("x", (1, "T", 4)))
    assert lengths(fixed) == [(1, 1, 4)]  # by itself: its first letter is no batch
    assert lengths(free, fixed) == [(1, 16, 4)] * 2
    assert lengths() == []


def test_one_letter_for_two_inputs_is_one_size():
    both = model(("x", ("N", "T")), ("mask", ("N", "T")))
    alone = model(("x", ("N", "T")), T=9)
    assert lengths(both, alone) == [(1, 9)] * 3


def test_numbers_are_the_firsts_where_they_fit_and_states_stay():
    first, other = model(("x", ("N", 4)), ("h", ("N", 2))), model(("h", ("N", 2)), ("x", ("N", 4)), ("z", ("N", 4)))
    stepped = Model(None, (InputSpec(name="h", dtype="float32", dims=("N", 2), state_of="hn"),))
    own = [example(one.inputs, {"N": 2}, seed=seed) for seed, one in enumerate((first, other, stepped))]
    a, b, c = same_arrays([first, other, stepped], own)
    assert a == own[0]
    np.testing.assert_array_equal(b["x"], a["x"])
    np.testing.assert_array_equal(b["h"], a["h"])
    np.testing.assert_array_equal(b["z"], own[1]["z"])
    assert not c["h"].any()


def test_a_number_beside_the_rows_that_one_model_knows_is_that_of_all():
    x, rate = InputSpec(name="x", dtype="float32", dims=("N", 4)), InputSpec(name="rate", dtype="int64", dims=())
    written, heard = Model(None, (x, rate)), Model(None, (x, replace(rate, usual=16000)))
    made = same_numbers([written, heard])
    assert [[spec.usual for spec in one.inputs] for one in made] == [[None, 16000]] * 2
    assert example(made[0].inputs, {"N": 1})["rate"] == 16000
