import os

import numpy as np
import pytest

from models.fsdd import DEVIATION, FEATURES, LABELS, MEAN, features, frames_task, recordings, task, vary_second
from models.mfcc import FRAMES, SPOKEN_DIGITS, mfcc, one_second, quantized, silence

SPLITS = {"train": 2100, "validation": 300, "test": 600}


def test_the_splits_are_of_different_recordings_and_make_the_whole():
    with np.load(FEATURES) as stored:
        assert len(stored["digit"]) == 3000 and stored["mfcc"].shape == (3000, 49, 10)
        assert len(set(zip(stored["digit"], stored["speaker"], stored["number"], strict=True))) == 3000
    for split, rows in SPLITS.items():
        found = features(split)
        assert len(found.digit) == rows
        # every digit and every speaker alike often
        assert np.bincount(found.digit).tolist() == [rows // 10] * 10
        assert set(np.unique(found.speaker, return_counts=True)[1].tolist()) == {rows // 6}


def test_the_features_are_small_enough_to_carry_and_carry_their_attribution():
    assert FEATURES.stat().st_size < 2_000_000
    said = (FEATURES.parent / "ATTRIBUTION.md").read_text()
    assert "CC BY-SA 4.0" in said or "Attribution-ShareAlike 4.0" in said
    assert "free-spoken-digit-dataset" in said


def test_mean_and_deviation_are_those_of_the_training_frames():
    found = features("train")
    frames = found.x[np.arange(FRAMES) < found.length[:, None]]
    # the constants are rounded to a tenth
    np.testing.assert_allclose(frames.mean(0) * DEVIATION, 0, atol=0.06)
    np.testing.assert_allclose(frames.std(0) * DEVIATION, DEVIATION, atol=0.06)


def test_after_the_recording_there_is_silence():
    found = features("test")
    quiet = (silence(SPOKEN_DIGITS) - np.float32(MEAN)) / np.float32(DEVIATION)
    # a frame holds two hops: the one after the last whole frame may hold the recording's end
    after = found.x[np.arange(FRAMES) > found.length[:, None] + 1]
    assert len(after) > 1000
    with np.load(FEATURES) as stored:
        half_a_step = stored["scale"] / 2 / np.float32(DEVIATION)
    assert (np.abs(after - quiet) <= half_a_step + 1e-5).all()


def test_the_two_layouts_hold_the_same_features():
    whole, frames = task(batch_size=600), frames_task(batch_size=600)
    (inputs, target), *_ = whole.test
    assert inputs["x"].shape == (600, 1, 49, 10) and inputs["x"].dtype == np.float32
    assert whole.labels == frames.labels == LABELS
    lengths = features("test").length
    for inputs, target_frames in frames.test:
        frame_count = inputs["x"].shape[1]
        rows = np.flatnonzero(lengths == frame_count)
        np.testing.assert_array_equal(inputs["x"], whole.test.inputs["x"][rows, 0, :frame_count])
        np.testing.assert_array_equal(target_frames, target[rows])


def test_training_data_vary_by_epoch_and_nothing_else():
    for made in (task(), frames_task()):
        first, again, other = (list(made.train.epoch(number, 0)) for number in (0, 0, 1))
        for (a, ya), (b, yb) in zip(first, again, strict=True):
            np.testing.assert_array_equal(a["x"], b["x"])
            np.testing.assert_array_equal(ya, yb)
            assert a["x"].dtype == np.float32
        assert any(
            a["x"].shape != b["x"].shape or (a["x"] != b["x"]).any()
            for (a, _), (b, _) in zip(first, other, strict=False)
        )
    assert not features("train").x.flags.writeable


def test_a_varied_second_is_still_the_same_word():
    x = features("train").x[:50, None]
    varied = vary_second(x, np.random.default_rng(0))
    assert varied.shape == x.shape and np.isfinite(varied).all()
    # loudness over time, at its best shift, resembles the original's
    for before, after in zip(x[:, 0, :, 0], varied[:, 0, :, 0], strict=True):
        best = max(np.corrcoef(np.roll(before, shift), after)[0, 1] for shift in range(-4, 13))
        assert best > 0.6


def test_a_tone_lies_in_its_mel_band():
    librosa = pytest.importorskip("librosa")
    # the inverse DCT of all coefficients is the log mel spectrum; the loudest band holds the tone
    every = {**vars(SPOKEN_DIGITS), "coefficients": SPOKEN_DIGITS.mel_bands}
    settings = type(SPOKEN_DIGITS)(**every)
    from scipy.fft import idct

    centres = librosa.mel_frequencies(n_mels=42, fmin=20.0, fmax=4000.0)[1:-1]
    for hertz in (500.0, 1000.0, 2500.0):
        tone = 0.5 * np.sin(2 * np.pi * hertz * np.arange(8000) / 8000)
        frames = mfcc(tone, settings)
        assert frames.shape == (FRAMES, 40)
        bands = idct(frames, norm="ortho", axis=1)
        assert np.abs(centres[bands[10].argmax()] - hertz) < 100


def test_silence_is_the_frame_that_silence_gives():
    pytest.importorskip("librosa")
    np.testing.assert_allclose(mfcc(np.zeros(320), SPOKEN_DIGITS), [silence(SPOKEN_DIGITS)], atol=1e-3)


@pytest.mark.parametrize(("samples", "length"), [(100, 1), (320, 1), (479, 1), (480, 2), (8000, 49), (20000, 49)])
def test_lengths_count_the_windows_that_fit(samples, length):
    pytest.importorskip("librosa")
    frames, found = one_second(np.ones(samples), SPOKEN_DIGITS)
    assert frames.shape == (49, 10) and found == length


@pytest.mark.skipif("COMPRESS_DATA" not in os.environ, reason="the recordings are not on this machine")
def test_the_committed_features_are_those_of_the_recordings():
    pytest.importorskip("librosa")
    some = [one for i, one in enumerate(recordings()) if i % 150 == 0]
    made = quantized(some)
    with np.load(FEATURES) as stored:
        for name in ("digit", "speaker", "number", "length"):
            np.testing.assert_array_equal(made[name], stored[name][::150])
        decibel = made["mfcc"] * made["scale"] + made["offset"]
        committed = stored["mfcc"][::150] * stored["scale"] + stored["offset"]
        # each is rounded to its own scale
        assert (np.abs(decibel - committed) <= (made["scale"] + stored["scale"]) / 2 + 1e-4).all()
