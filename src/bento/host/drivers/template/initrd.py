"""The initial RAM disk: a newc cpio archive made from values, byte for byte the same every time.

Everything in it is decided here and nothing is run: the kernel modules a guest needs before it has a root, a static
busybox, and the script that puts the root together. No I/O but reading the given module directory; nothing in this
file has ever been touched by a running guest.

Source of the format: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

#: What must be in memory before the root can be mounted. `crc32c` first: erofs asks for it when it mounts, and
#: without it the mount fails with nothing but "Invalid argument" (the lab met this with the generic kernel).
BOOT_MODULES = (
    "crc32c_generic", "virtio_pci", "virtio_blk", "virtio_console", "virtio_balloon", "erofs", "overlay", "ext4",
)  # fmt: skip  # a list to be read across

BUSYBOX_APPLETS = (
    "chroot", "cmp", "cp", "insmod", "ln", "mkdir", "mount", "mv", "od", "sh", "sleep", "switch_root",
    "umount",
)  # fmt: skip  # a list to be read across

_DIRECTORIES = ("bin", "dev", "modules", "proc", "root", "rootfs", "sys", "volatile")


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in the archive. `mode` holds the file type as in `st_mode`; `device` is (major, minor)."""

    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


@dataclass(slots=True)
class Archive:
    """Names to entries; parents come into being by themselves."""

    entries: dict[str, Entry] = field(default_factory=dict)

    def directory(self, name: str) -> None:
        for path in (*reversed(PurePosixPath(name).parents), PurePosixPath(name)):
            if str(path) != ".":
                self.entries.setdefault(str(path), Entry(stat.S_IFDIR | 0o755))

    def file(self, name: str, data: bytes, permissions: int = 0o644) -> None:
        self._place(name, Entry(stat.S_IFREG | permissions, data))

    def link(self, name: str, target: str) -> None:
        self._place(name, Entry(stat.S_IFLNK | 0o777, target.encode()))

    def character_device(self, name: str, permissions: int, major: int, minor: int) -> None:
        self._place(name, Entry(stat.S_IFCHR | permissions, device=(major, minor)))

    def _place(self, name: str, entry: Entry) -> None:
        self.directory(str(PurePosixPath(name).parent))
        self.entries[name] = entry

    def encode(self) -> bytes:
        """The archive as the kernel unpacks it: sorted, owner root, times zero, inode numbers counted from one."""
        ordered = sorted(self.entries.items())
        records = [_record(name, entry, number) for number, (name, entry) in enumerate(ordered, start=1)]
        whole = b"".join((*records, _record("TRAILER!!!", Entry(0), 0)))
        return whole + bytes(-len(whole) % 512)


def _record(name: str, entry: Entry, inode: int) -> bytes:
    encoded = name.encode() + b"\0"
    major, minor = entry.device
    owner = group = time = filesystem_major = filesystem_minor = checksum = 0
    numbers = (inode, entry.mode, owner, group, 1, time, len(entry.data), filesystem_major, filesystem_minor,
               major, minor, len(encoded), checksum)  # fmt: skip  # one header, in the order it has in the file
    head = b"070701" + b"".join(b"%08x" % number for number in numbers) + encoded
    return _padded(head) + _padded(entry.data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def module_order(modules_dep: str, modules_builtin: str, wanted: tuple[str, ...]) -> list[str]:
    """The files to load for `wanted`, each after all it depends on, as paths below the module directory.

    Raises KeyError naming the module that the kernel has neither as a file nor built in.
    """
    paths: dict[str, str] = {}
    needs: dict[str, list[str]] = {}
    for line in modules_dep.splitlines():
        path, _, dependencies = line.partition(":")
        paths[_module_name(path)] = path
        needs[_module_name(path)] = [_module_name(each) for each in dependencies.split()]
    builtin = {_module_name(path) for path in modules_builtin.split()}
    order: list[str] = []

    def load(name: str) -> None:
        if name in builtin or paths[name] in order:
            return
        for dependency in needs[name]:
            load(dependency)
        order.append(paths[name])

    for name in wanted:
        load(name)
    return order


def _module_name(path: str) -> str:
    return PurePosixPath(path).name.partition(".ko")[0].replace("-", "_")


def build_initrd(modules: Path, busybox: bytes, init: bytes, private: bytes) -> bytes:
    """The initrd for the kernel whose module directory (`.../VERSION`, after depmod) is `modules`.

    `init` is a script, and so is `private`, which it reads in.
    """
    archive = Archive()
    for name in _DIRECTORIES:
        archive.directory(name)
    archive.character_device("dev/console", 0o600, 5, 1)
    archive.character_device("dev/null", 0o666, 1, 3)
    archive.file("bin/busybox", busybox, 0o755)
    for applet in BUSYBOX_APPLETS:
        archive.link(f"bin/{applet}", "busybox")
    archive.file("init", init, 0o755)
    archive.file("private", private)
    order = module_order((modules / "modules.dep").read_text(), (modules / "modules.builtin").read_text(), BOOT_MODULES)
    # The load order is the file names' order, so that the script needs no list: a glob is sorted.
    for number, path in enumerate(order):
        archive.file(f"modules/{number:02}-{PurePosixPath(path).name}", (modules / path).read_bytes())
    return archive.encode()
