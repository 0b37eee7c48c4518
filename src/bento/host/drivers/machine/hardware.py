"""Findings about the machine itself: IOMMU, TPM, memory. Each is read from the kernel, then judged purely."""

import os
from dataclasses import dataclass
from pathlib import Path

from bento.host.drivers.machine.findings import Finding, Status, size

SYS = Path("/sys")
MEMINFO = Path("/proc/meminfo")
FEW_DOMAINS = 4


@dataclass(frozen=True, slots=True)
class Iommu:
    """How many groups the kernel made, and whether the firmware describes an IOMMU (Intel: DMAR, AMD: IVRS)."""

    groups: int
    tables: tuple[str, ...]


def read_iommu(sys: Path = SYS) -> Iommu:
    tables = tuple(name for name in ("DMAR", "IVRS") if (sys / "firmware/acpi/tables" / name).exists())
    return Iommu(_count(sys / "kernel/iommu_groups"), tables)


def interpret_iommu(iommu: Iommu) -> Finding:
    value = {"groups": iommu.groups, "tables": iommu.tables}
    if iommu.groups:
        sentence = f"The IOMMU is on ({iommu.groups} groups): a device can be kept to the memory of one domain."
        return Finding("iommu", Status.OK, value, sentence)
    without = "without it a domain that drives a device is not isolated, as the device can reach all memory."
    if iommu.tables:
        sentence = (
            f"The firmware describes an IOMMU ({', '.join(iommu.tables)}) that the kernel does not use; {without}"
        )
        remedy = "boot the kernel with intel_iommu=on (Intel), or remove amd_iommu=off (AMD)"
        return Finding("iommu", Status.WARN, value, sentence, remedy)
    remedy = "turn on VT-d or AMD-Vi in the firmware, if the machine has it"
    return Finding("iommu", Status.MISSING, value, f"There is no IOMMU; {without}", remedy)


@dataclass(frozen=True, slots=True)
class Tpm:
    """`version` is the major version as the kernel prints it, "" if it prints none."""

    present: bool
    version: str
    may_open: bool


def read_tpm(sys: Path = SYS, device: Path = Path("/dev/tpmrm0")) -> Tpm:
    chip = sys / "class/tpm/tpm0"
    return Tpm(
        present=chip.exists(),
        version=_text(chip / "tpm_version_major"),
        may_open=os.access(device, os.R_OK | os.W_OK),
    )


def interpret_tpm(tpm: Tpm) -> Finding:
    value = {"present": tpm.present, "version": tpm.version or None, "may_open": tpm.may_open}
    if not tpm.present:
        sentence = "There is no TPM: no secret can be bound to this machine and to what it booted."
        return Finding(
            "tpm", Status.MISSING, value, sentence, "turn on the TPM in the firmware, if the machine has one"
        )
    if tpm.version != "2":
        sentence = f"The TPM is of version {tpm.version or 'unknown'}: only version 2 can be used."
        return Finding("tpm", Status.WARN, value, sentence)
    if not tpm.may_open:
        sentence = "There is a TPM 2, but this account may not open /dev/tpmrm0: nothing can be sealed to this machine."
        remedy = "sudo usermod --append --groups tss $USER   (then log out and in again)"
        return Finding("tpm", Status.WARN, value, sentence, remedy)
    return Finding(
        "tpm", Status.OK, value, "There is a TPM 2: secrets can be bound to this machine and what it booted."
    )


@dataclass(frozen=True, slots=True)
class Memory:
    """In bytes, as /proc/meminfo has them (proc(5))."""

    total: int
    available: int
    swap: int


def read_memory(meminfo: Path = MEMINFO) -> Memory:
    return parse_meminfo(_text(meminfo))


def parse_meminfo(text: str) -> Memory:
    """What isn't there, or isn't a number of kB, counts as 0."""
    kilobytes = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        match rest.split():
            case [number, "kB"] if number.isascii() and number.isdigit():
                kilobytes[name] = int(number)
    total, available, swap = (kilobytes.get(name, 0) << 10 for name in ("MemTotal", "MemAvailable", "SwapTotal"))
    return Memory(total, available, swap)


def interpret_memory(memory: Memory, domain_bytes: int) -> Finding:
    """`domain_bytes` is the memory of the domain that the answer counts in."""
    domains = memory.available // domain_bytes
    value = {
        "total_bytes": memory.total,
        "available_bytes": memory.available,
        "swap_bytes": memory.swap,
        "domain_bytes": domain_bytes,
        "domains": domains,
    }
    sentence = (
        f"{size(memory.available)} of {size(memory.total)} memory is available: "
        f"about {domains} domains of {size(domain_bytes)}; "
        + (f"swap of {size(memory.swap)}, where their memory may come to rest." if memory.swap else "no swap.")
    )
    return Finding("memory", Status.OK if domains >= FEW_DOMAINS else Status.WARN, value, sentence)


def _count(directory: Path) -> int:
    try:
        return len(os.listdir(directory))
    except OSError:
        return 0


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
