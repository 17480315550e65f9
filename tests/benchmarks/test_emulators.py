"""Emulated processors run Python and ONNX Runtime as what they are; what is missing is named with the way to get it."""

import platform
import shutil
import subprocess

import onnxruntime
import pytest

from benchmarks.emulators import DESCRIBED, PROCESSORS, command, is_there
from models.errors import UsageError

WHAT = """
import platform, sys, onnxruntime
features = [line for line in open("/proc/cpuinfo") if line.startswith("Features")]
print(platform.machine(), onnxruntime.__version__, any("asimddp" in line for line in features))
"""


@pytest.mark.parametrize("processor", PROCESSORS)
def test_python_there_is_on_that_processor_with_the_runtime_of_this_one(processor):
    if not is_there(processor):
        pytest.skip("needs qemu-user, and for Arm: python -m benchmarks.emulators")
    done = subprocess.run([*command(processor), "-I", "-c", WHAT], capture_output=True, text=True, check=True)
    machine, version, has_dot_product = done.stdout.split()
    assert machine == (platform.machine() if processor == "x86-avx2" else "aarch64")
    assert version == onnxruntime.__version__
    assert has_dot_product == str(processor == "arm64-dotprod")
    assert processor in DESCRIBED


@pytest.mark.skipif(shutil.which("qemu-aarch64") is None, reason="needs qemu-user")
def test_a_folder_that_is_not_made_yet_is_named_with_what_makes_it(tmp_path):
    with pytest.raises(UsageError, match=r"nowhere: nothing to run on arm64 is there. Make it: python -m"):
        command("arm64", tmp_path / "nowhere")


def test_an_emulator_that_is_missing_is_named_with_its_package(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="apt-get install qemu-user"):
        command("x86-avx2")
    assert not is_there("arm64")
