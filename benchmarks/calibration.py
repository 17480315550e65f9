"""Ranges for int8: what each method does to networks of every kind, and what a sweep costs beside ONNX Runtime's own.

    python -m benchmarks.calibration [NAME ...] [--images 64 256 1024] [-o benchmarks/results/calibration.json]

The first table quantizes reference models in mode static with each method's ranges, all from one sweep: the score on
test, and the SQNR of the outputs on samples that were not calibrated on. The second calibrates a MobileNet of random
weights on random images, each tool and method in a process of its own that is bound to one core.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import compress
from benchmarks.calibration_network import write_mobilenet
from benchmarks.documents import write
from benchmarks.memory import ask
from compress.base import Context
from compress.data_argument import calibration_from
from compress.quantization.calibrated import look
from compress.quantization.calibration_data import gather
from compress.quantization.candidates import Maker
from compress.quantization.loss import ByAgreement
from compress.quantization.raised import raised
from compress.quantization.range_methods import METHODS
from compress.quantization.schemes import scheme_for
from compress.quantization.ways import Way
from export.device import find_device
from export.folded import fold
from export.machine import machine, versions
from export.stepped import any_batch
from export.to_onnx import to_onnx
from models import find
from models.errors import CompressError

RESULT = Path(__file__).parent / "results" / "calibration.json"
NETWORKS = ("gru-fsdd", "transformer-char", "cnn-fsdd", "autoencoder", "resnet8")
DEVICES = ("any", "stm32h743")  # unsigned and asymmetric activations; signed and symmetric ones
PEERS = ("minmax", "entropy", "percentile")
PEER_IMAGES = 256  # more would not fit into memory


def of_network(name: str, device: str = "any", *, samples: int = 256) -> Iterator[dict[str, Any]]:
    """Score and SQNR of a reference model in static int8, in float first and then with each method's ranges."""
    task, scheme = find(name).task(), scheme_for(find_device(device))
    given = compress.load(f"zoo:{name}")
    model = fold(given if given.is_onnx else to_onnx(given))
    seen, unseen = gather(model, Context(calibration=calibration_from(task)), samples)
    model = raised(model, seen)
    found = look(model, seen, symmetric=scheme.activations == "s8")
    ranges, of_forms = found.ranges()
    maker = Maker(model, scheme, ranges, (), of_forms, calibrated=found)
    agreement = ByAgreement(model, unseen, 100.0)
    row = {"network": name, "device": device, "samples": samples}
    score = task.score(any_batch(model), "test")
    facts = {"unit": score.unit, "higher_is_better": score.higher_is_better}
    yield {**row, "method": "float", "score": score.value, "sqnr_db": None, "flip_rate": None, **facts}
    for method in METHODS:
        made = maker.make(Way(kind="static", calibration=method))
        loss, score = agreement(made.model), task.score(any_batch(made.model), "test")
        told = {"score": score.value, "sqnr_db": loss.sqnr_db, "flip_rate": loss.flip_rate, **facts}
        yield {**row, "method": method, **told, "int8_layers": len(made.changed)}


def of_tool(tool: str, method: str, images: int, *, width: float, timeout_s: float = 3600) -> dict[str, Any]:
    """Seconds and memory of one calibration in a process of its own.

    Raises:
        CompressError: it failed, was killed, or took longer.
    """
    with tempfile.TemporaryDirectory(prefix="compress-") as name:
        folder = Path(name)
        write_mobilenet(folder / "model.onnx", width=width)
        request = {"tool": tool, "method": method, "images": images}
        (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        command = [sys.executable, "-m", "benchmarks.calibration_child", str(folder)]
        return {**request, **ask(command, who=f"{tool} {method}, {images} images", timeout_s=timeout_s)}


def sweeps(images: Sequence[int], *, width: float) -> Iterator[dict[str, Any]]:
    """Each tool and method on each number of images; one that fails says why, and the others go on."""
    asked: list[tuple[str, str, int]] = [("compress", method, count) for count in images for method in METHODS]
    asked += [("onnxruntime", method, count) for count in images if count <= PEER_IMAGES for method in PEERS]
    for tool, method, count in asked:
        try:
            yield of_tool(tool, method, count, width=width)
        except CompressError as error:
            yield {"tool": tool, "method": method, "images": count, "error": str(error)}


def page(content: dict[str, Any]) -> str:
    """The same for a reader."""
    lines = ["# Ranges for int8", "", f"`{content['command']}`, {content['date']}, {_machine(content)}.", ""]
    heads = ("float", *METHODS)
    lines += ["Score on test in static int8, and SQNR of the outputs on samples not calibrated on, by method.", ""]
    lines += [f"| network | device | score | {' | '.join(heads)} |", f"|---|---|---|{'---:|' * len(heads)}"]
    found = {(r["network"], r["device"], r["method"]): r for r in content["networks"]}
    for network, device in dict.fromkeys((r["network"], r["device"]) for r in content["networks"]):
        cells = [_cell(found.get((network, device, method))) for method in heads]
        lines.append(f"| {network} | {device} | {found[network, device, 'float']['unit']} | {' | '.join(cells)} |")
    lines += [
        "",
        f"MobileNet, width {content['width']:g}, images of 224 by 224, one core; each in its own process.",
        "",
    ]
    lines += ["| tool | method | images | tensors | seconds | peak MB |", "|---|---|---:|---:|---:|---:|"]
    for row in content["sweeps"]:
        start = f"| {row['tool']} | {row['method']} | {row['images']:,} "
        if "error" in row:
            lines.append(f"{start}| | {row['error']} | |")
        else:
            lines.append(f"{start}| {row['tensors']} | {row['seconds']:.1f} | {row['peak_rss_bytes'] / 1e6:,.0f} |")
    return "\n".join(lines) + "\n"


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    return f"{row['score']:.4g}" + (f", {row['sqnr_db']:.1f} dB" if row["sqnr_db"] is not None else "")


def _machine(content: dict[str, Any]) -> str:
    return f"{content['machine']['processor']} ({content['machine']['instruction_set']})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", default=NETWORKS, help="reference models")
    parser.add_argument("--images", nargs="*", type=int, default=[64, 256, 1024], help="none: no sweep is timed")
    parser.add_argument("--width", type=float, default=0.5, help="of the MobileNet")
    parser.add_argument("-o", "--output", type=Path, default=RESULT)
    given = parser.parse_args(arguments)
    content: dict[str, Any] = {
        "schema": 1,
        "command": " ".join(["python -m benchmarks.calibration", *(sys.argv[1:] if arguments is None else arguments)]),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine(),
        "versions": versions() | {"compress": compress.__version__},
        "width": given.width,
        "networks": [],
        "sweeps": [],
    }
    for name in given.names:
        for device in DEVICES:
            for row in of_network(name, device):
                content["networks"].append(row)
                print(f"{name} {device} {row['method']}: {_cell(row)}", file=sys.stderr, flush=True)
            write(content, given.output, page(content))
    for row in sweeps(given.images, width=given.width):
        content["sweeps"].append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
        write(content, given.output, page(content))
    return 0


if __name__ == "__main__":
    sys.exit(main())
