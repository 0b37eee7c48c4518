"""A machine: what a hypervisor is asked to run for a domain, as a frozen value.

The shape is the one a later snapshot will want (q35, root ports, RAM in a
memfd, disks by position). Nothing of the guest's choosing stands in here.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from uuid import UUID

from bento.wire.names import DomainName


class Accelerator(StrEnum):
    KVM = "kvm"
    TCG = "tcg"


@dataclass(frozen=True, slots=True)
class Disk:
    """One raw disk. Position in `MachineSpec.disks` is its name in the guest: vda, vdb ..."""

    path: Path
    read_only: bool


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """Everything a hypervisor driver needs for one start.

    `run_dir` is the domain's own run-time directory (mode 0700, made by the
    caller): the driver puts its sockets there. `slot` numbers the domain's own
    host identity (sub-uid), unique among the domains of one home; 0 is never used.
    """

    uuid: UUID
    name: DomainName
    run_dir: Path
    slot: int
    memory_bytes: int
    vcpus: int
    kernel: Path
    initrd: Path
    cmdline: str
    disks: tuple[Disk, ...]


class MachineState(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class MachineUsage:
    """What a machine costs the host now: resident memory in bytes (PSS where the kernel says), CPU in nanoseconds."""

    memory_bytes: int
    cpu_ns: int
