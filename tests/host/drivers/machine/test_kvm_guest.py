"""The probe's child: its numbers are the kernel's, and it says honestly how far it came."""

import ctypes
from itertools import pairwise
from pathlib import Path

import pytest

from bento.host.drivers.machine import kvm_api, kvm_guest
from bento.host.drivers.machine.kvm_steps import Step


@pytest.mark.parametrize(
    ("structure", "size"),
    [
        (kvm_api.KvmSegment, 24),
        (kvm_api.KvmDtable, 16),
        (kvm_api.KvmSregs, 312),
        (kvm_api.KvmRegs, 144),
        (kvm_api.KvmUserspaceMemoryRegion, 32),
        (kvm_api.KvmPitConfig, 64),
        (kvm_api.KvmCpuid2, 8 + 256 * 40),
    ],
)
def test_structures_have_the_kernels_size(structure: type[ctypes.Structure], size: int) -> None:
    assert ctypes.sizeof(structure) == size


@pytest.mark.parametrize(
    ("number", "value"),
    [
        # As a C compiler gives them from linux/kvm.h on x86-64.
        (kvm_api.KVM_GET_API_VERSION, 0xAE00),
        (kvm_api.KVM_CREATE_VM, 0xAE01),
        (kvm_api.KVM_GET_VCPU_MMAP_SIZE, 0xAE04),
        (kvm_api.KVM_GET_SUPPORTED_CPUID, 0xC008AE05),
        (kvm_api.KVM_CREATE_VCPU, 0xAE41),
        (kvm_api.KVM_SET_USER_MEMORY_REGION, 0x4020AE46),
        (kvm_api.KVM_SET_TSS_ADDR, 0xAE47),
        (kvm_api.KVM_CREATE_IRQCHIP, 0xAE60),
        (kvm_api.KVM_CREATE_PIT2, 0x4040AE77),
        (kvm_api.KVM_RUN, 0xAE80),
        (kvm_api.KVM_SET_REGS, 0x4090AE82),
        (kvm_api.KVM_GET_SREGS, 0x8138AE83),
        (kvm_api.KVM_SET_SREGS, 0x4138AE84),
        (kvm_api.KVM_SET_CPUID2, 0x4008AE90),
    ],
)
def test_ioctl_numbers_are_the_kernels(number: int, value: int) -> None:
    assert number == value


def test_the_shared_page_has_its_output_fields_where_the_kernel_has_them() -> None:
    assert kvm_api.KvmRun.exit_reason.offset == 8
    assert kvm_api.KvmRun.io_direction.offset == 32
    assert kvm_api.KvmRun.io_data_offset.offset == 40


def test_a_listing_becomes_its_bytes() -> None:
    assert kvm_guest.machine_code("\n  b0 50  ; mov al, 'P'\n  f4 ; hlt\n\n") == b"\xb0\x50\xf4"


def test_guest_code_and_tables_do_not_overlap() -> None:
    places = sorted(
        [
            (kvm_guest.CODE, len(kvm_guest.INTERRUPT_CODE)),
            (kvm_guest.HANDLERS, 2 * kvm_guest.HANDLER_ROOM),
            (kvm_guest.GDT, 7 * 8),
            (kvm_guest.IDT, 256 * 16),
            (kvm_guest.TSS, 0x68),
            (kvm_guest.USER_CODE, len(kvm_guest.USER_MODE_CODE)),
            (kvm_guest.STACK_TOP - 0x800, 0x800),
            (kvm_guest.USER_STACK_TOP - 0x800, 0x800),
            (kvm_guest.PAGE_MAP_L4, 4096),
            (kvm_guest.PAGE_POINTERS, 4096),
            (kvm_guest.PAGE_DIRECTORY, 4096),
            (kvm_guest.LARGE_PAGE, 4),
        ]
    )
    for (start, size), (following, _) in pairwise(places):
        assert start + size <= following
    assert places[-1][0] + places[-1][1] <= kvm_guest.MEMORY_BYTES


def test_every_step_after_the_api_runs_guest_code() -> None:
    assert list(kvm_guest.GUEST_STEPS) == list(Step)[list(Step).index(Step.API) + 1 :]


def test_an_absent_device_fails_at_the_opening(tmp_path: Path) -> None:
    said: list[str] = []
    assert not kvm_guest.run_steps(str(tmp_path / "kvm"), said.append)
    assert said == ["pass start", "fail open the kernel refused: No such file or directory"]


def test_a_file_that_is_no_kvm_fails_at_the_api(tmp_path: Path) -> None:
    device = tmp_path / "kvm"
    device.write_text("")
    said: list[str] = []
    assert not kvm_guest.run_steps(str(device), said.append)
    assert said == ["pass start", "pass open", "fail api the kernel refused: Inappropriate ioctl for device"]
