"""The comparison of products of activations: what it measures is there, and the page shows it."""

from benchmarks.attention_products import measured, page
from benchmarks.documents import made_by


def test_both_variants_are_measured_against_float_and_shown():
    row = measured(16, seconds=0.02)
    assert list(row["median_ms"]) == ["float", "int8", "int8 with products"]
    assert [(one["a"], one["b"]) for one in row["comparisons"]] == [("float", "int8"), ("float", "int8 with products")]
    without, with_products = row["sqnr_db"].values()
    assert without > 25 and with_products > 25 and without != with_products  # the second rounds more tensors
    text = page({**made_by("command"), "lengths": [row]})
    assert f"| 16 | {row['median_ms']['float']:.3f} | " in text and text.count("\n| ") == 2
