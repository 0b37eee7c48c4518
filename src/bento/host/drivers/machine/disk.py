"""The finding about the disk where Bento keeps its data: space, filesystem, and reflinks, which are tried."""

import errno
import fcntl
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bento.host.drivers.files import FICLONE
from bento.host.drivers.machine.findings import Finding, Status, size

LOW_BYTES = 10 << 30
"""A template takes about 1 GiB while it is built, and domains want room to grow."""

FORGETFUL = frozenset({"tmpfs", "ramfs", "devtmpfs"})
REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "afs", "fuse.sshfs", "virtiofs"})


@dataclass(frozen=True, slots=True)
class Disk:
    """`reflink` is None where no file could be made to try it. Sizes in bytes, as this account may use them."""

    path: Path
    filesystem: str
    total: int
    free: int
    reflink: bool | None


def read_disk(data_dir: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> Disk | None:
    """The disk under `data_dir`, or under its nearest ancestor that exists. None if even that cannot be read."""
    place = nearest_directory(data_dir)
    try:
        space = os.statvfs(place)
        filesystem = filesystem_of(place.resolve(), mountinfo.read_text(errors="surrogateescape"))
    except OSError:
        return None
    return Disk(
        path=place,
        filesystem=filesystem,
        total=space.f_blocks * space.f_frsize,
        free=space.f_bavail * space.f_frsize,
        reflink=try_reflink(place),
    )


def nearest_directory(path: Path) -> Path:
    return next((ancestor for ancestor in (path, *path.parents) if ancestor.is_dir()), Path("/"))


def filesystem_of(path: Path, mountinfo: str) -> str:
    """The type of the filesystem under `path` (absolute, no links), from the text of /proc/PID/mountinfo (proc(5))."""
    found, depth = "unknown", -1
    for line in mountinfo.splitlines():
        fields, dash, kind = line.partition(" - ")
        columns = fields.split(" ")
        if not dash or len(columns) < 5:
            continue
        mount_point = Path(_unescape(columns[4]))
        # Of mounts on the same point the last one listed covers the others.
        if path.is_relative_to(mount_point) and len(mount_point.parts) >= depth:
            found, depth = kind.split(" ")[0], len(mount_point.parts)
    return found


def try_reflink(directory: Path) -> bool | None:
    """Whether a file in `directory` can share its blocks with another. What is tried there leaves no name behind."""
    try:
        with tempfile.TemporaryFile(dir=directory) as source, tempfile.TemporaryFile(dir=directory) as target:
            source.write(bytes(1 << 16))
            source.flush()
            try:
                fcntl.ioctl(target.fileno(), FICLONE, source.fileno())
            except OSError as error:
                return None if error.errno == errno.ENOSPC else False
            return True
    except OSError:
        return None


def interpret_disk(disk: Disk | None) -> Finding:
    if disk is None:
        return Finding("disk", Status.WARN, {}, "The folder where Bento keeps its data cannot be looked at.")
    value = {
        "path": str(disk.path),
        "filesystem": disk.filesystem,
        "total_bytes": disk.total,
        "free_bytes": disk.free,
        "reflink": disk.reflink,
    }
    clones = {
        True: "it has reflinks, so a cloned domain takes no space of its own at first",
        False: "it has no reflinks, so cloning a domain copies what its volumes hold",
        None: "whether it has reflinks could not be tried",
    }[disk.reflink]
    sentence = f"{size(disk.free)} of {size(disk.total)} are free for Bento's data on {disk.filesystem}; {clones}."
    if disk.filesystem in FORGETFUL:
        remedy = "set BENTO_HOME to a folder on a disk"
        return Finding("disk", Status.WARN, value, f"{sentence[:-1]}; all of it is lost at a reboot.", remedy)
    if disk.filesystem in REMOTE:
        remedy = "set BENTO_HOME to a folder on a local disk"
        return Finding("disk", Status.WARN, value, f"{sentence[:-1]}; the database needs a local disk.", remedy)
    if disk.free < LOW_BYTES:
        return Finding("disk", Status.WARN, value, sentence, f"make room: {size(LOW_BYTES)} leave space for a template")
    return Finding("disk", Status.OK, value, sentence)


def _unescape(field: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(code, character)
    return field
