"""Decisions are written by hand, so that what flips, what is mended and what is spoilt is known."""

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.flips import find_flips, picture_of
from models.records import InputSpec, Mfcc, Model, OutputSpec, Preprocess

MFCC = Mfcc(sample_rate=8000, window=256, hop=160, mel_bands=20, coefficients=10, low_hz=20, high_hz=4000)


@dataclass
class Decisions:
    """A task of which only the test split and the labels are asked."""

    test: Any
    labels: tuple[str, ...]
    name: str = "decisions"


def model(**facts):
    spec = InputSpec(name="x", dtype="float32", dims=("N", 4))
    return Model(None, (spec,), (OutputSpec(name="y", dtype="float32", dims=("N", 3)),), **facts)  # type: ignore[arg-type]


def deciding(*batches, classes=3):
    """A runner that decides, call after call, as written."""
    left = iter(batches)
    return lambda inputs: {"y": np.eye(classes, dtype=np.float32)[np.asarray(next(left))]}


def batch(*truth, value=None):
    return {"x": np.zeros((len(truth), 4), np.float32) if value is None else value}, np.array(truth)


def flips(truths, before, after, labels=("a", "b", "c"), made=None, **options):
    task = Decisions([t if isinstance(t, tuple) else batch(*t) for t in truths], labels)
    runners = [deciding(*side, classes=len(labels)) for side in (before, after)]
    return find_flips(task, made or model(), *runners, **options)  # type: ignore[arg-type]


def test_each_direction_is_counted_across_batches():
    found = flips([[0, 1, 2], [0, 1]], [[0, 1, 1], [0, 0]], [[0, 2, 2], [0, 2]])
    assert (found.decisions, found.flipped, found.spoilt, found.mended) == (5, 3, 1, 1)
    assert [(f.index, f.label, f.before, f.after) for f in found.shown] == [
        (1, "b", "b", "c"),
        (2, "c", "b", "c"),
        (4, "b", "a", "c"),
    ]


def test_the_same_decisions_flip_nothing():
    found = flips([[0, 1]], [[0, 2]], [[0, 2]])
    assert (found.flipped, found.shown) == (0, ())


def test_every_class_is_shown_before_one_is_shown_twice():
    found = flips([[0] * 50 + [1, 2]], [[1] * 50 + [0, 0]], [[2] * 50 + [2, 1]], limit=4)
    assert [f.label for f in found.shown] == ["a", "a", "b", "c"] and found.flipped == 52


def test_of_many_flips_the_late_ones_are_shown_as_well_and_the_same_each_time():
    once, again = (flips([[0] * 500], [[1] * 500], [[2] * 500], limit=24) for _ in range(2))
    places = [f.index for f in once.shown]
    assert once == again and len(set(places)) == 24 and places == sorted(places)
    assert places[0] < 150 and places[-1] > 350  # of 24 drawn evenly from 500


@pytest.mark.parametrize(
    ("labels", "truth"), [((), [0, 1]), (("only",), [0, 0]), (("a", "b", "c", "d"), [[0, 1], [1, 0]])]
)
def test_nothing_is_claimed_where_the_output_does_not_decide_between_the_labels(labels, truth):
    task = Decisions([batch(*truth)], labels)
    assert find_flips(task, model(), deciding([0, 1]), deciding([1, 0])) is None  # type: ignore[arg-type]


def test_a_target_below_zero_is_no_decision():
    found = flips([[-100, 1]], [[0, 1]], [[1, 2]])
    assert (found.decisions, found.flipped, found.shown[0].index) == (1, 1, 0)


def test_of_text_what_came_before_is_shown_and_a_blank_can_be_seen():
    labels = ("a", " ", "\n")
    text = {"x": np.array([[0, 1, 0, 2]])}
    found = flips([(text, np.array([[1, 0, 2, 0]]))], [[[1, 0, 2, 0]]], [[[1, 0, 1, 0]]], labels)
    (flip,) = found.shown
    assert (flip.index, flip.text, flip.picture) == (2, "a a", "")
    assert (flip.label, flip.before, flip.after) == ("↵", "↵", "␣")


def test_tokens_that_are_no_labels_are_shown_as_numbers():
    found = flips([batch(0, value=np.array([[7, 300, 5, 1]]))], [[0]], [[1]])
    assert found.shown[0].text == "7 300 5 1"


def size(address):
    head, _, data = address.partition(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_sound_has_its_frames_across_whatever_its_length():
    for frames in (11, 49, 98):
        found = flips(
            [batch(0, value=np.arange(frames * 10, dtype=np.float32).reshape(1, 1, frames, 10))],
            [[0]],
            [[1]],
            made=model(preprocess=Preprocess(mfcc=MFCC)),
        )
        image = size(found.shown[0].picture)
        assert image.size == (98, 50)
        top, right = np.asarray(image)[0, 0], np.asarray(image)[0, -1]
        assert top == 0 and right > 200  # time runs to the right, and so do the numbers


@pytest.mark.parametrize(
    ("shape", "expected", "mode"),
    [
        ((3, 8, 6), (6, 8), "RGB"),
        ((1, 8, 6), (6, 8), "L"),
        ((784,), (28, 28), "L"),
        ((5,), (5, 1), "L"),
        ((640, 320), (80, 160), "L"),
        ((2, 3, 4), (12, 2), "L"),
    ],
)
def test_any_input_has_a_picture(shape, expected, mode):
    image = size(picture_of(np.random.default_rng(0).standard_normal(shape)))
    assert (image.size, image.mode) == (expected, mode)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_a_constant_input_has_one_too(value):
    assert size(picture_of(np.full((4, 4), value))).size == (4, 4)
