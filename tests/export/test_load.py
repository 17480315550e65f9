import importlib
import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import safetensors.torch
import torch
from torch import nn

from export.checkpoint import save
from export.load import kind_of, load
from export.onnx_file import write
from export.to_onnx import to_onnx
from models.errors import CompressError, ModelFileError, UsageError
from models.records import InputSpec

CODE = """
import sys
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width=4, classes=3):
        super().__init__()
        self.body = nn.Linear(5, width)
        self.norm = nn.BatchNorm1d(width)
        self.head = nn.Linear(width, classes)

    def forward(self, features, scale):
        return self.head(self.norm(self.body(features)).relu()) * scale


class Alone(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(5, 3)

    def forward(self, features):
        return self.head(features)


def build(width=4, classes=3):
    print("a word on stdout")
    return Net(width, classes)


def raises():
    raise ValueError("no such preset")


def leaves():
    sys.exit(3)


def number():
    return 7


ready = Alone()
"""
TOLD = ["features:float32[N,5]", "scale:float32[N,1]"]
ARCH = "load_net:build"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "load_net.py").write_text(CODE)
    (tmp_path / "load_broken.py").write_text("import math\n\nmath.nothing\n")
    (tmp_path / "load_cut.py").write_text("def build(:\n")
    sys.path.insert(0, str(tmp_path))
    yield tmp_path
    for name in ("load_net", "load_broken", "load_cut"):
        sys.modules.pop(name, None)


@pytest.fixture
def net(project: Path) -> nn.Module:
    import load_net

    torch.manual_seed(0)
    network = load_net.Net()
    network(torch.randn(8, 5), torch.ones(8, 1))  # moves the batch statistics off their start
    return network.eval()


def outputs(model, features, scale):
    return model.network(torch.from_numpy(features), torch.from_numpy(scale)).detach().numpy()


def same(model, net):
    rng = np.random.default_rng(0)
    features, scale = rng.standard_normal((6, 5), np.float32), rng.standard_normal((6, 1), np.float32)
    wanted = net(torch.from_numpy(features), torch.from_numpy(scale)).detach().numpy()
    np.testing.assert_allclose(outputs(model, features, scale), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: {"epoch": 3, "state_dict": weights},
        lambda weights: {"model": weights, "optimizer": {"lr": 1.0}},
        lambda weights: {"ema": weights},
        lambda weights: {"model": {"state_dict": weights}},
        lambda weights: {f"module.{name}": tensor for name, tensor in weights.items()},
        lambda weights: {"state_dict": {f"model._orig_mod.{name}": tensor for name, tensor in weights.items()}},
        lambda weights: {"n_averaged": torch.tensor(5), **{f"module.{n}": t for n, t in weights.items()}},
        lambda weights: {n: t for n, t in weights.items() if not n.endswith("num_batches_tracked")},
    ],
    ids=[
        "bare",
        "state_dict",
        "model",
        "ema",
        "twice",
        "data-parallel",
        "lightning-compiled",
        "averaged",
        "before-0.4.1",
    ],
)
def test_a_state_dict_is_found_wherever_the_file_keeps_it(net, wrap):
    torch.save(wrap(net.state_dict()), "weights.pt")
    model = load("weights.pt", arch=ARCH, inputs=TOLD)
    same(model, net)
    assert [spec.name for spec in model.inputs] == ["features", "scale"]
    assert model.name == "weights"


def test_a_layer_that_asks_in_which_version_it_was_saved_is_told(project):
    Path("versioned.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Linear):\n"
        "    _version = 2\n"
        "    def _load_from_state_dict(self, state, prefix, local, *rest):\n"
        "        if local.get('version') != 2: raise ValueError(f'version {local}')\n"
        "        super()._load_from_state_dict(state, prefix, local, *rest)\n"
        "def build(): return nn.Sequential(Net(5, 3))\n"
    )
    sys.path.insert(0, os.getcwd())
    try:
        net = importlib.import_module("versioned").build()
    finally:
        sys.path.pop(0)
    for file, weights in (("plain.pt", net.state_dict()), ("parallel.pt", nn.DataParallel(net).state_dict())):
        torch.save(weights, file)
        model = load(file, arch="versioned:build", inputs=["input:float32[N,5]"])
        torch.testing.assert_close(model.network.get_submodule("0").weight, net[0].weight)


def test_safetensors_need_arch_and_load_with_it(net):
    safetensors.torch.save_file(net.state_dict(), "weights.safetensors")
    same(load("weights.safetensors", arch=ARCH, inputs=TOLD), net)
    with pytest.raises(ModelFileError, match=r"weights alone.*--arch"):
        load("weights.safetensors")


