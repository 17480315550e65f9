import copy
import os
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import compress  # noqa: F401
from export.checkpoint import from_data, is_ours, load_checkpoint, save, to_data
from export.lift import lift
from export.lifted import tensors
from export.wrap import Model
from models.errors import ModelFileError, UsageError
from models.records import Form, Preprocess, sizes_of
from tests.export.architectures import ARCHITECTURES, spec

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")
CHOSEN = [
    a
    for a in ARCHITECTURES
    if a.name in ("residual-slice", "norms", "tied", "dict", "cells", "vit", "gru-both", "streaming")
]
assert len(CHOSEN) == 8


class Steps(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(4, 6, batch_first=True)
        self.fc = nn.Linear(6, 2)
        self.fc.bias.requires_grad_(False)

    def forward(self, x):
        return self.fc(self.rnn(x)[0][:, -1])

    def step(self, x, h):
        y, h = self.rnn(x, h[None])
        return self.fc(y[:, -1]), h[0]


@pytest.fixture(scope="module")
def model() -> Model:
    frames = spec("x", "N", "T", 4)
    state = replace(spec("h", "N", 6), state_of="h_out")
    return Model(
        Steps(),
        inputs=[frames],
        outputs=["logits"],
        forms={"step": Form(method="step", inputs=(frames, state), outputs=())},
        labels=("no", "yes"),
        preprocess=Preprocess(mean=(0.5,), scale=(2.0,)),
        history=({"pass": "prune", "settings": {"ratio": np.float32(0.5)}},),
        typical={"N": 1, "T": 9},
        name="steps",
        data="fsdd",
        sample={"x": np.ones((2, 3, 4), np.float32)},
    )


@pytest.fixture
def content(model):
    return copy.deepcopy(to_data(model))


def outputs(model, form="main"):
    inputs = model.inputs if form == "main" else model.forms[form].inputs
    with torch.no_grad():
        found = model.network.run(form, *tensors(inputs, sizes_of(model, N=3)))
    return found if isinstance(found, tuple) else (found,)


@pytest.mark.parametrize("architecture", CHOSEN, ids=lambda a: a.name)
def test_what_is_read_gives_the_same_bits(architecture, tmp_path):
    written = Model(architecture.module(), inputs=architecture.inputs)
    save(written, tmp_path / "m.pt")
    read = load_checkpoint(tmp_path / "m.pt")
    assert all(torch.equal(a, b) for a, b in zip(outputs(written), outputs(read), strict=True))
    assert (read.inputs, read.outputs) == (written.inputs, written.outputs)
    assert list(read.network.state_dict()) == list(written.network.state_dict())
    again = copy.deepcopy(read)
    save(again, tmp_path / "again.pt")
    assert str(to_data(again)["graphs"]) == str(to_data(written)["graphs"])
    read.network.train()
    sum(t.square().sum() for t in read.network(*tensors(read.inputs, sizes_of(read, N=3)))).backward()
    assert all(p.grad is not None for p in read.network.parameters())


def test_all_facts_travel(model, tmp_path):
    save(model, tmp_path / "m.pt")
    read = load_checkpoint(tmp_path / "m.pt")
    for name in ("inputs", "outputs", "labels", "preprocess", "typical", "name", "data", "forms"):
        assert getattr(read, name) == getattr(model, name), name
    assert read.history == ({"pass": "prune", "settings": {"ratio": 0.5}},)
    np.testing.assert_array_equal(read.sample["x"], model.sample["x"])
    assert not read.network.fc.bias.requires_grad and read.network.fc.weight.requires_grad
    assert all(torch.equal(a, b) for a, b in zip(outputs(model, "step"), outputs(read, "step"), strict=True))


def test_ties_survive(tmp_path):
    tied = next(a for a in ARCHITECTURES if a.name == "tied")
    save(Model(tied.module(), inputs=tied.inputs), tmp_path / "m.pt")
    network = load_checkpoint(tmp_path / "m.pt").network
    assert network.head.weight is network.embedding.weight


def test_what_a_pass_put_in_survives(model, tmp_path):
    edited = replace(model, network=copy.deepcopy(model.network))
    edited.network.set_submodule("fc", nn.Sequential(nn.Linear(6, 3, bias=False), nn.Dropout(0.1), nn.Linear(3, 2)))
    edited.network.eval()
    save(edited, tmp_path / "m.pt")
    read = load_checkpoint(tmp_path / "m.pt")
    assert isinstance(read.network.fc, nn.Sequential)
    assert all(torch.equal(a, b) for a, b in zip(outputs(edited), outputs(read), strict=True))


def test_half_precision_is_kept(tmp_path):
    half = Model(nn.Linear(4, 2).half(), inputs=["x:float16[N,4]"])
    save(half, tmp_path / "m.pt")
    assert load_checkpoint(tmp_path / "m.pt").network.linear.weight.dtype == torch.float16


def test_the_file_needs_no_source_of_the_users(tmp_path):
    source = (
        "from torch import nn\ndef build():\n    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))\n"
    )
    (tmp_path / "net.py").write_text(source)
    sys.path.insert(0, str(tmp_path))
    try:
        from net import build
    finally:
        sys.path.remove(str(tmp_path))
    save(Model(build(), inputs=["input:float32[N,4]"]), tmp_path / "m.pt")
    code = (
        "import sys, torch, compress\nfrom export.checkpoint import load_checkpoint\n"
        f"m = load_checkpoint({str(tmp_path / 'm.pt')!r})\n"
        "print(tuple(m.network(torch.ones(5, 4)).shape), 'net' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert done.stdout.strip() == "(5, 2) False"


def test_a_slice_of_a_large_tensor_is_stored_small(model, tmp_path):
    network = copy.deepcopy(model.network)
    network.fc.weight = nn.Parameter(torch.randn(100_000, 6)[:2])
    save(replace(model, network=network), tmp_path / "m.pt")
    assert (tmp_path / "m.pt").stat().st_size < 40_000


def test_a_module_of_another_kind_is_refused(model, tmp_path):
    network = copy.deepcopy(model.network)
    network.set_submodule("fc", nn.LazyLinear(2))
    with pytest.raises(ModelFileError, match="layer 'fc' is a LazyLinear, which no file can hold"):
        save(replace(model, network=network), tmp_path / "m.pt")
    assert not list(tmp_path.iterdir())


def test_the_input_is_never_overwritten(model, tmp_path):
    save(model, tmp_path / "m.pt")
    with pytest.raises(UsageError):
        save(model, tmp_path / "m.pt", not_the_same_as=[tmp_path / "m.pt"])


def node(content, name, form="main"):
    return next(n for n in content["graphs"][form] if n["name"] == name)


def call(content):
    return next(n for n in content["graphs"]["main"] if n["op"] == "call_module")


def function(content):
    return next(n for n in content["graphs"]["main"] if n["op"] == "call_function")


DAMAGE = {
    "version": (lambda c: c.update(version=99), "format version 99, this version of compress reads 1"),
    "operation": (lambda c: function(c).update(target="os.system"), "calls 'os.system', which is not among"),
    "aten": (lambda c: function(c).update(target="aten.from_file.default"), "calls 'aten.from_file.default'"),
    "in place": (lambda c: function(c).update(target="aten.add_.Tensor"), "calls 'aten.add_.Tensor'"),
    "dunder": (lambda c: function(c).update(target="operator.__call__"), "calls 'operator.__call__'"),
    "no such overload": (lambda c: function(c).update(target="aten.add.__class__"), "which is not among"),
    "reference": (
        lambda c: call(c).update(args={"tuple": [{"node": "nobody"}]}),
        "uses node 'nobody', which does not come",
    ),
    "layer": (lambda c: call(c).update(target="nowhere"), "calls 'nowhere', and there is no such layer"),
    "root": (lambda c: call(c).update(target=""), "there is no such layer"),
    "name": (lambda c: call(c).update(name="x; import os"), "which is taken or no identifier"),
    "keyword": (lambda c: call(c).update(name="lambda"), "taken or no identifier"),
    "twice": (lambda c: call(c).update(name="x"), "taken or no identifier"),
    "kind of node": (lambda c: call(c).update(op="call_method"), "is of an unknown kind, 'call_method'"),
    "tensor": (lambda c: call(c).update(op="get_attr", target="__class__"), "there is no such tensor"),
    "argument": (lambda c: call(c).update(args={"tuple": [{"eval": "1"}]}), "has an argument that cannot be read"),
    "no output": (lambda c: c["graphs"]["main"].pop(), "has no output"),
    "empty": (lambda c: c["graphs"].update(main=[]), "is no list of nodes"),
    "form": (lambda c: c["graphs"].pop("step"), "and describes main, step"),
    "class": (lambda c: c["modules"]["fc"].__setitem__(0, "LazyLinear"), "of a kind that no file of ours holds"),
    "settings": (
        lambda c: c["modules"]["fc"][1].update(out_features=3),
        r"has the shape \(2, 6\), its layer wants \(3, 6\)",
    ),
    "huge": (lambda c: c["modules"]["fc"][1].update(out_features=10**12), "its layer wants"),
    "unknown setting": (lambda c: c["modules"]["fc"][1].update(device="cuda"), "settings that a Linear does not take"),
    "deep": (lambda c: c["modules"]["rnn"][1].update(num_layers=10**9), "settings that a GRU does not take"),
    "shape": (lambda c: c["tensors"].update({"fc.weight": torch.ones(7, 6)}), r"has the shape \(7, 6\)"),
    "missing": (lambda c: c["tensors"].pop("fc.weight"), "the values of 'fc.weight' are missing"),
    "no tensor": (lambda c: c["tensors"].update({"fc.weight": [1.0]}), "'fc.weight' is no tensor"),
    "attribute": (lambda c: c["tensors"].update({"forward": torch.ones(1)}), "the name 'forward' is taken"),
    "inner attribute": (lambda c: c["tensors"].update({"fc.forward": torch.ones(1)}), "the name 'fc.forward' is taken"),
    "dimensions": (lambda c: c["facts"]["inputs"][0].update(dims=["N", None]), "is a damaged model file"),
    "facts": (lambda c: c["facts"].pop("labels"), "is a damaged model file: KeyError, 'labels'"),
    "part": (lambda c: c.pop("tied"), "its part 'tied' is missing"),
    "inputs": (lambda c: c["facts"]["inputs"].pop(), "other inputs are described"),
    "input's size": (lambda c: c["facts"]["inputs"][0].update(dims=["N", "T", 5]), "does not run"),
    "outputs": (lambda c: c["facts"]["outputs"].pop(), "gives other outputs than are described"),
    "tie": (lambda c: c["tied"].update({"fc.bias": "nowhere"}), "is a damaged model file"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_refused_in_one_sentence(name, content, tmp_path):
    damage, text = DAMAGE[name]
    damage(content)
    torch.save(content, tmp_path / "m.pt")
    with pytest.raises(ModelFileError, match=text) as caught:
        load_checkpoint(tmp_path / "m.pt")
    assert "m.pt" in str(caught.value) and "\n" not in str(caught.value)


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code of the file was run')",))


def test_a_pickle_is_not_opened(content, tmp_path):
    content["facts"]["name"] = Bomb()
    torch.save(content, tmp_path / "m.pt")
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(Bomb()))
    for file in ("m.pt", "bare.pt"):
        with pytest.raises(ModelFileError, match=r"so it was not opened|no file that torch.save made"):
            load_checkpoint(tmp_path / file)


def test_broken_files_are_refused(model, tmp_path):
    save(model, tmp_path / "m.pt")
    whole = (tmp_path / "m.pt").read_bytes()
    for name, data in {"random": bytes(range(256)) * 9, "empty": b"", "cut": whole[: len(whole) // 2]}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ModelFileError, match=name):
            load_checkpoint(tmp_path / name)
    with pytest.raises(ModelFileError, match=r"there is no file '.*nowhere.pt'"):
        load_checkpoint(tmp_path / "nowhere.pt")
    torch.save({"state_dict": {}}, tmp_path / "other.pt")
    with pytest.raises(ModelFileError, match="is no model file of ours"):
        load_checkpoint(tmp_path / "other.pt")
    assert not is_ours({"state_dict": {}}) and not is_ours([1])


def test_deep_nesting_is_refused(content):
    deep: list = []
    for _ in range(5000):
        deep = [deep]
    call(content).update(args={"tuple": deep})
    with pytest.raises(ModelFileError, match="damaged"):
        from_data(content, source="m.pt")


def test_the_lifted_network_alone_is_enough(tmp_path):
    result = lift(nn.Linear(3, 2), [spec("x", "N", 3)])
    save(Model(result.network, inputs=[spec("x", "N", 3)]), tmp_path / "m.pt")
    assert [o.name for o in load_checkpoint(tmp_path / "m.pt").outputs] == ["y"]
