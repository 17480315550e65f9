"""One small run, through every pass of a chain, whose folder is looked at by all tests here."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from benchmarks.report import write_report
from benchmarks.run_folder import write_run
from compress.base import Context
from compress.ledger import judge, original, walk
from compress.pruning.prune import Prune
from compress.quantization.quantize import Quantize
from export.load import load
from export.session import onnx_runner
from export.stopwatch import Stopwatch
from export.wrap import Model
from models.batches import ArrayBatches
from models.errors import CompressError
from models.records import InputSpec
from models.tasks import Classification


def digits():
    images, target = load_digits(return_X_y=True)
    images = images.reshape(-1, 1, 8, 8).astype(np.float32) / 16
    parts = {"train": slice(0, 200), "validation": slice(200, 260), "test": slice(260, 360)}
    splits = {n: ArrayBatches(inputs={"x": images[part]}, target=target[part]) for n, part in parts.items()}
    return Classification(name="digits", labels=tuple("0123456789"), **splits)


def network(width=8):
    torch.manual_seed(0)
    layers = nn.Conv2d(1, width, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36 * width, 10)
    spec = InputSpec(name="x", dtype="float32", dims=("N", 1, 8, 8))
    return Model(nn.Sequential(*layers).eval(), inputs=(spec,), outputs=("logits",), name="net")


@pytest.fixture(scope="module")
def walked():
    model, task = network(), digits()
    calibration = [inputs for inputs, _ in task.train]
    context = Context(task=task, teacher=model, calibration=calibration, device="cpu")
    chain = walk((Prune(ratio=0.5), Quantize(mode="static")), model, context)
    return [*chain, original(network(2), "trained alone")]


@pytest.fixture(scope="module")
def folder(walked, tmp_path_factory):
    task = digits()
    target = tmp_path_factory.mktemp("run") / "small"
    ledger = judge(walked, task, stopwatch=Stopwatch(seconds=0.02, threads=2))
    told = {"title": "small", "command": "compress run small.toml", "findings": ["It is small."]}
    page = write_run(target, walked, ledger, task=task, controls=1, seconds=0.02, **told)
    assert page == target / "report.html"
    return target


def document(folder, name):
    return json.loads((folder / f"{name}.json").read_text())


def test_every_step_leaves_its_model_and_its_documents(folder):
    assert sorted(path.name for path in folder.iterdir()) == [
        "0-original.onnx",
        "1-prune.onnx",
        "1-prune.pt",
        "2-quantize.decisions.json",
        "2-quantize.onnx",
        "3-trained-alone.onnx",
        "3-trained-alone.pt",
        "benchmark.json",
        "flips.json",
        "ledger.json",
        "report.html",
    ]


def test_the_ledger_holds_the_chain_and_the_controls_apart(folder):
    ledger = document(folder, "ledger")
    assert [line["pass"] for line in ledger["steps"]] == ["original", "prune", "quantize"]
    assert [line["pass"] for line in ledger["controls"]] == ["trained alone"]
    assert ledger["command"] == "compress run small.toml" and ledger["findings"] == ["It is small."]


def test_sizes_are_those_of_the_files(folder):
    ledger = document(folder, "ledger")
    for line in (*ledger["steps"], *ledger["controls"]):
        (file,) = folder.glob(f"{line['step']}-*.onnx")
        assert line["size_bytes"] == file.stat().st_size


def test_the_benchmark_holds_both_ends_and_the_control_on_as_many_threads_as_the_ledger(folder):
    benchmark, ledger = document(folder, "benchmark"), document(folder, "ledger")
    assert [row["model"] for row in benchmark["benchmarks"]] == ["0 original", "2 quantize", "3 trained alone"]
    assert {row["threads"] for row in benchmark["benchmarks"]} == {ledger["threads"]} == {2}
    assert [found["b"] for found in benchmark["comparisons"]] == ["2 quantize", "3 trained alone"]


def test_flips_are_those_between_the_files(folder):
    flips = document(folder, "flips")
    first, last = (load(folder / name) for name in ("0-original.onnx", "2-quantize.onnx"))
    images = np.concatenate([inputs["x"] for inputs, _ in digits().test])
    decided = [onnx_runner(model)({"x": images})["logits"].argmax(-1) for model in (first, last)]
    assert flips["decisions"] == 100 and flips["flipped"] == int((decided[0] != decided[1]).sum())


def test_the_page_can_be_written_again_to_the_same_bytes(folder, tmp_path):
    again = write_report(folder, tmp_path / "again.html")
    assert again.read_bytes() == (folder / "report.html").read_bytes()
    assert "It is small." in again.read_text() and again.stat().st_size < 1_500_000


def test_a_step_can_be_taken_up_again(folder):
    assert load(folder / "1-prune.pt").history[-1]["pass"] == "prune"


def test_what_was_left_out_is_not_there(walked, tmp_path):
    page = write_run(tmp_path, walked[:1], judge(walked[:1], None), title="one", command="", seconds=0.02)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "0-original.onnx",
        "benchmark.json",
        "ledger.json",
        "report.html",
    ]
    assert "<h1>one</h1>" in page.read_text()


def test_a_run_that_fails_leaves_nothing(walked, tmp_path):
    broken = replace(walked[0], shipped=replace(walked[0].shipped, inputs=()))
    with pytest.raises((CompressError, ValueError)):
        write_run(tmp_path / "run", [broken], judge(walked[:1], None), title="", command="", seconds=0.02)
    assert list(tmp_path.iterdir()) == []
