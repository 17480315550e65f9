"""The wheel stands alone: what is imported is declared, what is needed is inside, every command works."""

import ast
import importlib.metadata
import re
import shutil
import site
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = [name for name in PROJECT["tool"]["setuptools"]["packages"] if "." not in name]  # each with all below it
OURS = {*PACKAGES, "cli", "_compress"}


def plain(requirement: str) -> str:
    name = re.match(r"[\w.-]+", requirement)
    assert name is not None
    return name[0].lower().replace("_", "-")


def contents() -> set[str]:
    """Every file of our packages as a wheel names it."""
    found = (path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file())
    return {str(path.relative_to(ROOT)) for path in found if "__pycache__" not in path.parts} | {"cli.py"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that no build folder of an earlier day lends it a file."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("cli.py", "pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / file, source / file)
    command = ["-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that holds the wheel, and sees nothing of ours but it.

    The packages it needs are those at hand, by a path: to install torch anew would take minutes, and `.ci/run` does it.
    """
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--no-deps",
        "--no-index",
        "--quiet",
        str(wheel),
    ]
    done = subprocess.run(pip, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (packages,) = (folder / "lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    return folder / "bin"


def test_everything_imported_is_declared() -> None:
    declared = {plain(requirement) for requirement in PROJECT["project"]["dependencies"]}
    optional = {plain(r) for group in PROJECT["project"]["optional-dependencies"].values() for r in group}
    distributions = importlib.metadata.packages_distributions()
    found, wrong = set(), []
    for file in sorted(name for name in contents() if name.endswith(".py")):
        for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules = [str(node.module)]
            else:
                continue
            for top in {module.partition(".")[0] for module in modules} - OURS - set(sys.stdlib_module_names):
                found.add(top)
                names = {plain(name) for name in distributions.get(top, [top])}
                allowed = declared | optional if node.col_offset else declared
                if not names & allowed:
                    wrong.append(f"{file}:{node.lineno} imports {top}, of {', '.join(names)}")
    assert {"torch", "numpy", "click"} <= found
    assert wrong == []


def test_everything_declared_is_imported() -> None:
    text = "".join((ROOT / name).read_text(encoding="utf-8") for name in contents() if name.endswith(".py"))
    modules = importlib.metadata.packages_distributions()
    # torch.onnx imports onnxscript; matplotlib, jinja2 and the rest are imported by us
    for requirement in PROJECT["project"]["dependencies"]:
        tops = [top for top, names in modules.items() if plain(requirement) in map(plain, names)]
        used = any(re.search(rf"^\s*(import|from) {top}\b", text, re.MULTILINE) for top in tops)
        assert used or plain(requirement) == "onnxscript", requirement


def test_the_constraints_pin_everything_that_is_declared() -> None:
    pinned = {plain(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    extras = PROJECT["project"]["optional-dependencies"]
    for requirement in [*PROJECT["project"]["dependencies"], *extras["test"]]:
        assert plain(requirement) in pinned, requirement


def test_the_wheel_holds_every_file_of_our_packages_and_no_other(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == contents()
    assert any(name.endswith(".safetensors") for name in names) and any(name.endswith(".toml") for name in names)


def test_every_command_of_the_installed_wheel_works(installed: Path, tmp_path: Path) -> None:
    def typed(*line: str) -> str:
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        return done.stdout

    where = typed(str(installed / "python"), "-c", "import compress; print(compress.__file__)")
    assert where.startswith(str(installed.parent))
    asks = (
        "import importlib; from compress.floors import PRIVATE, bind; bind(); "
        "cli = importlib.import_module(f'{PRIVATE}.cli'); import click; "
        "names = cli.commands.list_commands(click.Context(cli.commands)); "
        "bad = [name for name in names if cli.status([name, '--help'])]; assert names and not bad, bad"
    )
    assert typed(str(installed / "python"), "-c", asks).count("Example: compress") >= 12
    assert "Usage: compress" in typed(str(installed / "compress-nn"), "--help")
    typed(str(installed / "compress"), "export", "dscnn-fsdd")
    typed(str(installed / "compress"), "quantize", "dscnn-fsdd.onnx", "--data", "fsdd", "--mode", "static")
    assert (tmp_path / "dscnn-fsdd.int8.onnx").is_file()
