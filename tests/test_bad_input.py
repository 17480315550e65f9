"""Bad input of every kind: one clear sentence, status 1 or 2, no traceback, and no file left behind."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import compress
from cli import status
from export.checkpoint import save
from export.onnx_file import write
from export.to_onnx import to_onnx
from export.wrap import Model
from models import ZOO

SCRIPT = str(Path(sys.executable).parent / "compress")
CODE = """
import os, signal, sys, time
import numpy as np

def build(width=4):
    import torch
    return torch.nn.Sequential(torch.nn.Conv2d(1, width, 3), torch.nn.Flatten(), torch.nn.Linear(width * 36, 3))

def raises(width=4):
    raise RuntimeError("no GPU, no build")

def interrupted():
    for batch in range(3):
        yield np.zeros((4, 1, 8, 8), np.float32), np.zeros(4, np.int64)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)

class Faulty:
    name = "faulty"
    takes = "torch"

    def __init__(self):
        pass

    def __call__(self, model, context):
        1 / 0

def stopped(outputs, target):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)

def square(outputs, target):
    return np.zeros((3, 3))

class Own:
    name, labels = "own", ()
    rows = [({"x": np.zeros((4, 1, 8, 8), np.float32)}, np.zeros(4, np.int64))]
    train = validation = test = rows

    def loss(self, outputs, target):
        raise AssertionError("nothing is trained here")

    def score(self, runner, split="test", reference=None):
        return [][0]

