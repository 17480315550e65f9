"""`benchmarks.matrix --quick`, row by row: what its user gets for a model of each kind, on the committed weights.

All twenty-nine take as long as half of the tests: the command itself runs them. Translators, dialogues and the
variational autoencoder, at half a minute each, go through every pass in the contract, narrow.
"""

import json
import os

import pytest

from benchmarks import matrix
from models import ZOO

pytestmark = pytest.mark.skipif("COMPRESS_DATA" not in os.environ, reason="the data are not on this machine")


KINDS = (
    "cnn-fsdd",
    "dscnn-fsdd",
    "gru-fsdd",
    "lstm-peephole",
    "resnet8",
    "transformer-char",
    "word2vec-cbow",
)


def test_the_kinds_are_models():
    assert set(KINDS) < set(ZOO)


@pytest.mark.parametrize("name", KINDS)
def test_a_reference_model_of_each_kind_is_smaller_in_int8_and_keeps_its_score(name, tmp_path):
    output = tmp_path / "quick.json"
    found = matrix.run([name], matrix.COLUMNS, output, quick=True)["models"][name]["cells"]
    assert found == json.loads(output.read_text())["models"][name]["cells"]
    int8 = found["int8"]
    # The clock decides, on a machine that may be busy: float is kept where nothing was surely as fast.
    assert int8.get("refused") is None or "float kept" in int8["refused"]
    if "refused" in int8:
        return
    assert int8["chosen"] == "float" or (int8["bytes"] < int8["bytes_before"] and int8["layers_changed"] > 0)
    assert int8["fingerprint"] == matrix.fingerprint(name, "int8", quick=True, seed=0)
    # A part of the test is scored: a whole point is asked of the whole one, in the committed matrix.
    assert int8["lost_low"] <= 0.01 * max(1.0, abs(int8["before"])), "it surely loses more than a point"
    assert all("needs training" in found[column]["refused"] for column in matrix.TRAINED)