def test_arrays_tell_the_inputs_in_any_order(net):
    torch.save(net.state_dict(), "weights.pt")
    arrays = {"scale": np.ones((4, 1), np.float64), "features": np.zeros((4, 5), np.float32)}
    model = load("weights.pt", arch=ARCH, data=arrays)
    assert model.inputs == (
        InputSpec(name="features", dtype="float32", dims=("N", 5)),
        InputSpec(name="scale", dtype="float32", dims=("N", 1)),
    )


def test_the_name_of_data_is_no_data_and_the_way_is_named(net):
    torch.save(net.state_dict(), "weights.pt")
    with pytest.raises(UsageError, match=r"data is 'digits\.npz'.*compress\.task_for\('digits\.npz'\)"):
        load("weights.pt", arch=ARCH, data="digits.npz")


def test_one_input_may_have_any_name_and_a_module_may_be_ready(project):
    import load_net

    torch.save(load_net.ready.state_dict(), "weights.pt")
    model = load("weights.pt", arch="load_net:ready", data={"x": np.zeros((2, 5), np.float32)})
    assert [spec.name for spec in model.inputs] == ["features"]
    assert load("weights.pt", arch="load_net:Alone", inputs=["x:float32[N,5]"]).inputs == model.inputs


def test_what_a_factory_prints_does_not_reach_stdout(net, capsys):
    torch.save(net.state_dict(), "weights.pt")
    load("weights.pt", arch=ARCH, inputs=TOLD)
    said = capsys.readouterr()
    assert said.out == "" and "a word on stdout" in said.err


def test_a_checkpoint_of_ours_and_onnx_need_nothing(net):
    torch.save(net.state_dict(), "weights.pt")
    model = load("weights.pt", arch=ARCH, inputs=TOLD)
    save(model, Path("ours.pt"))
    write(to_onnx(model), Path("ours.onnx"))
    same(load("ours.pt"), net)
    assert isinstance(load("ours.onnx").network, ir.Model)
    assert load("ours.onnx").inputs == model.inputs == load("ours.pt").inputs
    assert load(model) is model


def test_a_pickled_module_is_refused_and_opened_on_trust(net):
    torch.save(net, "module.pt")
    with pytest.raises(ModelFileError, match=r"load_net\.Net.*state_dict.*--arch.*torch\.onnx\.export.*--trust-pickle"):
        load("module.pt")
    same(load("module.pt", trust_pickle=True, inputs=TOLD), net)


def test_nothing_in_a_crafted_file_runs(project):
    class Crafted:
        def __reduce__(self):
            return os.mkdir, ("harm",)

    torch.save({"state_dict": Crafted()}, "crafted.pt")
    Path("old.pt").write_bytes(pickle.dumps(Crafted()))
    for file in ("crafted.pt", "old.pt"):
        with pytest.raises(ModelFileError):
            load(file)
        with pytest.raises(ModelFileError):
            load(file, arch=ARCH, inputs=TOLD)
    assert not Path("harm").exists()


def test_an_exported_program_is_refused_and_opened_on_trust(net):
    inputs = (torch.randn(2, 5), torch.randn(2, 1))
    batch = torch.export.Dim("batch")
    torch.export.save(torch.export.export(net, inputs, dynamic_shapes=({0: batch}, {0: batch})), "program.pt2")
    assert kind_of(Path("program.pt2")) == "pt2"
    with pytest.raises(ModelFileError, match=r"exported program.*--arch.*--trust-pickle"):
        load("program.pt2")
    same(load("program.pt2", trust_pickle=True, inputs=TOLD), net)


def test_the_misfit_of_weights_says_how_many_which_and_why(net):
    torch.save(net.state_dict(), "weights.pt")
    with pytest.raises(ModelFileError, match=r"7 have another shape \(body\.weight: \(4, 5\) in the file, \(8, 5\)"):
        load("weights.pt", arch=ARCH, arch_args={"width": 8}, inputs=TOLD)
    torch.save({"stem.weight": torch.zeros(3)}, "other.pt")
    with pytest.raises(ModelFileError, match=r"8 of 8 weights are missing.*another network"):
        load("other.pt", arch=ARCH, inputs=TOLD)
    torch.save({**net.state_dict(), "extra": torch.zeros(1)}, "more.pt")
    with pytest.raises(ModelFileError, match=r"1 in the file are unknown to the module \(extra\)"):
        load("more.pt", arch=ARCH, inputs=TOLD)
    torch.save({"epoch": 3, "args": [1, 2]}, "none.pt")
    with pytest.raises(ModelFileError, match=r"no state_dict in it, but a dict with epoch, args"):
        load("none.pt", arch=ARCH, inputs=TOLD)


