"""`qubes.OpenInVM`: opens another domain's file here, and gives back what it has become if somebody changed it.

The sender is hostile, and so is the file: whoever opens it here had better have nothing to lose, which is why it is
mostly a disposable. The file gets a safe name in a new directory, both gone at the end. `qubes-open` opens it, the
domain's own in /usr/local/bin before the one of the template.
"""

import os
import shutil
import signal
import stat
import sys
import tempfile

from bento.guest.pipes import read_exactly, write_all
from bento.wire.errors import WireError
from bento.wire.names import DomainName
from bento.wire.opening import NAME_SIZE, decode_name

SERVICE = "qubes.OpenInVM"

OPENER = "qubes-open"

CHUNK = 1 << 17


def main() -> int:
    # The caller hung up: clean up before going.
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(128 + signal.SIGHUP))
    try:
        source = DomainName.parse(os.environ.get("QREXEC_REMOTE_DOMAIN", ""))
        name, view_only = decode_name(read_exactly(NAME_SIZE))
        directory = tempfile.mkdtemp(prefix=f"{source}-")
        try:
            return edit(f"{directory}/{name}", view_only=view_only)
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    except (WireError, OSError) as error:
        print(f"{SERVICE}: {error}", file=sys.stderr)
        return 1


def edit(path: str, *, view_only: bool) -> int:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        copy(0, file)
        if view_only:
            os.fchmod(file, 0o400)  # programs show that it cannot be changed
        before = os.fstat(file)
    finally:
        os.close(file)
    code = opened(path)
    # Whatever lies there now; programs that save put a new file in the place of the old.
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        after = os.fstat(file)
        changed = (before.st_ino, before.st_mtime_ns, before.st_size) != (
            after.st_ino,
            after.st_mtime_ns,
            after.st_size,
        )
        if view_only or not changed or not stat.S_ISREG(after.st_mode):
            return code
        # Whoever changed it wants it back, however the program that did it has ended.
        copy(file, 1)
        return 0
    finally:
        os.close(file)


def opened(subject: str) -> int:
    """The exit code of the program that opens `subject`, which may neither read nor write the caller's streams."""
    streams = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, 2, 1)]
    default = [signal.SIGPIPE, signal.SIGHUP]
    pid = os.posix_spawnp(OPENER, [OPENER, subject], os.environ, file_actions=streams, setsigdef=default)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def copy(source: int, target: int) -> None:
    while data := os.read(source, CHUNK):
        write_all(target, data)


if __name__ == "__main__":
    sys.exit(main())
