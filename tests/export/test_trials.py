"""Lengths at which a stranger's network runs, where its file says none, and the command line with them."""

import numpy as np
import pytest

from cli import status
from export.load import load
from export.onnx_file import write
from export.trials import runnable
from models.errors import DataError, UsageError
from models.records import InputSpec, example, sizes_of
from tests.compress.onnx_nets import Net


def listener(kernel=400):
    """A convolution over raw sound that takes none shorter than its kernel."""
    net = Net(5)
    weight = net.weight("front.weight", 16, 1, kernel)
    y = net.op("Relu", net.op("Conv", "wav", weight, name="front", strides=[160]), name="act")
    y = net.op("Flatten", net.op("GlobalAveragePool", y, name="pool"), name="flat")
    net.linear(y, 16, 4, name="head")
    spec = InputSpec(name="wav", dtype="float32", dims=("N", 1, "T"))
    return net.model((spec,), {"y": ("N", 4)})


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(listener(), "net.onnx")
    return "net.onnx"


def test_the_first_length_that_runs_is_taken(file):
    assert sizes_of(runnable(listener())) == {"N": 1, "T": 512}
    assert sizes_of(runnable(listener(kernel=8))) == {"N": 1, "T": 16}
    with pytest.raises(DataError, match="runs on no example that was made for it"):
        runnable(listener(kernel=30000))


@pytest.mark.parametrize(
    "line", ["quantize net.onnx --mode weights", "quantize net.onnx --mode dynamic", "info net.onnx"]
)
def test_commands_without_data_take_it(line, file, capsys):
    assert status(line.split()) == 0
    made = load("net.int8.onnx") if "quantize" in line else None
    assert made is None or made.typical == {"T": 512}


def test_a_length_that_is_told_is_the_usual_one(file, capsys):
    assert status("info net.onnx --input wav:float32[1,1,1600] --json".split()) == 0
    assert f'"macs": {16 * 400 * 8 + 16 * 4}' in capsys.readouterr().out  # (1600 - 400) / 160 + 1 places
    model = load(file, inputs=["wav:float32[N,1,800]"])
    assert model.typical == {"T": 800}
    assert example(model.inputs, {"N": 1, **model.typical})["wav"].shape == (1, 1, 800)


@pytest.mark.parametrize(
    "told", ["wave:float32[1,1,800]", "wav:float32[1,2,800]", "wav:float32[1,800]", "wav:int64[1,1,8]"]
)
def test_what_is_told_must_be_what_the_file_takes(told, file):
    with pytest.raises(UsageError, match=r"the file takes wav:float32\[N,1,T\]"):
        load(file, inputs=[told])


def test_a_state_that_grows_has_no_usual_length():
    net = Net(6)
    net.op("Concat", "past", "x", name="longer", axis=1)
    past = InputSpec(name="past", dtype="float32", dims=("N", "P", 4), state_of="all")
    x = InputSpec(name="x", dtype="float32", dims=("N", "T", 4))
    model = net.model((x, past), {"all": ("N", "Q", 4)})
    assert "P" not in runnable(model).typical


def test_a_number_beside_the_rows_stays_with_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net = Net(7)
    net.op("Mul", net.linear("x", 32, 16, name="layer"), net.op("Cast", "rate", name="real", to=1), name="y")
    x, rate = InputSpec(name="x", dtype="float32", dims=("N", 32)), InputSpec(name="rate", dtype="int64", dims=())
    write(net.model((x, rate), {"y": ("N", 16)}), "net.onnx")
    np.savez("sound.npz", x=np.random.default_rng(0).standard_normal((40, 32)).astype("float32"), rate=np.int64(16000))
    assert status("quantize net.onnx --data sound.npz --mode dynamic -o small.onnx -q".split()) == 0
    made = load("small.onnx")
    assert [spec.usual for spec in made.inputs] == [None, 16000]
    assert example(made.inputs, {"N": 2})["rate"] == 16000
