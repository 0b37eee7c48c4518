"""The part of Linux's KVM interface that the probe uses: one virtual machine with one processor, and no more.

Numbers and structures are those of Linux's `include/uapi/linux/kvm.h` (and, for
x86, `arch/x86/include/uapi/asm/kvm.h`), under their names there. Only the
probe's child process imports this: any call here may hang in a broken kernel.
"""

import ctypes
import fcntl
import mmap
import os
from enum import IntEnum


class KvmSegment(ctypes.Structure):
    """struct kvm_segment: a segment register with its hidden part."""

    _fields_ = (
        ("base", ctypes.c_uint64),
        ("limit", ctypes.c_uint32),
        ("selector", ctypes.c_uint16),
        ("type", ctypes.c_uint8),
        ("present", ctypes.c_uint8),
        ("dpl", ctypes.c_uint8),
        ("db", ctypes.c_uint8),
        ("s", ctypes.c_uint8),
        ("l", ctypes.c_uint8),
        ("g", ctypes.c_uint8),
        ("avl", ctypes.c_uint8),
        ("unusable", ctypes.c_uint8),
        ("padding", ctypes.c_uint8),
    )


class KvmDtable(ctypes.Structure):
    """struct kvm_dtable: GDTR or IDTR."""

    _fields_ = (("base", ctypes.c_uint64), ("limit", ctypes.c_uint16), ("padding", ctypes.c_uint16 * 3))


class KvmSregs(ctypes.Structure):
    """struct kvm_sregs."""

    _fields_ = (
        *((name, KvmSegment) for name in ("cs", "ds", "es", "fs", "gs", "ss", "tr", "ldt")),
        ("gdt", KvmDtable),
        ("idt", KvmDtable),
        *((name, ctypes.c_uint64) for name in ("cr0", "cr2", "cr3", "cr4", "cr8", "efer", "apic_base")),
        ("interrupt_bitmap", ctypes.c_uint64 * 4),
    )


class KvmRegs(ctypes.Structure):
    """struct kvm_regs."""

    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in (
            *("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp"),
            *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"),
            *("rip", "rflags"),
        )
    )


