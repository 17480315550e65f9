"""Recurrent layers in int8: from which size on they are faster than in float, and what they lose on both kinds of x86.

    python -m benchmarks.recurrent_int8 [--hidden 64 256 512 1024] [--emulate] [-o FILE.json]

Each layer runs 50 steps on one thread, in float by ONNX Runtime's own operator, with its weights stored in int8, and
computed in int8: an LSTM by the runtime's operator, GRU and RNN as loops of integer products. SQNR is against float, of
the file for `any`, in which the products of two neighbouring weights fit 16 bits, and of the one for `x86-vnni`, with
eight bits for each; here and, with --emulate, on emulated processors: with AVX2 alone, and of 64-bit Arm.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.documents import made_by, said, write
from benchmarks.emulators import DESCRIBED, PROCESSORS, command
from benchmarks.int8_emulated import emulated, keep_arrays
from benchmarks.recurrent_layers import inputs, layer, lstm_with_rounded_state, numbers_of, of_weights, rounded
from compress.quantization.dynamic_int8 import write_dynamic
from compress.quantization.int8 import weight_grid
from compress.quantization.schemes import Scheme, scheme_for
from compress.quantization.weights_only import write_weights
from export.device import find_device
from export.onnx_file import to_bytes
from export.parity import sqnr_db
from export.session import onnx_runner
from export.stopwatch import Stopwatch
from models.records import Model

RESULT = Path(__file__).parent / "results" / "recurrent_int8.json"
KINDS = ("GRU", "RNN", "LSTM")
BATCHES = (1, 8)
STEPS = 50
DEVICES = ("any", "x86-vnni")


def computed(model: Model, scheme: Scheme) -> Model:
    """The layer in int8."""
    network = model.onnx.clone()
    write_dynamic(network, scheme, loops=True)
    return replace(model, network=network)


def stored(model: Model) -> Model:
    """The layer with weights in int8, computed in float."""
    network = model.onnx.clone()
    write_weights(network)
    return replace(model, network=network)


def measured(kind: str, hidden: int, batch: int, *, seconds: float = 2.0, steps: int = STEPS) -> dict[str, Any]:
    """One layer at one batch size: times by turns, noise, bytes."""
    float_ = layer(kind, hidden)
    x = inputs(hidden, steps=steps, batch=batch)
    models = {"float": float_, "weights": stored(float_), "int8": computed(float_, scheme_for(find_device("any")))}
    runners = {name: onnx_runner(model) for name, model in models.items()}
    found = Stopwatch(seconds=seconds).time({name: _call(runner, x) for name, runner in runners.items()})
    wanted = runners["float"](x)["y"]
    eight = onnx_runner(computed(float_, scheme_for(find_device("x86-vnni"))))
    return {
        "kind": kind,
        "hidden": hidden,
        "batch": batch,
        "bytes": {name: len(to_bytes(model)) for name, model in models.items()},
        "median_ms": {name: found.timings[name].median_ms for name in models},
        "comparisons": [asdict(one) for one in found.comparisons],
        "sqnr_db": {"any": sqnr_db(wanted, runners["int8"](x)["y"]), "x86-vnni": sqnr_db(wanted, eight(x)["y"])},
    }


def _call(runner: Any, x: Any) -> Any:
    return lambda: runner(x)


def there(processor: str, hidden: Sequence[int], *, steps: int = STEPS) -> dict[str, float | None]:
    """SQNR on an emulated processor, by "KIND HIDDEN DEVICE"."""
    with tempfile.TemporaryDirectory(prefix="compress-") as name:
        wanted = []
        for kind in KINDS:
            for width in hidden:
                float_, folder = layer(kind, width), Path(name) / f"{kind}-{width}"
                folder.mkdir()
                keep_arrays(float_, inputs(width, steps=steps, batch=1), folder)
                for device in DEVICES:
                    file = folder / f"{device}.onnx"
                    file.write_bytes(to_bytes(computed(float_, scheme_for(find_device(device)))))
                    wanted.append((f"{kind} {width} {device}", file))
        return emulated(wanted, command(processor))


def losses(hidden: int, *, steps: int = STEPS) -> dict[str, Any]:
    """What the noise of an LSTM in int8 is made of: one thing rounded at a time, SQNR of the outputs."""
    float_ = layer("LSTM", hidden)
    numbers, x = numbers_of(float_), inputs(hidden, steps=steps, batch=1)
    wanted = onnx_runner(float_)(x)["y"]

    def with_weights(*names: str, axes: tuple[int, ...], pairs_fit: bool, in_order: bool = False) -> float:
        rows = {name: numbers[name].reshape(-1, numbers[name].shape[-1]) if in_order else None for name in names}
        grids = {name: weight_grid(numbers[name], axes, pairs_fit=pairs_fit, in_order=rows[name]) for name in names}
        round_trip = {name: grid.dequantize(grid.quantize(numbers[name])) for name, grid in grids.items()}
        return sqnr_db(wanted, onnx_runner(of_weights("LSTM", numbers | round_trip))(x)["y"])

    both = ("rnn.W", "rnn.R")
    return {
        "hidden": hidden,
        "weights, 8 bits, per row": with_weights(*both, axes=(0, 1), pairs_fit=False),
        "weights, 8 bits, one scale": with_weights(*both, axes=(0,), pairs_fit=False),
        "weights, neighbours fit, per row": with_weights(*both, axes=(0, 1), pairs_fit=True, in_order=True),
        "weights, 7 bits, per row": with_weights(*both, axes=(0, 1), pairs_fit=True),
        "weights, 7 bits, one scale": with_weights(*both, axes=(0,), pairs_fit=True),
        "input": sqnr_db(wanted, onnx_runner(float_)({"x": rounded(x["x"]).astype(np.float32)})["y"]),
        "state, by the range of each step": sqnr_db(wanted, lstm_with_rounded_state(numbers, x["x"])),
        "all, 8 bits, per row": sqnr_db(wanted, onnx_runner(computed(float_, Scheme()))(x)["y"]),
        "all, neighbours fit, per row": sqnr_db(wanted, onnx_runner(computed(float_, Scheme(pairs_fit=True)))(x)["y"]),
    }


def page(content: dict[str, Any]) -> str:
    """The same for a reader."""
    lines = ["# Recurrent layers in int8", ""]
    when, with_what = said(content)
    lines += [when, f"{with_what}, {content['steps']} steps."]
    lines += ["Speed is float's time over the variant's, by turns, with its 95 % interval; bytes are of float's.", ""]
    lines += ["| layer | hidden | batch | float ms | weights in int8 | int8 | bytes | dB, any | dB, x86-vnni |"]
    lines += ["|---|---:|---:|---:|---|---|---:|---:|---:|"]
    for row in content["layers"]:
        speeds = {one["b"]: f"{one['speedup']:.2f} ({one['low']:.2f}–{one['high']:.2f})" for one in row["comparisons"]}
        share = f"{row['bytes']['int8'] / row['bytes']['float']:.2f}"
        noise = " | ".join(f"{row['sqnr_db'][device]:.1f}" for device in DEVICES)
        lines.append(
            f"| {row['kind']} | {row['hidden']} | {row['batch']} | {row['median_ms']['float']:.3f} "
            f"| {speeds['weights']} | {speeds['int8']} | {share} | {noise} |"
        )
    for processor, found in content["emulated_db"].items():
        lines += ["", f"The same files on {DESCRIBED[processor]} ({processor}), emulated, batch 1, dB:", ""]
        lines += ["| layer | hidden | any | x86-vnni |", "|---|---:|---:|---:|"]
        for kind, width in dict.fromkeys(tuple(name.split()[:2]) for name in found):
            cells = " | ".join(f"{found[f'{kind} {width} {device}']:.1f}" for device in DEVICES)
            lines.append(f"| {kind} | {width} | {cells} |")
    lines += ["", "What an LSTM loses, one thing rounded at a time, dB:", ""]
    names = [name for name in content["losses"][0] if name != "hidden"]
    lines += [f"| rounded | {' | '.join(str(row['hidden']) for row in content['losses'])} |"]
    lines += [f"|---|{'---:|' * len(content['losses'])}"]
    lines += [f"| {name} | {' | '.join(f'{row[name]:.1f}' for row in content['losses'])} |" for name in names]
    return "\n".join(lines) + "\n"


def _processors(asked: Sequence[str] | None) -> Sequence[str]:
    return () if asked is None else (asked or PROCESSORS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", nargs="+", type=int, default=[64, 256, 512, 1024])
    parser.add_argument("--seconds", type=float, default=2.0, help="measuring time for each variant")
    told = f"also on other processors, emulated; all of {', '.join(PROCESSORS)} where none is named"
    parser.add_argument("--emulate", nargs="*", choices=PROCESSORS, metavar="PROCESSOR", help=told)
    parser.add_argument("-o", "--output", type=Path, default=RESULT)
    given = parser.parse_args(arguments)
    words = sys.argv[1:] if arguments is None else arguments
    rows = []
    for kind in KINDS:
        for hidden in given.hidden:
            for batch in BATCHES:
                rows.append(measured(kind, hidden, batch, seconds=given.seconds))
                print(kind, hidden, batch, rows[-1]["median_ms"], rows[-1]["sqnr_db"], file=sys.stderr, flush=True)
    content = {
        "schema": 1,
        **made_by(" ".join(["python -m benchmarks.recurrent_int8", *words])),
        "steps": STEPS,
        "layers": rows,
        "losses": [losses(hidden) for hidden in given.hidden],
        "emulated_db": {one: there(one, given.hidden) for one in _processors(given.emulate)},
    }
    write(content, given.output, page(content))
    return 0


if __name__ == "__main__":
    sys.exit(main())
