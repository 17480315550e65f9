import pytest

from benchmarks.words import bytes_text, count_text, drop_text, score_text, time_text, times_text

ACCURACY = {"unit": "fraction", "metric_name": "accuracy"}
BITS = {"unit": "bits per character", "metric_name": "bits per character"}


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "–"),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KB"),
        (1_747_000, "1,747 KB"),
        (67_805_184, "67.8 MB"),
        (25.3e9, "25.3 GB"),
    ],
)
def test_bytes_have_their_unit(count, text):
    assert bytes_text(count) == text


@pytest.mark.parametrize(("count", "text"), [(None, "–"), (4354, "4,354"), (20_141_120, "20.14 M")])
def test_counts_have_their_thousands_apart(count, text):
    assert count_text(count) == text


@pytest.mark.parametrize(("ms", "text"), [(None, "–"), (0.0195, "19.5 µs"), (1, "1.00 ms"), (1234.5, "1,234.50 ms")])
def test_times_have_their_unit(ms, text):
    assert time_text(ms) == text


@pytest.mark.parametrize(("ratio", "text"), [(0.974, "0.97×"), (4.9, "4.90×"), (101, "101.0×"), (1234, "1,234×")])
def test_ratios_have_three_places_or_more(ratio, text):
    assert times_text(ratio) == text


def test_an_accuracy_is_in_per_cent_and_its_loss_in_points():
    assert score_text(0.9933, ACCURACY) == "99.3 %" and score_text(None, ACCURACY) == "–"
    assert drop_text(0.0083, ACCURACY) == "0.83 pt" and drop_text(-0.0017, ACCURACY) == "−0.17 pt"


def test_any_other_score_stays_as_it_is_and_a_fraction_of_another_name_has_points_too():
    assert score_text(2.45, BITS) == "2.4500" and drop_text(0.05, BITS) == "0.0500"
    assert score_text(0.968, {"unit": "fraction", "metric_name": "AUC"}) == "0.9680"


def test_nothing_lost_has_no_sign():
    assert drop_text(-0.0, ACCURACY) == drop_text(-1e-9, ACCURACY) == "0.00 pt"
