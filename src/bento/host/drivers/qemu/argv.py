"""What QEMU is told, as a pure function of a `MachineSpec` and the numbers of open files. No I/O.

QEMU gets no path of the host: every file and socket arrives as an open fd. It has no network, no display, no sound, no
USB, no disk controller but virtio, and may not start programs. Guest-chosen words never come near this line.

The shape (q35, root ports with room, RAM that may lie in a file) is what saved machines need; see
docs/system/i386/microvm.rst and docs/pcie.txt of QEMU for why it is not a smaller machine.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import assert_never
from uuid import UUID

from bento.host.drivers.boxed import Mark
from bento.host.model.machine import Accelerator, Disk, MachineSpec
from bento.wire.names import DomainName

CHANNEL_PORT = "org.bento.channel"
"""Name of the virtio-serial port in the guest."""

ROOT_PORTS = 4
"""Slots for what is plugged into a running machine. Each reserves a window that the shared memory of a device fits, and
costs each start of QEMU two milliseconds."""

SCRATCH = "scratch"
"""What the block nodes are named by that lie in memory; the others are named `disk`."""

BALLOON = "balloon"
"""The id of the device that memory is given back through."""

STATS_SECONDS = 10
"""How often a guest says what it does with its memory: seldom enough to let it sleep."""

MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Fds:
    """Numbers of the open files that QEMU inherits. `disks` are in the order of `MachineSpec.disks`."""

    ram: int | None
    kernel: int
    initrd: int
    disks: tuple[int, ...]
    channel: int
    console: int
    qmp: int
    state: int | None = None
    """What to go on from, in place of a boot; `ram`, if there is one, is then mapped privately."""

    def all(self) -> tuple[int, ...]:
        may_be = (fd for fd in (self.ram, self.state) if fd is not None)
        return (*may_be, self.kernel, self.initrd, *self.disks, self.channel, self.console, self.qmp)


@cache
def shape(accelerator: Accelerator) -> str:
    """The machine as it is told to be, but for what differs between two domains: what a saved one must find again."""
    disks = tuple(
        Disk(Path(name), read_only) for name, read_only in (("a", True), ("b", False), ("c", False), ("d", True))
    )
    nowhere = Path("/")
    spec = MachineSpec(
        UUID(int=0), DomainName("any"), nowhere, 1, MEBIBYTE, 1, nowhere, nowhere, "", disks, gives_back=True
    )
    fds = Fds(0, 0, 0, (0,) * len(disks), 0, 0, 0, state=0)
    return " ".join(qemu_argv("qemu", spec, fds, home="", accelerator=accelerator, tsc_khz=None))


def ram_bytes(spec: MachineSpec) -> int:
    """The size of the RAM file: whole MiB, rounded down."""
    return spec.memory_bytes // MEBIBYTE * MEBIBYTE


def qemu_argv(
    program: str, spec: MachineSpec, fds: Fds, *, home: str, accelerator: Accelerator, tsc_khz: int | None
) -> list[str]:
    """`tsc_khz` is the host's time stamp counter, which an emulated machine shows its guest; None if not known."""
    return [
        program,
        *("-name", f"guest={spec.name}/{Mark(home, spec.uuid)}", "-uuid", str(spec.uuid)),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        # spawn=deny kills a QEMU that tries to start a program; a guest that broke in has only QEMU's own threads.
        *("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"),
        *_board(spec, fds, accelerator),
        *(_kernel(spec, fds, accelerator, tsc_khz) if fds.state is None else ("-incoming", "defer", "-S")),
        *_sockets(fds),
        *_disks(spec, fds),
        *("-device", "virtio-rng-pci"),
        *_root_ports(),
        *(_balloon() if spec.gives_back else ()),
    ]


def _board(spec: MachineSpec, fds: Fds, accelerator: Accelerator) -> list[str]:
    size = f"{ram_bytes(spec) // MEBIBYTE}M"
    return [
        # Never in a core dump: guest memory. No controllers that no guest of ours uses.
        *("-machine", "q35,memory-backend=ram,dump-guest-core=off,sata=off,smbus=off,usb=off,vmport=off"),
        *("-object", f"{_memory(fds)},id=ram,size={size}"),
        *("-m", size, "-smp", str(spec.vcpus)),
        *_engine(accelerator),
    ]


