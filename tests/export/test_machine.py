import json
import platform
import subprocess
import sys

import pytest

from export.machine import describe, instruction_set, machine, versions


@pytest.mark.parametrize(
    ("architecture", "flags", "name"),
    [
        ("x86_64", "avx2 avx512f avx512_vnni", "x86-vnni"),
        ("x86_64", "avx2 avx_vnni", "x86-vnni"),
        ("AMD64", "avx2 fma", "x86-avx2"),
        ("x86_64", "sse4_1", "x86"),
        ("aarch64", "fp asimd asimddp", "arm64-dotprod"),
        ("arm64", "dotprod", "arm64-dotprod"),
        ("aarch64", "fp asimd", "arm64"),
        ("riscv64", "", "riscv64"),
        ("", "", "unknown"),
    ],
)
def test_the_flags_decide_the_instruction_set(architecture, flags, name):
    assert instruction_set(architecture, frozenset(flags.split())) == name


def test_reads_an_x86_cpuinfo():
    text = "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu avx2\n\nprocessor\t: 1\nflags\t\t: fpu avx2\n"
    assert describe(text) == ("AMD EPYC", {"fpu", "avx2"})


def test_an_arm_board_is_named_by_its_board_and_has_the_flags_all_its_cores_have():
    text = "Features\t: fp asimd asimddp\nprocessor\t: 1\nFeatures\t: fp asimd\nModel\t\t: Raspberry Pi 5\n"
    assert describe(text) == ("Raspberry Pi 5", {"fp", "asimd"})


def test_an_arm_processor_without_a_board_is_named_by_its_numbers():
    text = "Features\t: fp\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n"
    assert describe(text)[0] == "implementer 0x41, part 0xd08"


def test_says_what_this_machine_is():
    here = machine()
    assert here["cores"] >= 1 and here["memory_bytes"] > 2**20
    assert here["python"] == platform.python_version()
    assert json.loads(json.dumps(here)) == here
    here["cores"] = 0  # a caller adds to its own copy
    assert machine()["cores"] >= 1


def test_agrees_with_lscpu_about_vnni():
    try:
        listed = subprocess.run(["lscpu"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no lscpu here")
    assert (machine()["instruction_set"] == "x86-vnni") == ("vnni" in listed)


def test_versions_are_those_that_the_packages_give_and_import_none():
    code = "import compress, sys; from export.machine import versions; versions(); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
    import onnx

    assert versions()["onnx"] == onnx.__version__
