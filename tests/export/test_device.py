import json
from dataclasses import asdict

import pytest

from export.device import DEVICES, devices, find_device, parse
from export.machine import machine
from models.errors import UsageError


def test_the_devices_of_the_design_are_there():
    named = {"cpu", "cuda", "tensorrt", "x86-avx2", "x86-vnni", "arm64", "arm64-dotprod", "any", "stm32h743"}
    assert named <= set(DEVICES)
    assert {device.name for device in devices()} == set(DEVICES)


@pytest.mark.parametrize("name", DEVICES)
def test_every_device_is_sound(name):
    device = find_device(name)
    assert device.name == name and device.summary and device.source
    assert device.channel_multiple >= 1
    assert device.dtypes <= {"float32", "float16", "int8", "uint8", "int16"} and "float32" in device.dtypes | {
        "float32"
    }
    for limit in (device.ram_bytes, device.flash_bytes, device.peak_macs_per_s):
        assert limit is None or limit > 0
    if device.kind == "microcontroller":
        assert device.provider is None and device.symmetric and device.ram_bytes and device.peak_macs_per_s
    else:
        assert device.provider
    json.dumps({**asdict(device), "dtypes": sorted(device.dtypes)})


def test_any_has_the_limits_of_every_processor():
    strict = find_device("any")
    others = [find_device(name) for name in ("x86-avx2", "x86-vnni", "arm64", "arm64-dotprod")]
    assert strict.exact_u8s8 == all(other.exact_u8s8 for other in others)
    assert all(strict.channel_multiple % other.channel_multiple == 0 for other in others)
    assert strict.dtypes == frozenset.intersection(*(other.dtypes for other in others))


def test_cpu_is_this_machine():
    cpu, here = find_device("cpu"), machine()
    assert (cpu.name, cpu.instruction_set, cpu.ram_bytes) == ("cpu", here["instruction_set"], here["memory_bytes"])
    assert cpu.is_here and not find_device("stm32h743").is_here
    if here["instruction_set"] in DEVICES:
        like = find_device(here["instruction_set"])
        assert like.is_here and like.exact_u8s8 == cpu.exact_u8s8


def test_only_one_kind_of_x86_is_here():
    assert not (find_device("x86-avx2").is_here and find_device("x86-vnni").is_here)


def test_the_multiply_adds_a_second_are_those_of_the_clock():
    # clock in the datasheet times multiply-adds a cycle in the architecture manual
    assert find_device("stm32h743").peak_macs_per_s == 480e6 * 2
    assert find_device("nrf52840").peak_macs_per_s == 64e6 * 2
    assert find_device("rp2040").peak_macs_per_s == 133e6 / 2
    assert find_device("esp32-s3").peak_macs_per_s == 240e6 * 16


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ("stm32h734", "device: no device named 'stm32h734'. Did you mean 'stm32h743'? (`compress devices` lists them)"),
        ("zzzzzz", "device: no device named 'zzzzzz'. (`compress devices` lists them)"),
        ("ssh:pi@board", "device 'ssh:pi@board': devices of the kind 'ssh:' come later. For now name the instruction"),
        ("emulated:x86-avx2", "devices of the kind 'emulated:' come later"),
    ],
)
def test_an_unknown_device_is_a_usage_error(asked, text):
    with pytest.raises(UsageError) as caught:
        find_device(asked)
    assert text in str(caught.value) and caught.value.exit_status == 2


def test_a_device_file_with_a_misspelt_or_missing_field_says_so():
    with pytest.raises(ValueError, match="device 'x': no field named 'rma_bytes'; there are channel_multiple"):
        parse("x", "rma_bytes = 1")
    with pytest.raises(ValueError, match=r"device 'x': .* missing 6 required keyword-only arguments: 'summary'"):
        parse("x", "")
