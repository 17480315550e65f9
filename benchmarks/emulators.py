"""Processors that are not at hand, emulated by qemu-user: what a file answers there; its speed says nothing.

    python -m benchmarks.emulators          make what 64-bit Arm needs, in .arm64

An x86 processor without VNNI runs this very interpreter. For 64-bit Arm a Python, its libraries and ONNX Runtime are
fetched from Debian and the Python package index into a folder, nothing of which is installed; needs apt-get and
dpkg-deb, as Debian and Ubuntu have them.
"""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from models.errors import CompressError, UsageError

ARM64 = Path(__file__).resolve().parents[1] / ".arm64"
_ROOT = "root"  # of what runs there
_LIBRARIES = ("libc6", "libstdc++6", "libgcc-s1", "zlib1g", "libexpat1", "libffi8")
_PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
# by device: the processor, its part number, and what it has besides
_ARM = {
    "arm64": ("cortex-a72", "0xd08", ""),
    "arm64-dotprod": ("neoverse-n1", "0xd0c", " atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"),
}
PROCESSORS = ("x86-avx2", *_ARM)
DESCRIBED = {"x86-avx2": "a Haswell", "arm64": "a Cortex-A72", "arm64-dotprod": "a Neoverse N1"}


def command(processor: str, folder: Path = ARM64) -> list[str]:
    """What to put before the arguments of Python, so that it runs them on that processor.

    Args:
        processor: one of `PROCESSORS`.
        folder: that `make` filled.

    Raises:
        UsageError: the emulator or the folder is not there; the text says how to get it.
    """
    emulator = "qemu-x86_64" if processor == "x86-avx2" else "qemu-aarch64"
    if shutil.which(emulator) is None:
        raise UsageError(f"there is no {emulator!r} here. Debian has it in qemu-user: apt-get install qemu-user")
    if processor == "x86-avx2":
        return [emulator, "-cpu", "Haswell", sys.executable]  # as field tests of real ones agree
    root = folder / _ROOT
    if not root.is_dir():
        raise UsageError(f"{folder}: nothing to run on {processor} is there. Make it: python -m benchmarks.emulators")
    libraries = ":".join(str(root / part / "aarch64-linux-gnu") for part in ("lib", "usr/lib"))
    (python,) = root.glob("usr/bin/python3.*")
    told = ["-L", str(folder / processor), "-E", f"LD_LIBRARY_PATH={libraries}"]
    return [emulator, "-cpu", _ARM[processor][0], *told, str(python)]


def is_there(processor: str) -> bool:
    """Whether it can be emulated here and now."""
    try:
        return bool(command(processor))
    except UsageError:
        return False


def make(folder: Path = ARM64) -> None:
    """Fetch what 64-bit Arm needs, into a folder that appears whole or not at all; nothing where it is there.

    Raises:
        CompressError: a tool is missing or fails, or a package cannot be had.
    """
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}-", dir=folder.parent) as name:
        part = Path(name) / "part"
        root = part / _ROOT
        _python(Path(name), root)
        _packages(root)
        for processor in _ARM:
            _looks_like(processor, root, part / processor)
        part.rename(folder)


def _python(work: Path, root: Path) -> None:
    """Python of this release of Debian and the libraries it needs, unpacked; what is installed stays untouched."""
    lists, cache, debs = work / "lists", work / "cache", work / "debs"
    for made in (lists / "partial", cache / "archives" / "partial", debs, root):
        made.mkdir(parents=True)
    apart = [f"Dir::State::lists={lists}", f"Dir::Cache={cache}", "Dir::State::status=/dev/null"]
    arm = ["APT::Architecture=arm64", "APT::Architectures::=arm64", "APT::Sandbox::User="]
    options = [part for option in (*apart, *arm) for part in ("-o", option)]
    _run(["apt-get", *options, "-qq", "update"])
    depends = _run(["apt-cache", *options, "depends", "python3-minimal"])
    found = re.search(r"python3\.\d+(?=-minimal)", depends)
    if found is None:
        raise CompressError("emulators: the distribution's package lists name no python3.N-minimal for arm64.")
    python = [f"{found[0]}-minimal", f"lib{found[0]}-minimal", f"lib{found[0]}-stdlib"]
    _run(["apt-get", *options, "-qq", "download", *python, *_LIBRARIES], where=debs)
    for deb in sorted(debs.iterdir()):
        _run(["dpkg-deb", "-x", str(deb), str(root)])


def _packages(root: Path) -> None:
    """ONNX Runtime as it is installed here, and numpy, where Debian's Python looks for packages."""
    (python,) = root.glob("usr/bin/python3.*")
    runtime = f"onnxruntime=={importlib.metadata.version('onnxruntime')}"
    target = root / "usr" / "lib" / "python3" / "dist-packages"
    platforms = [part for platform in _PLATFORMS for part in ("--platform", platform)]
    version = ["--python-version", python.name.removeprefix("python"), "--only-binary=:all:"]
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]
    _run([*install, *platforms, *version, "--target", str(target), runtime, "numpy"])


def _looks_like(processor: str, root: Path, folder: Path) -> None:
    """A root in which /proc/cpuinfo tells of that processor: an older emulator shows this machine's."""
    _, part, more = _ARM[processor]
    (folder / "proc").mkdir(parents=True)
    (folder / "proc" / "cpuinfo").write_text(
        f"processor\t: 0\nFeatures\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid{more}\n"
        f"CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: {part}\nCPU revision\t: 1\n\n",
        encoding="ascii",
    )
    for name in ("lib", "usr"):
        (folder / name).symlink_to(Path("..") / _ROOT / name)


def _run(words: list[str], *, where: Path | None = None) -> str:
    try:
        done = subprocess.run(words, cwd=where, capture_output=True, text=True, check=True)
    except OSError as error:
        raise CompressError(f"emulators: {words[0]!r} cannot be run: {error.strerror}.") from None
    except subprocess.CalledProcessError as error:
        said = (error.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise CompressError(f"emulators: {words[0]!r} failed with status {error.returncode}: {said}") from None
    return done.stdout


if __name__ == "__main__":
    try:
        make()
    except CompressError as error:
        sys.exit(str(error))
    print(f"{ARM64}: Python and ONNX Runtime for {', '.join(_ARM)}")
