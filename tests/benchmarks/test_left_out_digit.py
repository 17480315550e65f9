import json

import pytest

import compress
from benchmarks.left_out_digit import RESULT, main, table
from export.machine import versions
from models import find


@pytest.fixture
def committed():
    return json.loads(RESULT.read_text(encoding="utf-8"))


def test_all_ten_digits_were_left_out(committed):
    assert [row["digit"] for row in committed["digits"]] == list(range(10))


def test_a_digit_is_left_out_once_by_the_entrys_own_settings(committed):
    entry = find("autoencoder")
    assert len({row["digit"] for row in committed["digits"]}) == len(committed["digits"]) > 0
    assert committed["training"]["epochs"] == entry.training.epochs
    assert {"machine", "versions", "command"} <= set(committed)
    for row in committed["digits"]:
        assert row["low"] < row["auc"] < row["high"] and row["images"] == 10_000
        assert 800 < row["anomalies"] < 1200
    # the entry's own weights are those of the digit that it leaves out
    assert committed["digits"][2]["auc"] == pytest.approx(entry.golden.value, abs=2e-3)


def test_digits_that_are_known_are_not_trained_again(committed, tmp_path, capsys):
    committed["versions"] = versions() | {"compress": compress.__version__}
    path = tmp_path / "result.json"
    path.write_text(json.dumps(committed), encoding="utf-8")
    before = path.stat().st_mtime_ns
    main([*(str(row["digit"]) for row in committed["digits"]), "-o", str(path)])
    assert path.stat().st_mtime_ns == before
    assert capsys.readouterr().out.strip() == table(committed)


def test_the_table_begins_with_the_digit_that_is_told_best(committed):
    lines = table(committed).splitlines()
    values = [float(line.split("|")[2]) for line in lines[2:]]
    assert len(values) == len(committed["digits"]) and values == sorted(values, reverse=True)
