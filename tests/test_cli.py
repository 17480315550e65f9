"""The command line: what it costs to ask, what every command promises, and every example that a help page gives."""

import copy
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from torch import nn

import cli
import compress
from cli import commands, status
from compress.pass_command import pass_command
from compress.recipe import find_pass
from export.save import save
from export.to_onnx import to_onnx
from models import ZOO

NAMES = commands.list_commands(click.Context(commands))
ASK = """
import importlib, sys
from compress.floors import PRIVATE, bind
bind()
status = importlib.import_module(f"{PRIVATE}.cli").status
for line in sys.argv[1:]:
    assert status(line.split()) == 0, line
"""
HEAVY = ("torch", "onnxruntime", "onnx", "numpy", "sklearn", "scipy", "matplotlib", "lightning_fabric")
RECIPE = 'data = "fsdd"\n\n[[pass]]\nname = "quantize"\nmode = "static"\n'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(RECIPE)
    yield tmp_path


def help_of(name: str) -> str:
    command = commands.get_command(click.Context(commands), name)
    assert command is not None
    return command.get_help(click.Context(command, info_name=name))


def example_of(name: str) -> list[str]:
    line = help_of(name).splitlines()[-1].strip()
    assert line.startswith("Example: compress "), f"compress {name} --help ends with {line!r}"
    return line.removeprefix("Example: compress ").split()


def imported(*lines: str) -> set[str]:
    """Which of the heavy packages are there after these command lines, typed in a process of their own."""
    code = f"{ASK}print('MODULES', *(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code, *lines], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_what_only_tells_imports_nothing_heavy() -> None:
    assert imported("--help", "--version", "models", "passes", "train --help") == set()


def test_commands_on_onnx_alone_import_no_torch(capsys: pytest.CaptureFixture[str]) -> None:
    assert status(["export", "dscnn-fsdd", "-q"]) == 0
    assert "torch" not in imported(
        "info dscnn-fsdd.onnx",
        "quantize dscnn-fsdd.onnx --mode static -o small.onnx",
        "verify dscnn-fsdd.onnx small.onnx --floor-db 10",
        "benchmark dscnn-fsdd.onnx small.onnx --seconds 0.1",
        "export small.onnx -o again.onnx",
    )


def test_every_command_has_help_that_lists_its_options() -> None:
    assert set(NAMES) >= {*compress.PASSES, "models", "passes", "devices", "info", "train", "run", "export", "verify"}
    for name in NAMES:
        assert "--help" in help_of(name) and "Example: compress" in help_of(name)


