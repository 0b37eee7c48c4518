"""IOMMU, TPM and memory: read from trees made up here, judged by what follows for a person."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.host.drivers.machine.findings import Status
from bento.host.drivers.machine.hardware import (
    Iommu,
    Memory,
    Tpm,
    interpret_iommu,
    interpret_memory,
    interpret_tpm,
    parse_meminfo,
    read_iommu,
    read_memory,
    read_tpm,
)


def test_an_iommu_with_groups_is_on() -> None:
    finding = interpret_iommu(Iommu(14, ("DMAR",)))
    assert finding.status is Status.OK
    assert finding.value == {"groups": 14, "tables": ("DMAR",)}
    assert finding.remedy is None


def test_an_iommu_that_the_kernel_leaves_alone_has_a_remedy() -> None:
    finding = interpret_iommu(Iommu(0, ("DMAR",)))
    assert finding.status is Status.WARN
    assert "does not use" in finding.sentence
    assert finding.remedy is not None
    assert "intel_iommu=on" in finding.remedy


@pytest.mark.parametrize("tables", [(), ("IVRS",)])
def test_without_an_iommu_there_is_no_isolation_of_drivers(tables: tuple[str, ...]) -> None:
    finding = interpret_iommu(Iommu(0, tables))
    assert finding.status is (Status.WARN if tables else Status.MISSING)
    assert "a domain that drives a device is not isolated" in finding.sentence


def test_the_iommu_is_read_from_sysfs(tmp_path: Path) -> None:
    assert read_iommu(tmp_path) == Iommu(0, ())
    for group in ("0", "1"):
        (tmp_path / "kernel/iommu_groups" / group).mkdir(parents=True)
    (tmp_path / "firmware/acpi/tables").mkdir(parents=True)
    (tmp_path / "firmware/acpi/tables/IVRS").write_bytes(b"IVRS")
    assert read_iommu(tmp_path) == Iommu(2, ("IVRS",))


@pytest.mark.parametrize(
    ("tpm", "status", "words"),
    [
        (Tpm(True, "2", True), Status.OK, "There is a TPM 2"),
        (Tpm(True, "2", False), Status.WARN, "may not open /dev/tpmrm0"),
        (Tpm(True, "1", False), Status.WARN, "version 1"),
        (Tpm(True, "", True), Status.WARN, "version unknown"),
        (Tpm(False, "", False), Status.MISSING, "no TPM"),
    ],
)
def test_only_a_tpm_of_version_2_that_can_be_opened_is_well(tpm: Tpm, status: Status, words: str) -> None:
    finding = interpret_tpm(tpm)
    assert finding.status is status
    assert words in finding.sentence


def test_the_tpm_is_read_from_sysfs(tmp_path: Path) -> None:
    device = tmp_path / "tpmrm0"
    assert read_tpm(tmp_path, device) == Tpm(False, "", False)
    (tmp_path / "class/tpm/tpm0").mkdir(parents=True)
    (tmp_path / "class/tpm/tpm0/tpm_version_major").write_text("2\n")
    device.write_text("")
    assert read_tpm(tmp_path, device) == Tpm(True, "2", True)


MEMINFO = """MemTotal:       24731708 kB
MemFree:        24488800 kB
MemAvailable:    2097152 kB
SwapTotal:       1048576 kB
HugePages_Total:       0
"""


def test_memory_is_read_in_bytes(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text(MEMINFO)
    assert read_memory(tmp_path / "meminfo") == Memory(total=24731708 << 10, available=2 << 30, swap=1 << 30)
    assert read_memory(tmp_path / "absent") == Memory(0, 0, 0)


@given(st.text())
def test_no_text_makes_the_reader_of_memory_fail(text: str) -> None:
    memory = parse_meminfo(text)
    assert min(memory.total, memory.available, memory.swap) >= 0


def test_a_number_in_another_unit_is_not_taken_for_kilobytes() -> None:
    assert parse_meminfo("MemTotal: 5 MB\nMemAvailable: -3 kB\nSwapTotal: ² kB\n") == Memory(0, 0, 0)


def test_memory_is_told_in_domains() -> None:
    finding = interpret_memory(Memory(total=8 << 30, available=2 << 30, swap=0), 256 << 20)
    assert finding.status is Status.OK
    assert finding.value["domains"] == 8
    assert "about 8 domains of 256 MiB" in finding.sentence
    assert "no swap" in finding.sentence


def test_room_for_few_domains_is_a_warning() -> None:
    memory = Memory(total=8 << 30, available=1 << 30, swap=0)
    assert interpret_memory(memory, 256 << 20).status is Status.OK
    assert interpret_memory(replace(memory, available=(1 << 30) - 1), 256 << 20).status is Status.WARN


def test_swap_is_told_as_a_place_where_memory_comes_to_rest() -> None:
    finding = interpret_memory(Memory(total=8 << 30, available=2 << 30, swap=1 << 30), 256 << 20)
    assert finding.value["swap_bytes"] == 1 << 30
    assert "swap of 1.0 GiB, where their memory may come to rest" in finding.sentence
