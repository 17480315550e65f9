import json
import os

import pytest

import compress  # noqa: F401
from benchmarks.gesture_split import RESULT, main
from models import find

pytestmark = pytest.mark.skipif("COMPRESS_DATA" not in os.environ, reason="the data are not on this machine")


def test_both_ways_of_holding_out_are_written_down(tmp_path):
    main(["-o", str(tmp_path / "found.json"), "--steps", "1"])
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["blocks"]["n"] == 1061 and found["by_chance"]["n"] == 1060
    assert found["blocks"]["trained_on"] == 3645 and found["by_chance"]["trained_on"] == 3707
    assert found["machine"]["processor"] and found["versions"]["torch"]


def test_the_committed_result_is_that_of_the_committed_weights():
    assert json.loads(RESULT.read_text())["blocks"]["value"] == pytest.approx(
        find("gru-gesture").golden.value, abs=2e-3
    )
