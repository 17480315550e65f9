"""From sound to features: the mel-frequency cepstrum, with its settings in a `Mfcc` record."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from models.errors import MissingExtraError
from models.records import Mfcc

SPOKEN_DIGITS = Mfcc(sample_rate=8000, window=320, hop=160, mel_bands=40, coefficients=10, low_hz=20.0, high_hz=4000.0)
FLOOR = 1e-6  # power below which a mel band counts as silent: -60 dB, under the recordings' own noise
FRAMES = 49  # one second: 1 + (8000 - 320) // 160


def mfcc(signal: np.ndarray[Any, Any], settings: Mfcc) -> np.ndarray[Any, Any]:
    """The first cepstral coefficients of each whole window, in dB: (samples,) in [-1, 1] -> (frames, coefficients).

    Hann window, Slaney's mel scale, orthonormal DCT-II; no pre-emphasis and no padding. A signal shorter than one
    window is filled up with silence to one.

    Raises:
        MissingExtraError: librosa is not installed.

    Source: Davis & Mermelstein 1980, doi:10.1109/TASSP.1980.1163420.
    """
    try:
        import librosa
    except ImportError as error:
        raise MissingExtraError(
            "mfcc: features of sound need librosa, which is not installed. Run: pip install 'compress-nn[audio]'"
        ) from error
    signal = np.pad(signal, (0, max(0, settings.window - len(signal))))
    mel = librosa.feature.melspectrogram(
        y=signal.astype(np.float32),
        sr=settings.sample_rate,
        n_fft=settings.window,
        hop_length=settings.hop,
        center=False,
        n_mels=settings.mel_bands,
        fmin=settings.low_hz,
        fmax=settings.high_hz,
    )
    decibel = librosa.power_to_db(mel, amin=FLOOR, top_db=None)
    cepstrum: np.ndarray[Any, Any] = librosa.feature.mfcc(S=decibel, n_mfcc=settings.coefficients, norm="ortho").T
    return cepstrum


def silence(settings: Mfcc) -> np.ndarray[Any, Any]:
    """The frame that digital silence gives, (coefficients,): every band at the floor, so all but the first are 0."""
    frame = np.zeros(settings.coefficients, np.float32)
    frame[0] = 10 * np.log10(FLOOR) * np.sqrt(settings.mel_bands)
    return frame


def one_second(signal: np.ndarray[Any, Any], settings: Mfcc) -> tuple[np.ndarray[Any, Any], int]:
    """The features of one second from the start, (frames, coefficients), and how many of the frames hold the recording.

    What is longer is cut, what is shorter is followed by silence.
    """
    length = min(len(signal), settings.sample_rate)
    second = np.zeros(settings.sample_rate, np.float32)
    second[:length] = signal[:length]
    return mfcc(second, settings), 1 + max(0, length - settings.window) // settings.hop


def quantized(
    recordings: Iterable[tuple[int, str, int, np.ndarray[Any, Any]]], settings: Mfcc = SPOKEN_DIGITS
) -> dict[str, np.ndarray[Any, Any]]:
    """Features of all recordings as int8: `mfcc` = q * scale + offset in dB, per coefficient, with what they are of."""
    digit, speaker, number, frames, length = [], [], [], [], []
    for d, s, n, signal in recordings:
        frame, size = one_second(signal, settings)
        digit.append(d)
        speaker.append(s)
        number.append(n)
        frames.append(frame)
        length.append(size)
    stacked = np.stack(frames)  # (recordings, frames, coefficients)
    low, high = stacked.min((0, 1)), stacked.max((0, 1))
    scale, offset = (high - low) / 254, (high + low) / 2
    return {
        "mfcc": np.clip(np.rint((stacked - offset) / scale), -127, 127).astype(np.int8),
        "scale": scale.astype(np.float32),
        "offset": offset.astype(np.float32),
        "length": np.array(length, np.uint8),
        "digit": np.array(digit, np.uint8),
        "speaker": np.array(speaker),
        "number": np.array(number, np.uint8),
    }
