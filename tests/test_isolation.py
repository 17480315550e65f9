"""A user's project has its own models/, export.py, cli.py and benchmarks/. Theirs and ours never meet."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

NET = """
from torch import nn
from models.parts import block
import export, cli, benchmarks

assert (export.MINE, cli.MINE, benchmarks.MINE) == ("theirs", "theirs", "theirs")

def build(width=4):
    from models.late import head  # an import that runs when the function does
    return nn.Sequential(block(1, width), nn.Flatten(), head(width * 64))
"""
WEIGHTS = """
import torch
from models.net import build
torch.manual_seed(0)
torch.save(build().state_dict(), "weights.pt")
"""
USES_BOTH = """
import models.net, models.parts, export, benchmarks
network = models.net.build()
model = compress.load("weights.pt", arch="models.net:build", inputs=["x:float32[N,1,8,8]"])
assert export.MINE == benchmarks.MINE == "theirs"
assert models.parts.__file__ == os.path.join(os.getcwd(), "models", "parts.py")
onnx = compress.to_onnx(model)
compress.verify(model, onnx)
context = compress.Context(seed=0)
outcome = compress.run([compress.Prune(ratio=0.25, recover=0)], model, context)[-1]
compress.save(outcome.model, "pruned.pt")
again = compress.load("pruned.pt")
assert [spec.name for spec in again.inputs] == ["input"]
import models.net as theirs, cli
assert cli.MINE == "theirs" and theirs.build is models.net.build
print("both")
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "models").mkdir()
    (folder / "benchmarks").mkdir()
    files = {
        "models/__init__.py": "",
        "models/net.py": NET,
        "models/parts.py": "from torch import nn\n\ndef block(i, o):\n    return nn.Conv2d(i, o, 3, padding=1)\n",
        "models/late.py": "from torch import nn\n\ndef head(width):\n    return nn.Linear(width, 10)\n",
        "export.py": "MINE = 'theirs'\n",
        "cli.py": "MINE = 'theirs'\n",
        "benchmarks/__init__.py": "MINE = 'theirs'\n",
        "weights.py": WEIGHTS,
        "first.py": "import os\nimport compress\n" + USES_BOTH,
        "last.py": "import os\nimport models.net, export, cli, benchmarks\nimport compress\n" + USES_BOTH,
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    run(folder, sys.executable, "weights.py")
    return folder


def run(folder: Path, *command: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_line_loads_their_models_from_their_folder(project: Path) -> None:
    script = str(Path(sys.executable).parent / "compress")
    said = run(project, script, "info", "weights.pt", "--arch", "models.net:build", "--data", "digits", "--json")
    assert '"parameters": 2610' in said  # 4 (9 + 1) + 10 (256 + 1)


@pytest.mark.parametrize("script", ["first.py", "last.py"])
def test_a_script_beside_them_imports_ours_before_or_after_its_own(project: Path, script: str) -> None:
    assert run(project, sys.executable, script) == "both\n"


def test_ours_never_enter_the_modules_under_their_everyday_names(tmp_path: Path) -> None:
    names = run(tmp_path, sys.executable, "-c", "import sys, compress; compress.load; print(sorted(sys.modules))")
    assert "'_compress.models'" in names
    assert not {"'models'", "'export'", "'cli'", "'benchmarks'"} & set(names.strip("[]\n").split(", "))