def _memory(fds: Fds) -> str:
    if fds.ram is None:
        # Who is suspended, or goes on from that, has all its pages read: in a file that would fill the holes.
        return "memory-backend-ram"
    shared = "on" if fds.state is None else "off"
    return f"memory-backend-file,share={shared},mem-path=/proc/self/fd/{fds.ram}"


def _engine(accelerator: Accelerator) -> tuple[str, ...]:
    match accelerator:
        case Accelerator.KVM:
            return ("-accel", "kvm", "-cpu", "host")
        case Accelerator.TCG:
            # 64 MiB of translated code cost a guest no time, and 20 MiB less memory than the default.
            return ("-accel", "tcg,thread=multi,tb-size=64", "-cpu", "max")
        case _ as unreachable:
            assert_never(unreachable)


def _kernel(spec: MachineSpec, fds: Fds, accelerator: Accelerator, tsc_khz: int | None) -> list[str]:
    return [
        *("-kernel", f"/proc/self/fd/{fds.kernel}", "-initrd", f"/proc/self/fd/{fds.initrd}"),
        *("-append", _command_line(spec, accelerator, tsc_khz)),
    ]


def _command_line(spec: MachineSpec, accelerator: Accelerator, tsc_khz: int | None) -> str:
    if accelerator is Accelerator.KVM or tsc_khz is None:
        return spec.cmdline
    # Under emulation on a busy host, Linux cannot measure the counter against a timer: it hangs or gets it wrong.
    # What guards a real processor against speculation only costs time on an emulated one.
    return f"{spec.cmdline} tsc=reliable tsc_early_khz={tsc_khz} no_timer_check mitigations=off"


def _sockets(fds: Fds) -> list[str]:
    """Listening sockets that QEMU accepts one connection at a time on, again after each has closed."""
    argv = []
    for name, fd in (("qmp", fds.qmp), ("console", fds.console), ("channel", fds.channel)):
        argv += ["-chardev", f"socket,id={name},fd={fd},server=on,wait=off"]
    return [
        *argv,
        *("-mon", "chardev=qmp,mode=control"),
        *("-serial", "chardev:console"),
        *("-device", "virtio-serial-pci,max_ports=2"),  # port 0 is the console that nothing uses
        *("-device", f"virtserialport,chardev=channel,name={CHANNEL_PORT}"),
    ]


def _disks(spec: MachineSpec, fds: Fds) -> list[str]:
    argv = []
    for number, (disk, fd) in enumerate(zip(spec.disks, fds.disks, strict=True)):
        # Blocks that the guest discards or zeroes go back to the host: a volume is as large as what is in it.
        # What is read-only many have open, and one that a guest has taken over could hold it locked against all others:
        # to read is enough for the locks by which QEMUs keep out of each other's way (QEMU's block/file-posix.c).
        access = (
            "read-only=on,file.locking=off" if disk.read_only else "read-only=off,discard=unmap,detect-zeroes=unmap"
        )
        file = f"file.driver=file,file.aio=threads,file.filename=/dev/fdset/{number}"
        node = f"{SCRATCH if disk.scratch else 'disk'}{number}"
        argv += ["-add-fd", f"fd={fd},set={number}"]
        argv += ["-blockdev", f"driver=raw,node-name={node},{access},{file}"]
        argv += ["-device", f"virtio-blk-pci,drive={node}"]
    return argv


def _balloon() -> list[str]:
    """Last, so that all else has the same place on the bus with it and without."""
    # A guest that runs short takes back what it was asked for, before it ends a program of its own.
    device = f"virtio-balloon-pci,id={BALLOON},free-page-reporting=on,deflate-on-oom=on"
    return ["-device", f"{device},guest-stats-polling-interval={STATS_SECONDS}"]


def _root_ports() -> list[str]:
    argv = []
    for number in range(1, ROOT_PORTS + 1):
        argv += ["-device", f"pcie-root-port,id=port{number},chassis={number},slot={number},pref64-reserve=64M"]
    return argv