class KvmUserspaceMemoryRegion(ctypes.Structure):
    """struct kvm_userspace_memory_region."""

    _fields_ = (
        ("slot", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("guest_phys_addr", ctypes.c_uint64),
        ("memory_size", ctypes.c_uint64),
        ("userspace_addr", ctypes.c_uint64),
    )


MAX_CPUID_ENTRIES = 256


class KvmCpuid2(ctypes.Structure):
    """struct kvm_cpuid2 with room for its entries, of 40 bytes each; the probe passes them on unread."""

    _fields_ = (
        ("nent", ctypes.c_uint32),
        ("padding", ctypes.c_uint32),
        ("entries", ctypes.c_uint8 * 40 * MAX_CPUID_ENTRIES),
    )


class KvmPitConfig(ctypes.Structure):
    """struct kvm_pit_config."""

    _fields_ = (("flags", ctypes.c_uint32), ("pad", ctypes.c_uint32 * 15))


class KvmRun(ctypes.Structure):
    """struct kvm_run up to the `io` member of its union: what the processor shares with us."""

    _fields_ = (
        ("request", ctypes.c_uint8 * 8),
        ("exit_reason", ctypes.c_uint32),
        ("flags", ctypes.c_uint8 * 4),
        ("cr8", ctypes.c_uint64),
        ("apic_base", ctypes.c_uint64),
        ("io_direction", ctypes.c_uint8),
        ("io_size", ctypes.c_uint8),
        ("io_port", ctypes.c_uint16),
        ("io_count", ctypes.c_uint32),
        ("io_data_offset", ctypes.c_uint64),
    )


def _ioctl(direction: int, number: int, size: int) -> int:
    """The encoding of `include/uapi/asm-generic/ioctl.h`, with KVMIO (0xAE) as the type."""
    return direction << 30 | size << 16 | 0xAE << 8 | number


_NONE, _WRITE, _READ = 0, 1, 2
_CPUID2_HEADER = 8

KVM_GET_API_VERSION = _ioctl(_NONE, 0x00, 0)
KVM_CREATE_VM = _ioctl(_NONE, 0x01, 0)
KVM_GET_VCPU_MMAP_SIZE = _ioctl(_NONE, 0x04, 0)
KVM_GET_SUPPORTED_CPUID = _ioctl(_READ | _WRITE, 0x05, _CPUID2_HEADER)
KVM_CREATE_VCPU = _ioctl(_NONE, 0x41, 0)
KVM_SET_USER_MEMORY_REGION = _ioctl(_WRITE, 0x46, ctypes.sizeof(KvmUserspaceMemoryRegion))
KVM_SET_TSS_ADDR = _ioctl(_NONE, 0x47, 0)
KVM_CREATE_IRQCHIP = _ioctl(_NONE, 0x60, 0)
KVM_CREATE_PIT2 = _ioctl(_WRITE, 0x77, ctypes.sizeof(KvmPitConfig))
KVM_RUN = _ioctl(_NONE, 0x80, 0)
KVM_SET_REGS = _ioctl(_WRITE, 0x82, ctypes.sizeof(KvmRegs))
KVM_GET_SREGS = _ioctl(_READ, 0x83, ctypes.sizeof(KvmSregs))
KVM_SET_SREGS = _ioctl(_WRITE, 0x84, ctypes.sizeof(KvmSregs))
KVM_SET_CPUID2 = _ioctl(_WRITE, 0x90, _CPUID2_HEADER)

KVM_API_VERSION = 12
KVM_EXIT_IO_OUT = 1


class Exit(IntEnum):
    """Why KVM_RUN came back (KVM_EXIT_*); those that a broken KVM is likely to give."""

    UNKNOWN = 0
    EXCEPTION = 1
    IO = 2
    HLT = 5
    MMIO = 6
    SHUTDOWN = 8
    FAIL_ENTRY = 9
    INTR = 10
    INTERNAL_ERROR = 17


class VirtualMachine:
    """A machine of one processor and `memory_bytes` of memory at guest address 0. Lives as long as the process."""

    # Three pages that no guest memory occupies: Intel processors without "unrestricted guest" run real mode with them
    # (Documentation/virt/kvm/api.rst, KVM_SET_TSS_ADDR). Below 2 GiB, as Python's ioctl takes a signed int.
    _TSS_ADDRESS = 0x7FFB_D000

    def __init__(self, kvm: int, memory_bytes: int, *, interrupt_controller: bool) -> None:
        self._vm = fcntl.ioctl(kvm, KVM_CREATE_VM, 0)
        fcntl.ioctl(self._vm, KVM_SET_TSS_ADDR, self._TSS_ADDRESS)
        if interrupt_controller:
            fcntl.ioctl(self._vm, KVM_CREATE_IRQCHIP, 0)
            fcntl.ioctl(self._vm, KVM_CREATE_PIT2, KvmPitConfig(), True)
        self.memory = mmap.mmap(-1, memory_bytes)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        region = KvmUserspaceMemoryRegion(slot=0, guest_phys_addr=0, memory_size=memory_bytes, userspace_addr=address)
        fcntl.ioctl(self._vm, KVM_SET_USER_MEMORY_REGION, region, True)
        self._cpu = fcntl.ioctl(self._vm, KVM_CREATE_VCPU, 0)
        # A processor knows no feature, not even long mode, until it is given those that the host supports.
        cpuid = KvmCpuid2(nent=MAX_CPUID_ENTRIES)
        fcntl.ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid, True)
        fcntl.ioctl(self._cpu, KVM_SET_CPUID2, cpuid, True)
        self._shared = mmap.mmap(self._cpu, fcntl.ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0))

    def system_registers(self) -> KvmSregs:
        registers = KvmSregs()
        fcntl.ioctl(self._cpu, KVM_GET_SREGS, registers, True)
        return registers

    def set_system_registers(self, registers: KvmSregs) -> None:
        fcntl.ioctl(self._cpu, KVM_SET_SREGS, registers, True)

    def set_registers(self, registers: KvmRegs) -> None:
        fcntl.ioctl(self._cpu, KVM_SET_REGS, registers, True)

    def run_to_output(self, port: int) -> tuple[int, int | None]:
        """Run until the processor leaves the guest: the exit reason, and the byte if it left by `out port, al`."""
        fcntl.ioctl(self._cpu, KVM_RUN, 0)
        run = KvmRun.from_buffer_copy(self._shared)
        is_output = run.exit_reason == Exit.IO and (run.io_direction, run.io_size, run.io_port) == (
            KVM_EXIT_IO_OUT,
            1,
            port,
        )
        return run.exit_reason, self._shared[run.io_data_offset] if is_output else None


def open_kvm(device: str) -> int:
    return os.open(device, os.O_RDWR | os.O_CLOEXEC)


def api_version(kvm: int) -> int:
    return fcntl.ioctl(kvm, KVM_GET_API_VERSION, 0)