# `make demo` is run by CI, whole; the example of `run` has a test of its own
@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("demo", "run")])
def test_the_example_of_every_help_page_works(name: str, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    if name == "quantize" and "COMPRESS_DATA" not in os.environ:
        pytest.skip("the pictures of its example are not on this machine")
    if name == "verify":
        assert status(["export", "dscnn-fsdd", "-q"]) == 0
    before = set(folder.iterdir())
    line = example_of(name)
    assert status(line) == 0, capsys.readouterr().err
    said = capsys.readouterr()
    written = {path.name for path in set(folder.iterdir()) - before}
    assert said.out.strip() and "Traceback" not in said.err
    assert all(part in said.out for part in written), (written, said.out)


def test_a_pass_writes_beside_its_source_named_for_what_was_done(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    (folder / "sub").mkdir()
    assert status(["train", "cnn-fsdd", "--width", "4", "--steps", "3", "-o", "sub/net.pt"]) == 0
    for line, name in (
        ("separate sub/net.pt --recover 2", "net.separable.pt"),
        ("prune sub/net.separable.pt --ratio 0.25 --recover 2", "net.separable.pruned.pt"),
        ("distill sub/net.separable.pruned.pt --width 0.5 --steps 2", "net.separable.pruned.distilled.pt"),
        ("quantize sub/net.separable.pruned.distilled.pt --mode static", "net.separable.pruned.distilled.int8.onnx"),
        ("export sub/net.pt", "net.onnx"),
        ("prune sub/net.onnx --recover 2", "net.pruned.onnx"),
        ("quantize sub/net.pt --mode fp16", "net.fp16.onnx"),
    ):
        assert status(line.split()) == 0, capsys.readouterr().err
        assert (folder / "sub" / name).is_file(), line
    small = compress.load("sub/net.separable.pruned.distilled.int8.onnx")
    before = compress.load("sub/net.pt")
    assert small.inputs == before.inputs and small.outputs == before.outputs
    assert [step["pass"] for step in small.history][-4:] == ["separate", "prune", "distill", "quantize"]


@pytest.mark.parametrize("name", ["models", "passes", "devices", "info dscnn-fsdd", "export dscnn-fsdd -o a.onnx"])
def test_json_is_one_document_with_a_schema(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status([*name.split(), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == 1 and len(document) > 1


def test_json_of_a_pass_holds_what_a_table_leaves_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert status(["quantize", "dscnn-fsdd", "--mode", "static", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["settings"]["mode"] == "static"
    assert document["output"] == "dscnn-fsdd.int8.onnx"
    assert document["size_bytes"] == Path("dscnn-fsdd.int8.onnx").stat().st_size
    assert document["after"]["bytes"] < document["before"]["bytes"]
    assert document["changed"] and {"layer", "text"} == set(document["changed"][0])
    score = document["score"]
    assert score["drop"] == pytest.approx(score["before"]["value"] - score["after"]["value"])
    assert score["before"]["n"] == score["after"]["n"] > 0


def test_beside_a_model_lies_no_table_that_describes_another(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status("quantize dscnn-fsdd --mode static -o small.onnx".split()) == 0
    decided = json.loads((folder / "small.decisions.json").read_text())
    decided["layers"][0]["decision"] = "float"
    (folder / "mine.json").write_text(mine := json.dumps(decided, indent=3))
    capsys.readouterr()
    assert status("quantize dscnn-fsdd --decisions mine.json -o small.onnx".split()) == 0
    said = capsys.readouterr()
    assert "and small.decisions.json" in said.out and "describe" not in said.err
    assert (folder / "small.decisions.json").read_text() == mine
    before = (folder / "small.decisions.json").stat().st_mtime_ns
    assert status("quantize dscnn-fsdd --decisions small.decisions.json -o small.onnx".split()) == 0
    said = capsys.readouterr()
    assert "wrote small.onnx (" in said.out and "small.decisions.json" not in said.out + said.err
    assert (folder / "small.decisions.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("line", ["export dscnn-fsdd -o small.onnx", "prune dscnn-fsdd --recover 0 -o small.onnx"])
def test_an_old_table_beside_a_model_that_has_none_is_told_and_kept(
    line: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(line.split()) == 0
    assert "decisions.json" not in capsys.readouterr().err
    (folder / "small.decisions.json").write_text('{"mine": 1}')
    assert status(line.split()) == 0
    assert "small.decisions.json was decided for an earlier small.onnx" in capsys.readouterr().err
    assert (folder / "small.decisions.json").read_text() == '{"mine": 1}'


def test_a_run_leaves_a_ledger_whose_first_line_is_the_original(capsys: pytest.CaptureFixture[str]) -> None:
    line = example_of("run")
    assert line[:-1] == ["run", "small.toml", "dscnn-fsdd", "-o"]
    out = Path(line[-1])
    assert status([*line, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    ledger = json.loads((out / "ledger.json").read_text())
    assert printed["steps"] == ledger["steps"]
    first, last = ledger["steps"]
    assert (first["pass"], last["pass"]) == ("original", "quantize")
    assert first["metric"] > 0.9 and first["samples"] == 600 and first["drop"] is None
    assert last["drop_low"] <= last["drop"] <= last["drop_high"]
    assert last["speedup_low"] <= last["speedup"] <= last["speedup_high"]
    assert {"report.html", "benchmark.json", "0-original.onnx", "1-quantize.onnx"} <= {p.name for p in out.iterdir()}
    assert last["size_bytes"] == (out / "1-quantize.onnx").stat().st_size


def test_verify_holds_on_the_data_that_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3))
    other = copy.deepcopy(network)
    with torch.no_grad():
        other[0].weight[:, 1] += 1.0  # they differ in what they do with the second input alone
    for name, net in (("one", network), ("other", other)):
        save(to_onnx(compress.Model(net, inputs=["x:float32[N,2]"])), tmp_path / f"{name}.onnx")
    np.savez(tmp_path / "first.npz", x=np.array([[1, 0], [2, 0], [-3, 0], [5, 0]], np.float32))
    pair = [str(tmp_path / "one.onnx"), str(tmp_path / "other.onnx")]
    assert status(["verify", *pair]) == 3
    assert status(["verify", *pair, "--data", str(tmp_path / "first.npz"), "--floor-db", "60"]) == 0
    capsys.readouterr()


def test_a_network_of_a_fixed_batch_is_held_to_another_on_data_with_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = compress.Model(nn.Linear(2, 3), inputs=["x:float32[1,2]"])
    save(to_onnx(model), tmp_path / "one.onnx")
    rng = np.random.default_rng(0)
    rows, labels = rng.standard_normal((40, 2)).astype(np.float32), rng.integers(0, 3, 40)
    np.savez(tmp_path / "d.npz", x=rows, y=labels)
    assert status(["verify", *[str(tmp_path / "one.onnx")] * 2, "--data", str(tmp_path / "d.npz")]) == 0
    assert "agrees with" in capsys.readouterr().out


def test_verify_says_no_with_status_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert status(["verify", "dscnn-fsdd", "cnn-fsdd"]) == 3
    assert "SQNR" in capsys.readouterr().err


def test_a_dry_run_writes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = set(folder.iterdir())
    for line in ("quantize dscnn-fsdd --dry-run", "run small.toml dscnn-fsdd -o out --dry-run"):
        assert status(line.split()) == 0
        assert "Nothing was written" in capsys.readouterr().out
    assert set(folder.iterdir()) == before


def test_quiet_leaves_the_result_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert status(["export", "dscnn-fsdd", "-q"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("wrote dscnn-fsdd.onnx") and said.out.count("\n") == 1 and said.err == ""


def test_a_summary_is_the_first_line_of_the_docstring() -> None:
    assert compress.PASSES
    for name, (_, summary) in compress.PASSES.items():
        of = find_pass(name)
        assert (of.__doc__ or "").splitlines()[0] == summary
        assert pass_command(name, of, summary).get_short_help_str(200) == summary


def test_every_reference_model_can_be_trained_by_its_own_options() -> None:
    train = commands.commands["train"]
    assert isinstance(train, click.Group) and train.list_commands(click.Context(train)) == list(ZOO)
    for name in ZOO:
        command = train.get_command(click.Context(train), name)
        assert command is not None
        options = {option for parameter in command.params for option in parameter.opts}
        assert {
            "--epochs",
            "--learning-rate",
            "--batch-size",
            "--optimizer",
            "--seed",
            "--resume",
            "--width",
        } <= options


def test_cli_stays_short() -> None:
    assert len(Path(cli.__file__).read_text().splitlines()) < 300


def test_free_lengths_are_those_of_the_data(capsys: pytest.CaptureFixture[str]) -> None:
    """A convolution over raw sound does not run at the first length that is made up; it costs what its data's take."""
    net = torch.nn.Sequential(torch.nn.Conv1d(1, 8, 128, stride=64), torch.nn.AdaptiveAvgPool1d(1), torch.nn.Flatten())
    model = compress.Model(net, inputs=["x:float32[N,1,T]"], typical={"T": 640})
    save(replace(to_onnx(model), typical={}), Path("sound.onnx"))  # as one of another tool, that knows no usual length
    np.savez("sound.npz", x=np.random.default_rng(0).standard_normal((40, 1, 1280)).astype(np.float32))
    assert status(["quantize", "sound.onnx", "--data", "sound.npz", "--mode", "static", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["before"]["macs"] == 8 * 128 * ((1280 - 128) // 64 + 1)
    assert status(["benchmark", "sound.onnx", "sound.int8.onnx", "--json", "--seconds", "0.02"]) == 0
    both = json.loads(capsys.readouterr().out)["benchmarks"]
    assert len({str(row["shapes"]) for row in both}) == 1  # also where one file knows its data's and the other none