def slow():
    print("loading", file=sys.stderr, flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A model in each form, made once: images (N, 1, 8, 8) -> three classes."""
    folder = tmp_path_factory.mktemp("kept")
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 3)).eval()
    model = Model(net, inputs=["x:float32[N,1,8,8]"], name="net")
    save(model, folder / "ours.pt")
    write(to_onnx(model), folder / "net.onnx")
    torch.save(net.state_dict(), folder / "weights.pt")
    torch.save(net, folder / "module.pt")
    torch.export.save(torch.export.export(net, (torch.zeros(1, 1, 8, 8),)), folder / "program.pt2")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 1, 8, 8), np.float32), rng.integers(0, 3, 40)
    bad = x.copy()
    bad[7, 0, 2, 2] = np.nan
    arrays = {
        "good": {"x": x, "y": y},
        "shape": {"x": x[:, :, :4], "y": y},
        "last": {"x": x.transpose(0, 2, 3, 1), "y": y},
        "type": {"x": (x * 50).astype(np.uint8), "y": y},
        "nan": {"x": bad, "y": y},
        "empty": {"x": x[:0], "y": y[:0]},
        "labels": {"x": x, "y": y + 1},
        "uneven": {"x": x, "y": y[:30]},
        "names": {"image": x, "mask": x, "y": y},
        "objects": {"x": np.array([{}], object)},
    }
    for name, content in arrays.items():
        np.savez(folder / f"{name}.npz", **content)
    (folder / "text.npz").write_text("no arrays")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, kept: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name, content in kept.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "bad_net.py").write_text(CODE)
    (tmp_path / "random.pt").write_bytes(np.random.default_rng(1).bytes(2000))
    (tmp_path / "random.onnx").write_bytes(np.random.default_rng(2).bytes(2000))
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "cut.pt").write_bytes(kept["ours.pt"][: len(kept["ours.pt"]) // 2])
    (tmp_path / "cut.onnx").write_bytes(kept["net.onnx"][: len(kept["net.onnx"]) // 2])
    recipes = {
        "nottoml": "model = \n",
        "key": 'modle = "net.onnx"\n',
        "pass": '[[pass]]\nname = "prune"\n\n[[pass]]\nname = "seperate"\n',
        "field": '[[pass]]\nname = "prune"\nrato = 0.5\n',
        "type": '[[pass]]\nname = "prune"\nratio = "half"\n',
        "word": '[[pass]]\nname = "quantize"\nmode = "statik"\n',
        "range": '[[pass]]\nname = "prune"\nratio = 1.5\n',
        "order": '[[pass]]\nname = "quantize"\n\n[[pass]]\nname = "prune"\n',
        "none": 'model = "ours.pt"\n',
        "code": 'data = "bad_net:slow"\n\n[[pass]]\nname = "prune"\n',
        "nameless": "[[pass]]\nratio = 0.5\n",
        "faulty": '[[pass]]\nname = "faulty"\n',
        "modelless": '[[pass]]\nname = "prune"\n',
    }
    for name, text in recipes.items():
        (tmp_path / f"{name}.toml").write_text(text)
    yield tmp_path
    sys.modules.pop("bad_net", None)


def files() -> dict[str, bytes]:
    return {
        str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }


def refused(capsys: pytest.CaptureFixture[str], line: str, code: int | tuple[int, ...], *said: str) -> str:
    before = files()
    found = status(line.split())
    captured = capsys.readouterr()
    errors = [text for text in captured.err.splitlines() if text.startswith("error: ")]
    assert found in (code if isinstance(code, tuple) else (code,)), captured.err
    assert len(errors) == 1 and "Traceback" not in captured.err and captured.out == ""
    assert "mistake of compress" not in errors[0]
    for part in said:
        assert part in errors[0]
    assert files() == before
    return errors[0]


FOREIGN = "quantize weights.pt --arch bad_net:build"
CASES = [
    ("info random.pt", 1, "'random.pt' is no file that torch.save made"),
    ("info random.onnx", 1, "random.onnx"),
    ("info empty.pt", 1, "'empty.pt' is empty"),
    ("info empty.onnx", 1, "'empty.onnx' is empty"),
    ("info cut.pt", 1, "'cut.pt' is cut off or damaged"),
    ("info cut.onnx", 1, "cut.onnx"),
    ("prune module.pt", 1, "was not opened", "--arch", "torch.onnx.export", "--trust-pickle"),
    ("quantize program.pt2", 1, "was not opened", "--arch", "torch.onnx.export", "--trust-pickle"),
    ("quantize weights.pt", 1, "holds weights alone", "--arch"),
    ("quantize nett.onnx", 1, "there is no file 'nett.onnx'. Did you mean 'net.onnx'?"),
    ("info somewhere/net.onnx", 1, "nor a folder 'somewhere'"),
    ("quantize resnet9", 2, "Did you mean 'resnet8'?", "compress models"),
    ("train resnet9", 2, "Did you mean 'resnet8'?", "compress models"),
    ("quantise net.onnx", 2, "no command named 'quantise'. Did you mean 'quantize'?"),
    ("seperate net.onnx", 2, "Did you mean 'separate'?"),
    ("prune ours.pt --rato 0.5", 2, "No such option '--rato'", "--ratio"),
    ("quantize net.onnx --mode statik", 2, "'statik' is not one of", "Did you mean 'static'?"),
    ("prune ours.pt --ratio lots", 2, "--ratio", "'lots'"),
    ("prune ours.pt --ratio 1.5", 2, "ratio", "1.5"),
    ("prune ours.pt --ratio -0.1", 2, "ratio", "-0.1"),
    ("quantize net.onnx --data good.npz --device arm65", 2, "arm65", "Did you mean 'arm64'?"),
    ("quantize net.onnx --data shape.npz", 1, "float32[40, 1, 4, 8]", "float32[N,1,8,8]", "shape.npz"),
    ("quantize net.onnx --data last.npz", 1, "float32[40, 8, 8, 1]", "transpose it by (0, 3, 1, 2)"),
    ("quantize net.onnx --data type.npz", 1, "is uint8", "takes float32", "type.npz"),
    ("quantize net.onnx --data nan.npz", 1, "NaN", "row 7"),
    ("quantize net.onnx --data empty.npz", 1, "has no rows", "empty.npz"),
    ("quantize net.onnx --data labels.npz", 1, "labels y run from 1 to 3", "3 classes", "labels.npz"),
    ("quantize net.onnx --data uneven.npz", 1, "different numbers of rows", "uneven.npz"),
    ("quantize net.onnx --data names.npz", 1, "image[40, 1, 8, 8]", "x:float32[N,1,8,8]"),
    ("quantize net.onnx --data objects.npz", 1, "Python objects", "objects.npz"),
    ("quantize net.onnx --data text.npz", 1, "text.npz"),
    ("quantize net.onnx --data god.npz", 1, "there is no file 'god.npz'. Did you mean 'good.npz'?"),
    ("quantize net.onnx --data digitz", 2, "Did you mean 'digits'?"),
    ("quantize net.onnx --data digits", 1, "labels y run from 0 to 9", "3 classes"),
    ("quantize net.onnx --data fsdd", 1, "float32[N,1,8,8]"),
    ("quantize net.onnx --data good.npz -o net.onnx", 2, "is the input"),
    ("prune ours.pt --data good.npz -o ours.pt", 2, "is the input"),
    ("export ours.pt -o nowhere/net.onnx", 2, "there is no folder", "mkdir -p"),
    ("quantize net.onnx --data good.npz -o nowhere/net.onnx", 2, "there is no folder", "mkdir -p"),
    ("quantize net.onnx --data good.npz -o small.pt", 2, "ends in .onnx"),
    # before data are even asked for
    (f"quantize net.onnx --data bad_net:raises -o {'a' * 245}.onnx", 2, "aaa.decisions.json", "the name is too long"),
    (f"prune ours.pt --data bad_net:raises -o {'a' * 244}.pt", 2, "the name is too long. Name a shorter one with -o"),
    (f"export ours.pt -o {'a' * 251}.onnx", 2, "aaa.onnx' cannot be written: the name is too long"),
    ("export ours.pt -o /dev/full", 2, "ends in .onnx"),
    ("benchmark net.onnx --device cuda", 1, "CUDAExecutionProvider", "pip"),
    ("benchmark net.onnx --device cdua", 2, "Did you mean 'cuda'?"),
    ("run nottoml.toml ours.pt", 2, "nottoml.toml is not TOML", "line 1"),
    ("run key.toml", 2, "no key 'modle'. Did you mean 'model'?"),
    (
        "run pass.toml ours.pt",
        2,
        "pass.toml, pass 2: no pass named 'seperate'. Did you mean 'separate'?",
        "compress passes",
    ),
    ("run field.toml ours.pt", 2, "field.toml, pass 1 (prune): there is no field 'rato'. Did you mean 'ratio'?"),
    ("run type.toml ours.pt", 2, "type.toml, pass 1 (prune): ratio takes a number, not 'half'"),
    ("run word.toml ours.pt", 2, "Did you mean 'static'?"),
    ("run range.toml ours.pt", 2, "range.toml, pass 1 (prune): ", "1.5"),
    ("run order.toml ours.pt", 2, "'prune' works on torch networks and cannot follow 'quantize'"),
    ("run none.toml", 2, "has no passes"),
    ("run code.toml ours.pt", 2, "which a recipe does not load by itself", "--plugin bad_net:slow"),
    ("run nameless.toml ours.pt", 2, "pass 1: it has no name"),
    ("run modelless.toml", 2, "names no model"),
    ("run nothere.toml ours.pt", 2, "there is no recipe 'nothere.toml'"),
    (f"{FOREIGN} --arch-arg widht=3 --data good.npz", 2, "'widht'", "It takes: width=4"),
    (f"{FOREIGN} --arch-arg width=3 --data good.npz", 1, "does not fit bad_net:build", "have another shape"),
    (FOREIGN, 2, "of what shape is not known", "--input"),
    (
        "quantize weights.pt --arch bad_net:raises --data good.npz",
        1,
        "RuntimeError: no GPU, no build at",
        "bad_net.py:10",
    ),
    ("quantize net.onnx --data bad_net:raises", 1, "RuntimeError: no GPU, no build at", "bad_net.py:10"),
    ("quantize net.onnx --task bad_net:build", 2, "a Sequential without validation, test, loss, score"),
    ("quantize net.onnx --task bad_net:build --data good.npz", 2, "--task and --data are both given"),
    ("quantize net.onnx --data .", 2, "folder of images", "--preprocess"),
    ("quantize net.onnx --data . --preprocess size=3", 2, "'size=3' is none of"),
    ("quantize net.onnx --data . --preprocess scale=0.1", 1, "there is no image in it"),
    ("verify net.onnx gone.onnx", 1, "there is no file 'gone.onnx'"),
    ("report .", 1, "neither ledger.json nor benchmark.json"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_one_clear_sentence_and_nothing_left_behind(
    case: tuple[str, int, str], capsys: pytest.CaptureFixture[str]
) -> None:
    line, code, *said = case
    refused(capsys, line, code, *said)


def test_every_misspelt_model_of_the_zoo_finds_the_right_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert ZOO
    for name in ZOO:
        refused(capsys, f"info {name}x", 2, f"Did you mean {name!r}?")


@pytest.mark.parametrize(
    "line",
    ["export ours.pt", "prune ours.pt --data good.npz --ratio 0.25 --recover 0"],
)
def test_a_full_disk(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    # a limit on file sizes fails in write(2) just as a full disk does, and needs no mount
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, hard))
    try:
        refused(capsys, line, 1, "the disk is full", "Nothing was left behind")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_is_full_before_the_table_is_written_leaves_no_model_either(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert status("quantize net.onnx --mode weights -o first.onnx".split()) == 0
    capsys.readouterr()
    largest = 1 << 16
    table = Path("first.decisions.json").read_text()
    Path("long.json").write_text(table + " " * largest)  # a table as somebody edited it: longer than the model
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard))
    try:
        refused(
            capsys, "quantize net.onnx --decisions long.json -o again.onnx", 1, "again.decisions.json", "disk is full"
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert status("quantize net.onnx --decisions long.json -o again.onnx".split()) == 0
    assert Path("again.onnx").stat().st_size < largest  # it would have fitted
    capsys.readouterr()


def test_ctrl_c_while_the_score_on_test_is_computed_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    line = "prune ours.pt --data good.npz --ratio 0.25 --recover 0 --metric bad_net:stopped"
    refused(capsys, line, 130, "interrupted; nothing was written")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--data good.npz --metric bad_net:square", "--metric 'bad_net:square' gave an array of shape (3, 3)"),
        ("--task bad_net:Own", "IndexError: list index out of range"),
    ],
)
def test_a_score_on_test_that_fails_costs_no_model(given: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = f"prune ours.pt {given} --ratio 0.25 --recover 0 -o small.pt --json"
    assert status(line.split()) == 0
    captured = capsys.readouterr()
    assert f"there is no score on test, and the model is written all the same: {said}" in captured.err
    assert json.loads(captured.out)["score"] is None
    assert compress.load("small.pt").name == "net"


def test_ctrl_c_in_the_middle(capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, "prune ours.pt --data bad_net:interrupted", 130, "interrupted; nothing was written")


@pytest.mark.parametrize("signalled", [signal.SIGINT, signal.SIGTERM], ids=lambda s: s.name)
def test_a_stopped_process(signalled: signal.Signals) -> None:
    before = files()
    line = [SCRIPT, "quantize", "net.onnx", "--data", "bad_net:slow"]
    child = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    while child.stderr.readline() != "loading\n":
        assert child.poll() is None
    child.send_signal(signalled)
    out, error = child.communicate(timeout=30)
    assert (child.returncode, out, error.strip()) == (130, "", "error: interrupted; nothing was written.")
    assert files() == before


def test_a_mistake_of_a_pass_is_called_one_and_debug_shows_where(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(compress.PASSES, "faulty", ("bad_net:Faulty", "Divides by nothing."))
    sys.path.insert(0, os.getcwd())
    assert status(["run", "faulty.toml", "ours.pt"]) == 1
    said = capsys.readouterr().err
    assert "this is a mistake of compress, please report it (ZeroDivisionError: division by zero)" in said
    assert "Traceback" not in said and "--debug shows where" in said
    assert status(["run", "faulty.toml", "ours.pt", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err
    assert not Path("faulty").exists()
