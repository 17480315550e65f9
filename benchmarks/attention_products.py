"""Whether products of two activations, as attention has them, gain from integers on this processor.

    python -m benchmarks.attention_products [--lengths 64 128 512] [-o FILE.json]

A Transformer encoder of random weights (two layers, 256 wide, four heads) in float, in static int8, and in static int8
with the products of its attention in integers too, timed by turns on one thread, a sequence at a time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import compress
from benchmarks.documents import made_by, said, write
from compress.base import Context
from compress.quantization.by_turns import timed
from compress.quantization.calibrated import look
from compress.quantization.candidates import Maker
from compress.quantization.loss import ByAgreement
from compress.quantization.schemes import scheme_for
from compress.quantization.ways import Way
from export.device import find_device
from export.folded import fold
from export.save import shipped
from export.stopwatch import Stopwatch
from models.records import InputSpec, Model

RESULT = Path(__file__).parent / "results" / "attention_products.json"
_WIDTH, _HEADS, _LAYERS = 256, 4, 2


def encoder(length: int) -> Model:
    """Float ONNX of an encoder for sequences of one length."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        block = nn.TransformerEncoderLayer(_WIDTH, _HEADS, 4 * _WIDTH, dropout=0.0, batch_first=True)
        network = nn.TransformerEncoder(block, _LAYERS, enable_nested_tensor=False).eval()
    spec = InputSpec(name="x", dtype="float32", dims=("N", length, _WIDTH))
    return fold(shipped(compress.Model(network, inputs=(spec,))))


def measured(length: int, *, seconds: float = 2.0) -> dict[str, Any]:
    """One length: speed against float with intervals, and noise, without and with the products in integers."""
    model = encoder(length)
    rng = np.random.default_rng(0)
    seen, unseen = ([{"x": rng.standard_normal((8, length, _WIDTH), np.float32)}] for _ in range(2))
    calibrated = look(model, seen, products=True)
    ranges, of_forms = calibrated.ranges()
    scheme = scheme_for(find_device("any"))
    candidates = {"float": model}
    for name, products in (("int8", False), ("int8 with products", True)):
        maker = Maker(model, replace(scheme, products=products), ranges, (), of_forms, calibrated=calibrated)
        candidates[name] = maker.make(Way(kind="static")).model
    judge = ByAgreement(model, unseen, 1.0)
    (found,) = timed(candidates, Context(measure=Stopwatch(seconds=seconds)), unseen).values()
    return {
        "length": length,
        "median_ms": {name: found.timings[name].median_ms for name in candidates},
        "comparisons": [asdict(one) for one in found.comparisons],
        "sqnr_db": {name: judge(made).sqnr_db for name, made in candidates.items() if name != "float"},
    }


def page(content: dict[str, Any]) -> str:
    """The same for a reader."""
    lines = ["# Products of two activations in integers", ""]
    when, with_what = said(content)
    lines += [when, f"{with_what}, batch 1. Speed is float's time over the"]
    lines += ["variant's, by turns, with its 95 % interval; dB is SQNR of the output.", ""]
    lines += ["| length | float ms | int8 | with the products too | dB | dB |", "|---:|---:|---|---|---:|---:|"]
    for row in content["lengths"]:
        speeds = [f"{one['speedup']:.2f} ({one['low']:.2f}–{one['high']:.2f})" for one in row["comparisons"]]
        noise = [f"{value:.1f}" for value in row["sqnr_db"].values()]
        lines.append(" | ".join([f"| {row['length']}", f"{row['median_ms']['float']:.3f}", *speeds, *noise]) + " |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", nargs="+", type=int, default=[64, 128, 512])
    parser.add_argument("--seconds", type=float, default=2.0, help="measuring time for each variant")
    parser.add_argument("-o", "--output", type=Path, default=RESULT)
    given = parser.parse_args(arguments)
    words = sys.argv[1:] if arguments is None else arguments
    rows = [measured(length, seconds=given.seconds) for length in given.lengths]
    content = {
        "schema": 1,
        **made_by(" ".join(["python -m benchmarks.attention_products", *words])),
        "lengths": rows,
    }
    write(content, given.output, page(content))
    return 0


if __name__ == "__main__":
    sys.exit(main())
