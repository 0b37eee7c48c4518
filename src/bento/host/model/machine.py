"""A machine: what a hypervisor is asked to run for a domain, as a frozen value.

The shape is the one a later snapshot will want (q35, root ports, disks by
position). Nothing of the guest's choosing stands in here.
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
    gives_back: bool = False
    """It has a balloon: what its guest frees goes back to the host, and the guest can be asked for more.

    Not for what others go on from, nor for those: their memory lies in a file that is theirs together.
    """


class MachineState(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class MachineUsage:
    """What a machine costs the host now, as the kernel counts it: bytes of memory, and nanoseconds of processor."""

    resident_bytes: int
    """All that is mapped and there (RSS): what two machines share is in both."""
    cpu_ns: int
    proportional_bytes: int | None = None
    """The same with its part only of what it shares (PSS); None where the kernel does not tell us."""
    shared_bytes: int | None = None
    """What of it another process maps, too."""

    @property
    def memory_bytes(self) -> int:
        """The one figure for a person: what the host would have more without it, or somewhat more than that."""
        return self.resident_bytes if self.proportional_bytes is None else self.proportional_bytes


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """Of all its volumes: bytes that the guest wrote in this run; and of the host's memory, those that lie there."""

    written_bytes: int
    scratch_bytes: int


@dataclass(frozen=True, slots=True)
class GuestMemory:
    """What a guest has of the memory that it was given, in bytes; and, as it says itself, how much of it lies idle.

    A guest may say what it likes: nothing but its own share may follow from it.
    """

    actual: int
    untrusted_available: int | None
