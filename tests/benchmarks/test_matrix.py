import json
import os

import pytest

from benchmarks import matrix
from benchmarks.matrix_page import cell, misses, page, slower
from models import ZOO
from models.records import Score

here = pytest.mark.skipif("COMPRESS_DATA" not in os.environ, reason="the data are not on this machine")

MEASURED = {
    "unit": "accuracy",
    "before": 0.95,
    "after": 0.94,
    "lost": 0.01,
    "lost_low": -0.005,
    "lost_high": 0.025,
    "lost_points": 1.0,
    "bytes_before": 40_000,
    "bytes": 10_000,
    "speed": {
        "main": {"speedup": 2.0, "low": 1.9, "high": 2.1},
        "step": {"speedup": 0.9, "low": 0.88, "high": 0.92},
    },
}


def score(value, higher_is_better=True, unit="accuracy"):
    return Score(value=value, low=value, high=value, n=10, unit=unit, higher_is_better=higher_is_better)


def test_a_cell_holds_score_bytes_and_speed_of_every_form():
    assert cell(MEASURED) == ("0.9500 -> 0.9400 (+1.00 pt, -0.50 to +2.50); 10.0 KB, 4.0x smaller; 2.00x, step 0.90x")
    assert cell({"refused": "prune: no | here"}) == "prune: no \\| here"
    assert cell(None) == "not measured yet"
    assert cell({**MEASURED, "lost": 0.0, "lost_points": 0.0}).startswith("0.9500 -> 0.9400 (0.00 pt)")


def test_points_are_hundredths_of_a_fraction_and_percents_of_the_rest():
    assert matrix.points(score(0.9), score(0.89)) == pytest.approx(1)
    before = score(2.4, False, "bits per character")
    assert matrix.points(before, score(2.424, False, "bits per character")) == pytest.approx(1)
    assert matrix.points(score(25.0, True, "BLEU"), score(25.5, True, "BLEU")) == pytest.approx(-2)


def test_what_misses_its_mark_is_named():
    assert misses({**MEASURED, "lost_points": 1.01}, "int8") and not misses(MEASURED, "int8")
    assert misses({**MEASURED, "lost_points": 3.01}, "pruned") and not misses({**MEASURED, "lost_points": 3}, "pruned")
    assert not misses({"refused": "no"}, "int8")
    assert slower(MEASURED) and not slower({"refused": "no"})
    models = {"a": {"unit": "accuracy", "parameters": 3, "cells": {"int8": {**MEASURED, "lost_points": 2.0}}}}
    text = page({"models": models}, ["a", "b"], ["int8", "pruned"])
    assert "- `a`, int8 (auto): loses 2.00 points." in text
    assert "- `a`, int8 (auto): slower than float, {'step': 0.9}." in text
    assert "Not measured yet: b." in text and "| not measured yet |" in text


@here
def test_a_run_goes_on_where_it_stopped(tmp_path, capsys):
    output = tmp_path / "matrix.json"
    matrix.main(["autoencoder", "--quick", "--columns", "int8", "-o", str(output)])
    first = json.loads(output.read_text())
    (found,) = first["models"]["autoencoder"]["cells"].values()
    assert found["bytes"] < found["bytes_before"] / 2 and found["unit"] == "AUC"
    assert output.with_suffix(".md").read_text() in capsys.readouterr().out
    matrix.main(["autoencoder", "--quick", "-o", str(output)])
    second = json.loads(output.read_text())["models"]["autoencoder"]["cells"]
    assert second["int8"] == found, "what was there is kept"
    assert list(second) == list(matrix.COLUMNS)
    assert all("needs training" in second[column]["refused"] for column in matrix.TRAINED)
    changed = json.loads(output.read_text())
    changed["models"]["autoencoder"]["cells"]["int8"]["fingerprint"] = "of other weights"
    assert list(matrix.missing(changed, ["autoencoder"], matrix.COLUMNS, quick=True, seed=0)) == [
        ("autoencoder", ["int8"])
    ]


def test_a_misspelt_model_is_named(capsys):
    with pytest.raises(SystemExit):
        matrix.main(["autoencodr"])
    assert "no model named 'autoencodr'" in capsys.readouterr().err


def test_the_committed_page_is_that_of_the_committed_document():
    document = json.loads(matrix.RESULT.read_text(encoding="utf-8"))
    text = matrix.RESULT.with_suffix(".md").read_text(encoding="utf-8")
    assert text == page(document, ZOO, matrix.COLUMNS)
    for name in ZOO:
        cells = document["models"][name]["cells"]
        assert set(cells) == set(matrix.COLUMNS), f"{name} has an empty cell"
        assert all(found["bytes"] > 0 for found in cells.values()), f"{name} has a pass that refuses it"


@here
def test_the_committed_cells_are_of_these_weights_and_passes():
    document = json.loads(matrix.RESULT.read_text(encoding="utf-8"))
    for name in ZOO:
        cells = document["models"][name]["cells"]
        assert {
            c for c in cells if cells[c]["fingerprint"] != matrix.fingerprint(name, c, quick=False, seed=0)
        } == set()
