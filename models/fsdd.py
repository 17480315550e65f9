"""Spoken digits, 3,000 recordings by six speakers, as the MFCC features that lie in the package.

Test is the recordings 0 to 9 of each digit and speaker, the official test set 0 to 4 among them; validation 10 to 14.
A rotation turns the three by ten recordings each, so that in ROTATIONS of them every recording is tested once.
"""

from __future__ import annotations

import io
import re
import wave
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from models.batches import ArrayBatches
from models.datasets import DataSet, archive_members, read_members
from models.mfcc import SPOKEN_DIGITS, quantized, silence
from models.records import InputSpec, Preprocess, Split
from models.tasks import Array, Classification

FEATURES = Path(__file__).parent / "features" / "fsdd.npz"
# of weights trained on it
LICENCE = "CC BY-SA 4.0: trained on the Free Spoken Digit Dataset (Z. Jackson and the speakers, CC BY-SA 4.0)"
LABELS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
NUMBERS: dict[Split, range] = {"test": range(10), "validation": range(10, 15), "train": range(15, 50)}
ROTATIONS = 5

# mean and 1 / deviation of each coefficient, in dB, over the frames of the training recordings
MEAN = (-244.0, 39.2, 15.3, 8.5, -5.9, -3.5, -4.1, -2.2, -3.5, -0.9)
DEVIATION = (75.5, 28.9, 20.2, 16.5, 12.2, 11.8, 8.6, 9.3, 7.2, 6.3)
PREPROCESS = Preprocess(mean=MEAN, scale=tuple(1 / d for d in DEVIATION), mfcc=SPOKEN_DIGITS)

LATER, EARLIER = 12, 4  # frames the word is moved by, at most, in training: recordings begin with the word


def _convert(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(folder / "recordings.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for path, content in archive_members(archive, "recordings", ".wav"):
            packed.writestr("/".join(("recordings", *path)), content)


FSDD = DataSet(
    name="fsdd",
    sha256={"recordings.zip": "45254aed2010fa0ae750ec0bfe2507c6fd5a9b624f4f7526f42dc872bcef7165"},
    address="https://github.com/Jakobovski/free-spoken-digit-dataset/archive/26eb9aaf76e81b692f806f9140c2d2777410d7a1.zip",
    convert=_convert,
    licence="CC BY-SA 4.0, Free Spoken Digit Dataset by Z. Jackson and the speakers",
)


def recordings() -> Iterator[tuple[int, str, int, Array]]:
    """Digit, speaker, number and samples in [-1, 1) of every recording, in that order; needs the raw set."""
    found = []
    for path, content in read_members(FSDD, "recordings.zip"):
        if named := re.fullmatch(r"recordings/(\d)_([a-z]+)_(\d+)\.wav", path):
            found.append((int(named[1]), named[2], int(named[3]), content))
    for digit, speaker, number, content in sorted(found, key=lambda one: one[:3]):
        with wave.open(io.BytesIO(content)) as wav:
            samples = np.frombuffer(wav.readframes(wav.getnframes()), "<i2")
        yield digit, speaker, number, samples / np.float32(32768)


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """One split: `x` (N, 49, 10) as the networks take it, class numbers, and how many frames hold the recording."""

    x: Array
    digit: Array
    length: Array
    speaker: Array


def normalized(decibel: Array) -> Array:
    """Coefficients (..., 10) in dB as the networks take them."""
    scaled: Array = (decibel - np.array(MEAN, np.float32)) / np.array(DEVIATION, np.float32)
    return scaled


@cache
def features(split: Split, rotation: int = 0) -> Features:
    """The features of one split. They are shared: copy before you write."""
    with np.load(FEATURES) as stored:
        chosen = np.isin((stored["number"].astype(int) - 10 * rotation) % 50, NUMBERS[split])
        decibel = stored["mfcc"][chosen] * stored["scale"] + stored["offset"]
        x = normalized(decibel)
        x.setflags(write=False)
        return Features(
            x=x,
            digit=stored["digit"][chosen].astype(np.int64),
            length=stored["length"][chosen].astype(np.int64),
            speaker=stored["speaker"][chosen],
        )


def task(*, batch_size: int = 64, inputs: Sequence[InputSpec] = (), rotation: int = 0) -> Classification:
    """Name the digit spoken in one second (N, 1, 49, 10), or in the frames alone for a model of inputs (N, T, 10)."""
    name = inputs[0].name if inputs else "x"
    frames = bool(inputs) and len(inputs[0].dims) == 3

    def split(which: Split) -> ArrayBatches:
        found = features(which, rotation)
        return ArrayBatches(
            inputs={name: found.x if frames else found.x[:, None]},
            target=found.digit,
            batch_size=batch_size,
            augment={name: vary_frames if frames else vary_second},
            lengths=found.length if frames else None,
        )

    return Classification(
        name="fsdd", labels=LABELS, train=split("train"), validation=split("validation"), test=split("test")
    )


def frames_task(*, batch_size: int = 64, rotation: int = 0) -> Classification:
    """Name the digit spoken, from frames (N, T, 10) of which there are as many as the recording has."""
    frames = InputSpec(name="x", dtype="float32", dims=("N", "T", 10))
    return task(batch_size=batch_size, inputs=(frames,), rotation=rotation)


def vary_second(batch: Array, rng: np.random.Generator) -> Array:
    """Seconds (N, 1, T, C): the word moved in time, louder or softer, with noise and masks."""
    count, _, frames, width = batch.shape
    quiet = normalized(silence(SPOKEN_DIGITS))
    before, after = (np.broadcast_to(quiet, (count, 1, size, width)) for size in (LATER, EARLIER))
    padded = np.concatenate([before, batch, after], axis=2)
    taken = rng.integers(0, LATER + EARLIER + 1, (count, 1)) + np.arange(frames)
    return _disturb(padded[np.arange(count)[:, None], :, taken].transpose(0, 2, 1, 3), rng)


def vary_frames(batch: Array, rng: np.random.Generator) -> Array:
    """Frames (N, T, C): up to two left out at either end, louder or softer, with noise and masks."""
    frames = batch.shape[1]
    if frames > 8:
        begin, end = rng.integers(0, 3, 2)
        batch = batch[:, begin : frames - end]
    return _disturb(batch, rng)


def _disturb(batch: Array, rng: np.random.Generator) -> Array:
    """Loudness, noise and masks, SpecAugment's in kind (Park et al. 2019, arXiv:1904.08779); a mask is the mean, 0."""
    count, (frames, width) = len(batch), batch.shape[-2:]
    rows = (count,) + (1,) * (batch.ndim - 1)
    changed = batch + 0.1 * rng.standard_normal(batch.shape, np.float32)
    changed[..., 0] += 0.25 * rng.standard_normal(rows[:-1], np.float32)  # the first coefficient is the loudness
    along = np.arange(frames)[:, None]
    start = rng.integers(0, frames, rows)
    stretch = rng.integers(0, max(1, min(5, frames // 5)) + 1, rows)
    changed = np.where((along >= start) & (along < start + stretch), np.float32(0), changed)
    coefficient = rng.integers(1, 2 * width, rows)  # half of the rows lose one; never the loudness
    varied: Array = np.where(np.arange(width) == coefficient, np.float32(0), changed)
    return varied


def write_features(path: Path = FEATURES) -> None:
    """Make the features from the raw set; in a Python that said `import compress` first."""
    np.savez_compressed(path, allow_pickle=False, **quantized(recordings()))
