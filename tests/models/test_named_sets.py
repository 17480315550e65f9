import io
import os
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from models import cifar, mnist, shakespeare
from models.datasets import read_arrays, read_bytes
from models.errors import DataError
from models.records import InputSpec

here = pytest.mark.skipif("COMPRESS_DATA" not in os.environ, reason="the data are not on this machine")


@here
def test_photographs_are_those_of_the_files_whatever_is_asked_first():
    packed = read_arrays(cifar.CIFAR10_JPEG, "test.npz")
    photographs = cifar.Photographs(packed["jpeg"], packed["offsets"])
    assert len(photographs) == 10_000
    rows = np.array([7, 3, 9_999, 3])
    for _ in range(2):  # decoded, then remembered
        for row, pixels in zip(rows, photographs[rows], strict=True):
            jpeg = packed["jpeg"][packed["offsets"][row] : packed["offsets"][row + 1]].tobytes()
            np.testing.assert_array_equal(pixels, np.asarray(Image.open(io.BytesIO(jpeg))))


@here
def test_photographs_are_split_by_class_alike_and_normalized():
    made = cifar.task(batch_size=500)
    assert [np.bincount(split.target).tolist() for split in (made.train, made.validation, made.test)] == [
        [4500] * 10,
        [500] * 10,
        [1000] * 10,
    ]
    inputs, _ = next(iter(made.validation))
    assert inputs["x"].shape == (500, 3, 32, 32) and inputs["x"].dtype == np.float32
    assert inputs["x"].flags.c_contiguous
    # 500 pictures know the mean and the deviation of all to some percent
    np.testing.assert_allclose(inputs["x"].mean((0, 2, 3)), 0, atol=0.1)
    np.testing.assert_allclose(inputs["x"].std((0, 2, 3)), 1, atol=0.1)
    first, again = (next(made.train.epoch(0, 0)) for _ in range(2))
    np.testing.assert_array_equal(first[0]["x"], again[0]["x"])


def test_a_photograph_is_flipped_and_shifted_and_nothing_else():
    rng = np.random.default_rng(0)
    batch = rng.integers(0, 256, (64, 8, 8, 3)).astype(np.uint8)
    moved = cifar.flip_and_shift(batch, rng)
    assert moved.shape == batch.shape and moved.dtype == np.uint8
    seen = set()
    for before, after in zip(batch, moved, strict=True):
        padded = np.pad(before, ((2, 2), (2, 2), (0, 0)), mode="reflect")
        found = [
            (down, right, flipped)
            for down in range(5)
            for right in range(5)
            for flipped in (False, True)
            if (after == padded[down : down + 8, right : right + 8][:, :: -1 if flipped else 1]).all()
        ]
        assert len(found) == 1
        seen.add(found[0])
    assert len(seen) > 20  # of 50 ways


@here
def test_the_autoencoder_never_sees_the_digit_it_must_find():
    made = mnist.anomaly_task(batch_size=1000)
    stored = read_arrays(mnist.MNIST, "train.npz")
    usual = stored["labels"][:55_000] != mnist.ANOMALY
    assert made.train.rows == usual.sum() and made.train.target is made.train.inputs["x"]
    np.testing.assert_array_equal(
        np.rint(made.train.inputs["x"][:100] * 255), stored["images"][:55_000][usual][:100].reshape(100, 784)
    )
    for split, rows in ((made.validation, 5_000), (made.test, 10_000)):
        assert split.rows == rows and 0.08 < split.target.mean() < 0.12
        assert split.inputs["x"].min() == 0 and split.inputs["x"].max() == 1


@here
def test_any_digit_can_be_the_one_left_out():
    made = mnist.anomaly_task(digit=7)
    labels = {split: read_arrays(mnist.MNIST, f"{split}.npz")["labels"] for split in ("train", "test")}
    assert made.train.rows == (labels["train"][:55_000] != 7).sum()
    np.testing.assert_array_equal(made.test.target, labels["test"] == 7)


