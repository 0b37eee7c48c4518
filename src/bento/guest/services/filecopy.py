"""`qubes.Filecopy`: takes the files that another domain sends, into ~/QubesIncoming/SOURCE, and believes nothing.

The sender is hostile. `wire.filecopy` gives out steps with plain names only, each to be done in the directory that
the copy itself made last; those are held open here, so no path is ever walked and no link ever followed. Nothing that
exists is replaced. What the copy consists of, its outermost files and directories, is called NAME.partial until it is
complete, so that a copy that breaks off, even by power loss, says so to whoever looks.
"""

import errno
import os
import sys

from bento.guest.pipes import write_all
from bento.wire.errors import WireError
from bento.wire.filecopy import (
    BROKEN_OFF,
    BadCopy,
    Complete,
    Content,
    End,
    Enter,
    File,
    Leave,
    Link,
    Result,
    Step,
    Times,
    Unpacker,
    encode_result,
)
from bento.wire.names import DomainName

SERVICE = "qubes.Filecopy"

INCOMING = "QubesIncoming"

CHUNK = 1 << 17

PARTIAL_TRIES = 100
"""Broken copies of one name that may lie around before a new one is refused."""

NAME_MAX = 255

OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
OPEN_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


def main() -> int:
    try:
        source = DomainName.parse(os.environ.get("QREXEC_REMOTE_DOMAIN", ""))
    except WireError as error:
        print(f"{SERVICE}: no sender: {error}", file=sys.stderr)
        return 1
    result = receive(0, f"{os.environ['HOME']}/{INCOMING}/{source}")
    write_all(1, encode_result(result))
    return 0 if result.code == 0 else 1


def receive(untrusted: int, directory: str) -> Result:
    """Unpack what comes from the file `untrusted` into `directory`; it and the one around it are made."""
    unpacker = Unpacker()
    try:
        for needed in (os.path.dirname(directory), directory):
            if not os.path.isdir(needed):
                os.mkdir(needed, 0o700)
        with Receiver(directory) as receiver:
            code = unpack(untrusted, unpacker, receiver)
    except BadCopy as bad:
        print(f"{SERVICE}: {bad}", file=sys.stderr)
        code = bad.code
    except OSError as error:
        print(f"{SERVICE}: {error.strerror}", file=sys.stderr)
        code = error.errno or errno.EIO
    return Result(code, unpacker.checksum, unpacker.last_name)


def unpack(untrusted: int, unpacker: Unpacker, receiver: "Receiver") -> int:
    """The code for the sender."""
    while data := os.read(untrusted, CHUNK):
        for step in unpacker.feed(data):
            if isinstance(step, End):
                # The sender may now delete what it has; a power loss here must not be its end.
                os.sync()
                return 0
            receiver.do(step)
    return BROKEN_OFF if unpacker.in_file else errno.EREMOTEIO


class Receiver:
    """Does a copy's steps below one directory."""

    def __init__(self, directory: str) -> None:
        self._directories = [os.open(directory, OPEN_DIRECTORY)]
        self._outermost = b""
        self._partial = b""
        self._file = -1

    def __enter__(self) -> "Receiver":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file >= 0:
            os.close(self._file)
        for directory in self._directories:
            os.close(directory)

    def do(self, step: Step) -> None:
        match step:
            case Enter():
                self._enter(step.name)
            case Leave():
                self._leave(step.permissions, step.times)
            case File():
                self._begin(step)
            case Content():
                write_all(self._file, step.data)
            case Complete():
                self._complete()
            case Link():
                os.symlink(step.target, step.name, dir_fd=self._here)
            case End():
                pass

    @property
    def _here(self) -> int:
        return self._directories[-1]

    @property
    def _is_outermost(self) -> bool:
        return len(self._directories) == 1

    def _enter(self, name: bytes) -> None:
        if self._is_outermost:
            name = self._claim(name)
        os.mkdir(name, 0o700, dir_fd=self._here)
        self._directories.append(os.open(name, OPEN_DIRECTORY, dir_fd=self._here))

    def _leave(self, permissions: int, times: Times) -> None:
        finish(self._here, permissions, times)
        os.close(self._directories.pop())
        if self._is_outermost:
            # Renaming would replace an empty directory that got the name meanwhile: making it finds out.
            os.mkdir(self._outermost, 0o700, dir_fd=self._here)
            os.rename(self._partial, self._outermost, src_dir_fd=self._here, dst_dir_fd=self._here)

    def _begin(self, file: File) -> None:
        space = os.fstatvfs(self._here)
        if file.size > space.f_bavail * space.f_frsize:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        name = self._claim(file.name) if self._is_outermost else file.name
        self._file = os.open(name, OPEN_FILE, 0o600, dir_fd=self._here)
        self._wanted = file

    def _complete(self) -> None:
        finish(self._file, self._wanted.permissions, self._wanted.times)
        os.close(self._file)
        self._file = -1
        if self._is_outermost:
            os.link(
                self._partial,
                self._outermost,
                src_dir_fd=self._here,
                dst_dir_fd=self._here,
                follow_symlinks=False,
            )
            os.unlink(self._partial, dir_fd=self._here)

    def _claim(self, name: bytes) -> bytes:
        """The name under which an outermost entry is made until it is complete."""
        if exists(name, self._here):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        for attempt in range(1, PARTIAL_TRIES + 1):
            mark = b".partial" if attempt == 1 else b".partial-%d" % attempt
            partial = name[: NAME_MAX - len(mark)].decode(errors="ignore").encode() + mark
            if not exists(partial, self._here):
                self._outermost = name
                self._partial = partial
                return partial
        raise FileExistsError(errno.EEXIST, "too many broken copies of this name lie here")


def exists(name: bytes, directory: int) -> bool:
    try:
        os.lstat(name, dir_fd=directory)
    except FileNotFoundError:
        return False
    return True


def finish(file: int, permissions: int, times: Times) -> None:
    os.fchmod(file, permissions)
    os.utime(file, ns=(times.accessed, times.changed))


if __name__ == "__main__":
    sys.exit(main())
