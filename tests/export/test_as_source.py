"""Networks as source: a fresh interpreter that cannot import us runs them all and gives the same bits."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

import cli
import compress
from export.as_source import importable, save_source, source
from export.checkpoint import save
from export.forms import MAIN, parts
from export.lift import lift
from export.lifted import Lifted, evaluating, tensors
from export.to_onnx import to_onnx
from export.wrap import Model, from_entry
from models import find
from models.errors import CompressError, UsageError
from models.records import sizes_of
from tests.compress.dead_units import dead_and_cut
from tests.compress.networks import NETWORKS, spec
from tests.compress.pruning.test_units import lifted

# one of each way to hold layers and to write operations: the whole of both lists was tried when this was written
SMALL = "dense squeeze-excite pyramid last-state own-layers tied-transformer llama".split()
FORMS = ("gru-fsdd",)
CHILD = """
import importlib, sys, torch
assert not {"compress", "models", "export"} & {name.partition(".")[0] for name in sys.modules}
sys.path.insert(0, ".")
for name, forms in torch.load("wanted.pt").items():
    network = importlib.import_module(name).load()
    assert not network.training
    for method, (given, wanted) in forms.items():
        with torch.no_grad():
            found = getattr(network, method)(*given)
        found = found if isinstance(found, tuple) else (found,)
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted):
            assert one.dtype == other.dtype and torch.equal(one, other), (name, method)
    print(name)
"""


def wanted(model, add=1):
    """Each method's inputs and what the lifted network gives for them, at a size it was not traced at."""
    sizes = {letter: size + add for letter, size in sizes_of(model).items()}
    found = {}
    for form, what in parts(model).items():
        given = tensors(what.inputs, sizes)
        with evaluating(model.network):
            outputs = model.network.run(form, *given)
        found["forward" if form == MAIN else form] = given, outputs if isinstance(outputs, tuple) else (outputs,)
    return found