@here
def test_noise_is_new_in_each_epoch_and_fixed_where_it_is_scored():
    made = mnist.digits_task(batch_size=1000)
    assert (made.train.rows, made.validation.rows, made.test.rows) == (55_000, 5_000, 10_000)
    (first, image), (again, _) = (next(iter(made.with_batch_size(size).test)) for size in (1000, 300))
    np.testing.assert_array_equal(first["noise"][:300], again["noise"])
    np.testing.assert_array_equal(first["x"], image)
    epochs = [next(made.train.epoch(number, 0))[0]["noise"] for number in (0, 0, 1)]
    np.testing.assert_array_equal(epochs[0], epochs[1])
    assert (epochs[0] != epochs[2]).all() and epochs[0].shape == (1000, 20) and epochs[0].dtype == np.float32
    # five standard errors of the mean and of the variance of 20,000 numbers
    assert abs(epochs[0].mean()) < 5 / np.sqrt(20_000) and abs(epochs[0].var() - 1) < 5 * np.sqrt(2 / 20_000)


@here
def test_noise_is_as_long_as_the_model_takes_it_and_under_its_names():
    image = InputSpec(name="picture", dtype="float32", dims=("N", 784))
    inputs, _ = next(iter(mnist.digits_task(inputs=(image, replace(image, name="eps", dims=("N", 5)))).train))
    assert {name: array.shape for name, array in inputs.items()} == {"picture": (64, 784), "eps": (64, 5)}
    assert list(next(iter(mnist.digits_task(inputs=(image,)).test))[0]) == ["picture"]


def test_chunks_lie_side_by_side_and_are_followed_by_what_follows():
    ids = np.arange(100)
    made = shakespeare.chunks(ids, name="ids", batch_size=2, context=8)
    assert made.rows == 12
    rows = np.concatenate([inputs["ids"] for inputs, _ in made])
    np.testing.assert_array_equal(rows.ravel(), np.arange(96))
    np.testing.assert_array_equal(np.concatenate([target for _, target in made]), rows + 1)
    assert shakespeare.chunks(ids, name="ids", batch_size=2, context=8, stride=2).rows == 46


@here
def test_the_vocabulary_is_that_of_the_text_and_the_test_is_its_last_tenth():
    text = read_bytes(shakespeare.TINYSHAKESPEARE, "input.txt").decode()
    assert "".join(sorted(set(text))) == shakespeare.VOCABULARY and len(shakespeare.VOCABULARY) == 65
    made = shakespeare.task(batch_size=1000)
    tenth = text[len(text) * 9 // 10 :]
    scored = np.concatenate([target for _, target in made.test]).ravel()
    read = shakespeare.decode(scored[scored >= 0])
    assert read == tenth[1 : 1 + len(read)] and len(tenth) - len(read) <= shakespeare.CONTEXT
    # nothing of the validation and the test is trained on
    last = shakespeare.decode(np.append(made.train.inputs["ids"][-1], made.train.target[-1, -1]))
    assert text.rindex(last) + len(last) <= len(text) * 17 // 20


def test_an_unknown_character_is_named():
    assert shakespeare.decode(shakespeare.encode("To be\n")) == "To be\n"
    with pytest.raises(DataError, match="the character 'é' is not one of the 65"):
        shakespeare.encode("né")


def test_what_is_scored_is_read_once_and_from_at_least_half_a_context():
    ids = np.arange(100) % 65
    made = shakespeare.read_once(ids, name="ids", batch_size=4, context=8)
    counted = []
    for inputs, target in made:
        for row, wanted in zip(inputs["ids"], target, strict=True):
            first = int(np.argmax(wanted >= 0))
            assert first == (0 if not counted else 4), "all of the first piece, then the second half of each"
            assert (wanted[first:] == (row[first:] + 1) % 65).all()
            counted += list(wanted[first:])
    assert counted == list(ids[1 : 1 + len(counted)]) and len(counted) > 90
