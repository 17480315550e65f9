"""What a benchmark says of one model on one device, and of each model against the first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from export.timing import Comparison

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One model on one device. What was not measured is None.

    Args:
        provider: ONNX Runtime's execution provider, or "" where ONNX Runtime does not run.
        shapes: of the inputs that were timed.
        dtype: of most of the weights.
        runs: calls that were counted; median_ms to high_ms are those of `export.timing.Timing`.
        low_ms: on an estimate, the time that no program for the device can go below (MACs over the device's peak).
        load_ms, first_run_ms, peak_rss_bytes, model_rss_bytes: read in a fresh process, as `benchmarks.memory` says.
        size_bytes: the file's.
        macs, parameters: at these shapes, by the convention of `export.cost`.
        integer_macs_share: of the multiply-adds of the graph as the CPU provider optimizes it (on an estimate: of the
            file's), those in integers; None on other providers.
        nodes_fallen_back: to the CPU, from another provider.
        machine: with its instruction set, the cores that were held, and turns left out because others took the core.
        estimated: nothing was timed; the device is not this machine.
    """

    model: str
    device: str
    provider: str
    threads: int
    batch: int
    shapes: Mapping[str, tuple[int, ...]]
    dtype: str
    runs: int
    median_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    low_ms: float | None
    high_ms: float | None
    load_ms: float | None
    first_run_ms: float | None
    peak_rss_bytes: int | None
    model_rss_bytes: int | None
    size_bytes: int
    macs: int
    parameters: int
    integer_macs_share: float | None
    nodes_fallen_back: int
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    estimated: bool = False


@dataclass(frozen=True, kw_only=True)
class BenchmarkResult:
    """One row a model, and each model after the first compared with the first."""

    benchmarks: tuple[Benchmark, ...]
    comparisons: tuple[Comparison, ...]

    def document(self) -> dict[str, Any]:
        """The one JSON document that `--json` prints and `benchmark.json` holds."""
        return {"schema": SCHEMA, **asdict(self)}