def test_a_fresh_interpreter_without_us_gives_the_same_bits(tmp_path):
    assert {*SMALL} <= {network.name for network in NETWORKS}
    models = {name: lifted(name) for name in SMALL} | {name: from_entry(find(name), tiny=True) for name in FORMS}
    tried = {}
    for name, model in models.items():
        for kind, one in (("whole", model), ("pruned", dead_and_cut(model)[1])):
            path = importable(tmp_path / f"{name}_{kind}.py")
            save_source(one, path)
            tried[path.stem] = wanted(one)
    torch.save(tried, tmp_path / "wanted.pt")
    child = [sys.executable, "-I", "-c", CHILD]
    done = subprocess.run(child, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list(tried) and len(tried) == 2 * (len(SMALL) + len(FORMS))


class Shared(nn.Module):
    """A layer under two names, a table that the output reads backwards, a frozen weight, numbers for names, halves."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(9, 4)
        self.blocks = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.blocks.append(self.blocks[0])
        self.scales = nn.ParameterList([torch.ones(4)])
        self.forward_ = nn.Linear(4, 9, bias=False).double()
        self.forward_.weight.requires_grad_(False)
        self.register_buffer("shift", torch.tensor([1, 2, 3, 4]))

    def forward(self, torch):  # a name that the file needs itself
        x = self.table(torch)
        for block in self.blocks:
            x = block(x) * self.scales[0]
        return x @ self.table.weight.T, self.forward_((x + self.shift).double())


@pytest.fixture
def shared():
    return Model(Shared().eval(), inputs=(spec("torch", "N", dtype="int64", high=9),), name="shared")


def loaded(path):
    held = {"__file__": str(path), "__name__": "loaded"}
    exec(compile(path.read_text(), path, "exec"), held)
    return held["load"]()


def test_what_is_shared_stays_shared_and_types_and_frozen_weights_are_kept(shared, tmp_path):
    path, weights = save_source(shared, tmp_path / "shared.py")
    network = loaded(path)
    assert weights == tmp_path / "shared.safetensors"
    assert {n: (p.dtype, p.requires_grad) for n, p in network.named_parameters()} == {
        n: (p.dtype, p.requires_grad) for n, p in shared.network.named_parameters()
    }
    assert sum("blocks" in n for n, _ in network.named_parameters()) == 4  # two layers, of which one is called twice
    (given, expected) = wanted(shared)["forward"]
    for one, other in zip(network(*given), expected, strict=True):
        assert torch.equal(one, other)
    sum(o.sum() for o in network(*given)).backward()
    assert network.table.weight.grad is not None


def test_a_sequence_that_is_called_is_written_as_one(tmp_path):
    model = lifted("squeeze-excite")
    network = lift(nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU()), (spec("x", "N", 3, 8, 8),)).network
    network.set_submodule("0", nn.Sequential(nn.Conv2d(3, 3, 3, groups=3), nn.Conv2d(3, 16, 1)))
    given = torch.randn(2, 3, 8, 8)
    one = replace(model, network=network, inputs=(spec("x", "N", 3, 8, 8),))
    path, _ = save_source(one, tmp_path / "net.py")
    assert "nn.Sequential(nn.Conv2d(3, 3, 3, groups=3), nn.Conv2d(3, 16, 1))" in path.read_text()
    assert torch.equal(loaded(path)(given), network(given))


def test_layers_read_as_a_person_writes_them():
    text = source(lifted("conv-recurrent"), "weights.safetensors")
    assert "self.conv = nn.Conv2d(3, 8, 3, padding=1)\n" in text
    assert "self.rnn = nn.LSTM(64, 12, num_layers=2, batch_first=True, bidirectional=True)\n" in text
    assert "F.max_pool2d(F.relu(self.conv(x)), [2, 2])" in text
    assert "Takes x float32 (N, 3, 16, 16)" in text and "aten" not in text


def test_only_torch_and_safetensors_are_imported():
    for name in ("own-layers", "tied-transformer"):
        lines = [line for line in source(lifted(name), "w").splitlines() if line.startswith(("import ", "from "))]
        assert {line.split()[1].partition(".")[0] for line in lines} <= {
            "__future__", "math", "pathlib", "torch", "safetensors"
        }  # fmt: skip


def test_the_command_writes_both_files_from_torch_and_from_onnx(shared, tmp_path, capsys):
    plain = Model(nn.Sequential(nn.Linear(4, 3), nn.ReLU()).eval(), inputs=(spec("x", "N", 4),), name="plain")
    given = torch.randn(5, 4)
    for name, model in (("torch.pt", plain), ("onnx.onnx", to_onnx(plain))):
        file = tmp_path / name
        (save if name.endswith("pt") else compress.save)(model, file)
        target = tmp_path / f"from_{file.stem}.py"
        assert cli.status(["export", str(file), "--as-source", "-o", str(target)]) == 0
        assert f"wrote {target} (" in capsys.readouterr().out
        torch.testing.assert_close(loaded(target)(given), plain.network(given))
    assert cli.status(["export", str(tmp_path / "torch.pt"), "--as-source"]) == 0  # beside its source
    assert (tmp_path / "torch.py").is_file()


def test_a_name_that_cannot_be_imported_and_a_layer_of_somebody_elses_are_refused(shared, tmp_path):
    for name in ("my-net.py", "net.onnx", "class.py"):
        with pytest.raises(UsageError, match=r"a file that can be imported, such as network\.py"):
            save_source(shared, tmp_path / name)

    class Foreign(nn.Linear):
        pass

    network = lift(nn.Sequential(nn.Linear(4, 4)), (spec("x", "N", 4),)).network
    network.set_submodule("0", Foreign(4, 4))
    assert isinstance(network, Lifted)
    with pytest.raises(CompressError, match="layer '0' is a Foreign, which is neither torch's nor one of ours"):
        save_source(Model(network, inputs=(spec("x", "N", 4),)), tmp_path / "net.py")
    assert not list(tmp_path.iterdir())
