"""What this machine is and which versions run on it: the conditions that every measured number carries."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import psutil

# what decides which kernels ONNX Runtime takes, as Linux and macOS call it
_OF_INTEREST = frozenset(
    "sse4_1 avx avx2 fma f16c avx512f avx512bw avx512vl avx512_vnni avx_vnni avx512_bf16 amx_int8 amx_tile "
    "asimd asimddp asimdhp i8mm bf16 sve sve2 dotprod".split()
)
_PACKAGES = ("compress-nn", "torch", "onnx", "onnxruntime", "onnxruntime-gpu", "onnx-ir", "onnxscript", "numpy")


def machine() -> dict[str, Any]:
    """This machine: processor, instruction_set, flags of interest, cores, memory, os, python.

    `cores` are those this process may use. An emulated process is told of the processor under the emulator, as the
    kernel describes it.
    """
    return dict(_machine())


@functools.cache
def _machine() -> dict[str, Any]:
    name, flags = _processor()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "processor": name or "unknown",
        "instruction_set": instruction_set(platform.machine(), flags),
        "flags": sorted(flags & _OF_INTEREST),
        "cores": usable,
        "memory_bytes": psutil.virtual_memory().total,
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def instruction_set(architecture: str, flags: frozenset[str]) -> str:
    """The instruction set that decides how int8 behaves: a device's name, or the architecture where none is ours.

    Args:
        architecture: as `uname -m` says it.
        flags: as /proc/cpuinfo says them (`dotprod` on macOS).
    """
    if architecture.lower() in ("x86_64", "amd64"):
        if flags & {"avx512_vnni", "avx_vnni"}:
            return "x86-vnni"
        return "x86-avx2" if "avx2" in flags else "x86"
    if architecture.lower() in ("aarch64", "arm64"):
        return "arm64-dotprod" if flags & {"asimddp", "dotprod"} else "arm64"
    return architecture.lower() or "unknown"


def versions() -> dict[str, str]:
    """Versions of the packages a number depends on; those not installed are left out. Imports none of them."""
    found: dict[str, str] = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> tuple[str, frozenset[str]]:
    if platform.system() == "Linux":
        try:
            return describe(Path("/proc/cpuinfo").read_text(encoding="utf-8"))
        except OSError:
            return platform.processor(), frozenset()
    if platform.system() == "Darwin":
        dot = _sysctl("hw.optional.arm.FEAT_DotProd") == "1"
        listed = f"{_sysctl('machdep.cpu.features')} {_sysctl('machdep.cpu.leaf7_features')}".lower().split()
        return _sysctl("machdep.cpu.brand_string"), frozenset([*listed, *(["dotprod"] if dot else [])])
    return platform.processor(), frozenset()


def describe(cpuinfo: str) -> tuple[str, frozenset[str]]:
    """Name and flags of the processor that a /proc/cpuinfo describes; several kinds of cores give the flags all have.

    Arm kernels give no name, but the maker's number and the part's; the board's name stands in where it is known.
    """
    fields: dict[str, str] = {}
    flags: frozenset[str] | None = None
    for line in cpuinfo.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        fields.setdefault(key, value)
        if key in ("flags", "Features"):
            flags = frozenset(value.split()) if flags is None else flags & frozenset(value.split())
    name = fields.get("model name", "") or fields.get("Model", "")
    if not name and "CPU part" in fields:
        name = f"implementer {fields.get('CPU implementer', '?')}, part {fields['CPU part']}"
    return name, flags or frozenset()


def _sysctl(name: str) -> str:
    try:
        return subprocess.run(
            ["sysctl", "-n", name], capture_output=True, text=True, timeout=5, check=False
        ).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""
