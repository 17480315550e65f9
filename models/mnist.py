"""MNIST: handwritten digits, 60,000 to learn from, 10,000 to test on; one digit left out makes an anomaly."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from models.batches import ArrayBatches
from models.datasets import DataSet, archive_members, read_arrays
from models.generation import Bound
from models.records import InputSpec
from models.tasks import Array, Reconstruction

ANOMALY = 2
CODE = 20  # the length of the variational autoencoder's code
VALIDATION = 5000  # the last of the training images


def _convert(archive: Path, folder: Path) -> None:
    for split in ("train", "test"):
        found = []  # split/label/number.png
        for (label, file), png in archive_members(archive, split, ".png"):
            with Image.open(io.BytesIO(png)) as image:
                found.append((int(file.removesuffix(".png")), int(label), np.asarray(image)))
        found.sort(key=lambda one: one[0])
        np.savez_compressed(
            folder / f"{split}.npz",
            images=np.stack([pixels for _, _, pixels in found]),
            labels=np.array([label for _, label, _ in found], np.uint8),
            source_index=np.array([number for number, _, _ in found], np.int32),
        )


MNIST = DataSet(
    name="mnist",
    sha256={
        "train.npz": "09adcac48579c0da1f368f37f825ec3ec15b2e84a39af0b6f99fad410b1b47d2",
        "test.npz": "007163e42762eec02af046f25645e20e8dc9cbcfa9c11f2d302204af52f24781",
    },
    address="https://github.com/rasbt/mnist-pngs/archive/d26bd33bf1e454dd15bd4fe8b8ba64c76308f91c.zip",
    convert=_convert,
    licence="MIT (packaging, S. Raschka); images: Y. LeCun, C. Cortes, C. Burges",
)


def pixels(images: Array) -> Array:
    """Bytes (N, 28, 28) -> (N, 784) in [0, 1]."""
    scaled: Array = images.reshape(len(images), -1).astype(np.float32) / 255
    return scaled


def anomaly_task(*, batch_size: int = 64, inputs: Sequence[InputSpec] = (), digit: int = ANOMALY) -> Reconstruction:
    """Draw digits again, trained on all but one digit, which is the anomaly of validation and test."""
    name = inputs[0].name if inputs else "x"
    train, test = read_arrays(MNIST, "train.npz"), read_arrays(MNIST, "test.npz")

    def judged(images: Array, labels: Array) -> ArrayBatches:
        target = (labels == digit).astype(np.int64)
        return ArrayBatches(inputs={name: pixels(images)}, target=target, batch_size=batch_size)

    usual = train["images"][:-VALIDATION][train["labels"][:-VALIDATION] != digit]
    drawn = pixels(usual)
    return Reconstruction(
        name="mnist",
        train=ArrayBatches(inputs={name: drawn}, target=drawn, batch_size=batch_size),
        validation=judged(train["images"][-VALIDATION:], train["labels"][-VALIDATION:]),
        test=judged(test["images"], test["labels"]),
    )


def _drawn_anew(noise: Array, rng: np.random.Generator) -> Array:
    return np.asarray(rng.standard_normal(noise.shape, np.float32))


def digits_task(*, batch_size: int = 64, inputs: Sequence[InputSpec] = ()) -> Bound:
    """Draw all ten digits again through a random code.

    A second input is the code's noise, standard normal: drawn anew for each epoch of training, fixed for each row of
    validation and test.
    """
    name, *noise = [spec.name for spec in inputs] or ["x", "noise"]
    length = inputs[1].dims[-1] if len(inputs) > 1 else CODE
    train, test = read_arrays(MNIST, "train.npz"), read_arrays(MNIST, "test.npz")

    def split(images: Array, seed: int) -> ArrayBatches:
        drawn = pixels(images)
        fixed = np.random.default_rng(seed).standard_normal((len(drawn), int(length)), np.float32)
        return ArrayBatches(
            inputs={name: drawn, **dict.fromkeys(noise, fixed)},
            target=drawn,
            batch_size=batch_size,
            augment=dict.fromkeys(noise, _drawn_anew),
        )

    return Bound(
        name="mnist-digits",
        train=split(train["images"][:-VALIDATION], 0),
        validation=split(train["images"][-VALIDATION:], 1),
        test=split(test["images"], 2),
    )
