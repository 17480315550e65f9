"""Measure models on a device: time by turns against the first, memory in a fresh process each, counts beside them.

Models in torch are exported first, so the baseline is the folded and stripped file that would be shipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.memory import memory_of
from benchmarks.record import Benchmark, BenchmarkResult
from benchmarks.subject import Subject, subjects, weights_dtype
from compress.base import Progress
from export.called import called
from export.cost import cost, integer_macs_share
from export.device import Device, find_device
from export.machine import machine, versions
from export.onnx_file import to_bytes
from export.profile import fallen_back
from export.session import session
from export.stopwatch import Stopwatch, Timings
from models.errors import DeviceError, UsageError
from models.records import Arrays, Model


def benchmark(
    models: Sequence[Model],
    *,
    device: str = "cpu",
    threads: int = 1,
    batch: int = 1,
    sizes: Mapping[str, int] | None = None,
    seconds: float = 1.0,
    seed: int = 0,
    progress: Progress | None = None,
    data: Arrays | None = None,
) -> BenchmarkResult:
    """Measure each model, and compare each with the first by turns in one process.

    A streaming model's step is timed as it runs: each call takes the states that the call before gave. On a
    microcontroller nothing is timed: the counts are given, with the time that its peak allows, marked as estimated.

    Args:
        models: two with one name are told apart by a number.
        device: of `compress devices`.
        threads: within an operator.
        batch: the size of the first input's first dimension, where that is free.
        sizes: of other free letters; the rest are the model's typical ones.
        seconds: of timing for each model.
        seed: of the order of turns and of random inputs.
        progress: told what is being done.
        data: arrays to time on, named as the inputs; random ones otherwise.

    Raises:
        UsageError: nothing to measure, a number out of range, an unknown letter or device.
        DataError: data do not fit a model.
        DeviceError: the device is not this machine, or not there.
        CompressError: a model does not run.
    """
    if not models:
        raise UsageError("benchmark: no model to measure; name at least one.")
    if batch < 1:
        raise UsageError(f"benchmark: batch must be at least 1, and is {batch}.")
    target = find_device(device)
    _must_be_here(target)
    watch = Stopwatch(seconds=seconds, threads=threads, seed=seed)
    tell = progress or _silent
    shown = subjects(models, batch, sizes or {}, data, seed)
    if target.provider is None:
        return BenchmarkResult(benchmarks=tuple(_estimate(s, target) for s in shown), comparisons=())
    calls: dict[str, Callable[[], object]] = {}
    for done, subject in enumerate(shown):
        tell("prepare", done, len(shown), detail=subject.name)
        calls[subject.name] = step_of(subject, target, threads)
    tell("time by turns", 0, 1, detail=f"{seconds * len(calls):.0f} s")
    timings = watch.time(calls)
    tell("time by turns", 1, 1)
    calls.clear()  # their sessions would share the machine's memory with the children
    rows = []
    for done, subject in enumerate(shown):
        tell("read memory", done, len(shown), detail=subject.name)
        rows.append(_row(subject, target, threads, timings))
    tell("read memory", len(shown), len(shown))
    return BenchmarkResult(benchmarks=tuple(rows), comparisons=timings.comparisons)


def _must_be_here(device: Device) -> None:
    """Refuse a processor that is another than this one: its times cannot be taken here."""
    if device.provider != "cpu" or device.is_here:
        return
    here = machine()["instruction_set"]
    if device.name == "any":
        raise UsageError("benchmark: 'any' is every processor at once and has no time; name one, such as --device cpu.")
    raise DeviceError(
        f"benchmark: {device.name!r} cannot be timed on this machine, which is {here}. "
        "Run it on such a machine, or time this one: --device cpu."
    )


def step_of(subject: Subject, device: Device, threads: int) -> Callable[[], object]:
    """One call of the model: its whole input, or one step that carries its states on.

    A state that grows, a cache, stays as long as it is: the time would be that of another length at each call.
    """
    assert device.provider is not None
    made = session(subject.model, provider=device.provider, threads=threads)
    feeds = dict(subject.inputs)
    first = called(made, feeds, subject.model.name)  # says what is wrong, once; the clock needs no more
    run = made.run
    outputs = [value.name for value in made.get_outputs()]
    fed = [(s.name, outputs.index(s.state_of)) for s in subject.model.inputs if s.state_of is not None]
    fed = [(name, position) for name, position in fed if first[position].shape == feeds[name].shape]
    if not fed:
        return lambda: run(None, feeds)

    def step() -> object:
        results = run(None, feeds)
        for name, position in fed:
            feeds[name] = results[position]
        return results

    return step


def _row(subject: Subject, device: Device, threads: int, timings: Timings) -> Benchmark:
    assert device.provider is not None
    timing = timings.timings[subject.name]
    memory = memory_of(subject.model, subject.inputs, provider=device.provider, threads=threads)
    share = integer_macs_share(subject.model, **subject.sizes) if device.provider == "cpu" else None
    cores = ", ".join(map(str, timings.cores))
    times = {key: value for key, value in asdict(timing).items() if key != "disturbed"}
    return Benchmark(
        **_facts(subject, device),
        provider=device.provider,
        threads=threads,
        **times,
        **asdict(memory),
        integer_macs_share=share,
        nodes_fallen_back=fallen_back(subject.model, subject.inputs, provider=device.provider),
        machine={
            **machine(),
            "pinned": timings.note or f"core{'s' * (len(timings.cores) > 1)} {cores}",
            "disturbed_turns": timing.disturbed,
        },
    )


def _estimate(subject: Subject, device: Device) -> Benchmark:
    facts = _facts(subject, device)
    counted = cost(subject.model, **subject.sizes)
    unknown: dict[str, Any] = dict.fromkeys(("median_ms", "p95_ms", "p99_ms", "high_ms", "load_ms", "first_run_ms"))
    bound = 1000 * facts["macs"] / device.peak_macs_per_s if device.peak_macs_per_s else None
    return Benchmark(
        **facts,
        **unknown,
        provider="",
        threads=1,
        runs=0,
        low_ms=bound,
        peak_rss_bytes=None,
        model_rss_bytes=None,
        integer_macs_share=counted.integer_macs / counted.macs if counted.macs else 0.0,
        nodes_fallen_back=0,
        machine={"instruction_set": device.instruction_set, "source": device.source},
        estimated=True,
    )


def _facts(subject: Subject, device: Device) -> dict[str, Any]:
    counted = cost(subject.model, **subject.sizes)
    return {
        "model": subject.name,
        "device": device.name,
        "batch": subject.batch,
        "shapes": {name: tuple(array.shape) for name, array in subject.inputs.items()},
        "dtype": weights_dtype(subject.model),
        "size_bytes": len(to_bytes(subject.model)),
        "macs": counted.macs,
        "parameters": counted.parameters,
        "versions": versions(),
    }


def _silent(what: str, done: int, total: int, *, detail: str = "") -> None:
    pass
