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
    scratch: bool = False
    """The machine gets a copy in memory, which is gone with it; `path` stays as it is."""


@dataclass(frozen=True, slots=True)
class Image:
    """A machine at rest, as `Machine.save` left it: the files of one directory.

    `memory` is as large as the machine's RAM, with holes where the guest never wrote; `state` is all else. Both are
    for the driver that wrote them, in the same version, and for a machine of the same shape.
    """

    memory: Path
    state: Path


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
    memory_file: Path | None = None
    """Where its RAM is to lie, so that it can be saved; None: nowhere that has a name."""
    image: Image | None = None
    """Where to go on from, with memory of its own, in place of a boot."""


class MachineState(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class MachineUsage:
    """What a machine costs the host now: resident memory in bytes (PSS where the kernel says), CPU in nanoseconds."""

    memory_bytes: int
    cpu_ns: int