@pytest.mark.parametrize(
    ("arch", "said"),
    [
        ("load_net", "not written as pkg.module:function"),
        ("load_nett:build", r"there is no module 'load_nett' in .*PYTHONPATH"),
        ("load_net:biuld", r"has no 'biuld'\. Did you mean 'build'"),
        ("load_net:number", "gives a int; wanted a torch.nn.Module"),
        ("load_net:raises", r"raised ValueError: no such preset at .*load_net\.py:\d+"),
        ("load_net:leaves", r"raised SystemExit: 3 at .*load_net\.py:\d+"),
        ("load_broken:build", r"importing 'load_broken' raised AttributeError.*load_broken\.py:3"),
        ("load_cut:build", r"raised SyntaxError.*load_cut\.py:1"),
    ],
)
def test_a_users_mistake_is_one_sentence_with_its_place(net, arch, said):
    torch.save(net.state_dict(), "weights.pt")
    with pytest.raises(CompressError, match=said):
        load("weights.pt", arch=arch, inputs=TOLD)


def test_arguments_that_the_factory_does_not_take_are_named(net):
    torch.save(net.state_dict(), "weights.pt")
    with pytest.raises(UsageError, match=r"unexpected keyword argument 'widht'\. It takes: width=4, classes=3"):
        load("weights.pt", arch=ARCH, arch_args={"widht": 8}, inputs=TOLD)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ([], r"forward takes \(features, scale\).*--input 'features:float32"),
        (["features:float32[N,5]"], r"'scale' was not told"),
        ([*TOLD, "mask:bool[N]"], r"'mask' is no argument of it"),
        (["features:float33[N,5]"], r"no type named 'float33'"),
        (["features float32"], r"not written as name:type\[dims\]"),
        (["features:float32[N,0]"], r"'0' is neither a size above 0"),
    ],
)
def test_inputs_that_do_not_fit_forward_are_named(net, inputs, said):
    torch.save(net.state_dict(), "weights.pt")
    with pytest.raises(UsageError, match=said):
        load("weights.pt", arch=ARCH, inputs=inputs)


def test_what_is_not_there_is_named_with_the_nearest(net):
    torch.save(net.state_dict(), "weights.pt")
    with pytest.raises(ModelFileError, match=r"there is no file 'weight\.pt'\. Did you mean 'weights\.pt'"):
        load("weight.pt")
    with pytest.raises(ModelFileError, match=r"nor a folder 'runs'"):
        load("runs/weights.pt")
    with pytest.raises(UsageError, match=r"named 'resnet9'\. Did you mean 'resnet8'.*compress models"):
        load("resnet9")
    with pytest.raises(UsageError, match=r"named 'cnn-fsd'\. Did you mean 'cnn-fsdd'"):
        load("zoo:cnn-fsd")
    with pytest.raises(UsageError, match="is a reference model"):
        load("resnet8", arch=ARCH)


@pytest.mark.parametrize("suffix", [".pt", ".onnx", ".safetensors", ".pt2"])
@pytest.mark.parametrize("content", [b"", os.urandom(1000), b"PK\x03\x04" + bytes(100)], ids=["empty", "random", "zip"])
def test_no_model_at_all_is_one_sentence(project, suffix, content):
    Path(f"model{suffix}").write_bytes(content)
    for options in ({}, {"arch": ARCH, "inputs": TOLD}):
        with pytest.raises(CompressError, match=f"model{suffix}"):
            load(f"model{suffix}", **options)


def test_a_file_that_was_cut_off_is_one_sentence(net):
    torch.save(net.state_dict(), "weights.pt")
    torch.save(net.state_dict(), "older.pt", _use_new_zipfile_serialization=False)
    safetensors.torch.save_file(net.state_dict(), "weights.safetensors")
    model = load("weights.pt", arch=ARCH, inputs=TOLD)
    save(model, Path("ours.pt"))
    write(to_onnx(model), Path("model.onnx"))
    for file in ("weights.pt", "older.pt", "weights.safetensors", "ours.pt", "model.onnx"):
        whole = Path(file).read_bytes()
        for share in (0.3, 0.9):
            Path(file).write_bytes(whole[: int(share * len(whole))])
            for options in ({}, {"arch": ARCH, "inputs": TOLD}):
                with pytest.raises(CompressError):
                    load(file, **options)


def test_a_file_of_another_kind_is_one_sentence(project):
    Path("notes.txt").write_text("hello")
    with pytest.raises(ModelFileError, match=r"no model file that is known here"):
        load("notes.txt")
    Path("folder").mkdir()
    with pytest.raises(ModelFileError, match="is a folder"):
        load("folder")
