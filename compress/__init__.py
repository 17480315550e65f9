"""Makes trained networks small and fast enough for the devices they must live on, and proves it.

import compress
model = compress.load("model.pt", arch="mypkg:build")
outcome = compress.Prune(ratio=0.5)(model, compress.Context(task=mytask))
"""

import importlib
from typing import Any

from .floors import PRIVATE, bind

bind()

__version__ = "0.1.0"

# name -> "module:Class" and the first line of its docstring; a literal, so that `--help` imports no torch
PASSES: dict[str, tuple[str, str]] = {
    "quantize": (
        "compress.quantization.quantize:Quantize",
        "Store and compute in int8, or half precision, where that pays.",
    ),
    "separate": ("compress.separate:Separate", "Replace dense convolutions by depthwise, then pointwise ones."),
    "prune": ("compress.pruning.prune:Prune", "Remove the channels, hidden units and heads that matter least."),
    "distill": ("compress.distill:Distill", "Train a small network to answer as a large one does."),
}

# public name -> where it is; imported on first use, so that reading PASSES costs nothing
_PUBLIC = {
    "Model": f"{PRIVATE}.export.wrap:Model",
    "InputSpec": f"{PRIVATE}.models.records:InputSpec",
    "OutputSpec": f"{PRIVATE}.models.records:OutputSpec",
    "Score": f"{PRIVATE}.models.records:Score",
    "CompressError": f"{PRIVATE}.models.errors:CompressError",
    "load": f"{PRIVATE}.export.load:load",
    "save": f"{PRIVATE}.export.save:save",
    "save_source": f"{PRIVATE}.export.as_source:save_source",
    "to_onnx": f"{PRIVATE}.export.to_onnx:to_onnx",
    "verify": f"{PRIVATE}.export.parity:verify",
    "Context": "compress.base:Context",
    "Note": "compress.base:Note",
    "Outcome": "compress.base:Outcome",
    "Pass": "compress.base:Pass",
    "run": "compress.recipe:run",
    "read_recipe": "compress.recipe:read_recipe",
    "task_for": "compress.data_argument:task_for",
    "calibration_from": "compress.data_argument:calibration_from",
    "cost": f"{PRIVATE}.export.cost:cost",
    "Quantize": "compress.quantization.quantize:Quantize",
    "Separate": "compress.separate:Separate",
    "Prune": "compress.pruning.prune:Prune",
    "Distill": "compress.distill:Distill",
    "benchmark": f"{PRIVATE}.benchmarks.benchmark:benchmark",
}

__all__ = ["PASSES", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'compress' has no attribute {name!r}")
    module, _, attribute = _PUBLIC[name].partition(":")
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
