"""Files on their way to another domain: the field's qfile format, packed by anybody, unpacked as if by an enemy.

    copy   := entry* header(all zero)
    entry  := header | name (a NUL at its end) | content (files: their bytes; links: their target)
    header := name length u32 | mode u32 | content length u64 | atime u32 | its nanoseconds u32 | mtime u32 | its ns u32
    result := code u32 | 0 u32 | crc32 u64, then, if the receiver likes, name length u32 | name of the last entry

Numbers are little-endian. A directory is an entry before its content and again after it, with the mode and times it
shall have. The checksum covers every byte of the copy. A code is 0 or an errno of Linux, or `BROKEN_OFF`. Source:
qrexec-lib/libqubes-rpc-filecopy.h, pack.c, unpack.c and unicode.c of the field's qubes-linux-utils.

Stricter here than in the field, so that the receiver needs no path at all, only names in the directory it has just
made: entries come depth first, as the field's own sender writes them, and a directory is never joined to one that was
there before. Names are UTF-8 that prints (the field has a list of code points that differs a little). As in the field
a link may not be a copy's outermost entry, and its target stays below that entry: at most as many `..` as lead to it,
and only at the beginning.
"""

import errno
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from zlib import crc32

from bento.wire.errors import WireError
from bento.wire.names import printable

HEADER = struct.Struct("<IIQIIII")
RESULT = struct.Struct("<IIQ")
RESULT_NAME = struct.Struct("<I")

END = bytes(HEADER.size)

BROKEN_OFF = 31415926
"""The receiver's code when the sender stopped in the middle of a file (the field's LEGAL_EOF)."""

MAX_NAME = 4096
"""Bytes of an entry's name with all its directories; of a link's target too."""
MAX_COMPONENT = 255
MAX_DEPTH = 128
"""Directories within each other. A receiver keeps one file open for each."""
MAX_ENTRIES = 1 << 20
MAX_BYTES = 1 << 40

MAX_RESULT = RESULT.size + RESULT_NAME.size + MAX_NAME
"""Bytes of a result that a sender need look at."""

SECOND = 1_000_000_000
TIME_LIMIT = 1 << 32


class BadCopy(WireError):
    """The sender's copy is none, or more than is allowed. `code` goes back to it."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True, slots=True)
class Times:
    """Nanoseconds since 1970, of the last access and the last change."""

    accessed: int
    changed: int


@dataclass(frozen=True, slots=True)
class Enter:
    """A directory `name`, and what follows lies in it."""

    name: bytes


@dataclass(frozen=True, slots=True)
class Leave:
    """The innermost directory is complete and shall have these permissions and times."""

    permissions: int
    times: Times


@dataclass(frozen=True, slots=True)
class File:
    """A file `name`; its `size` bytes follow as `Content`, then `Complete`."""

    name: bytes
    size: int
    permissions: int
    times: Times


@dataclass(frozen=True, slots=True)
class Content:
    data: bytes


@dataclass(frozen=True, slots=True)
class Complete:
    """All of the last `File` has come."""


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link `name` to `target`, which stays below the outermost directory of the copy."""

    name: bytes
    target: bytes


@dataclass(frozen=True, slots=True)
class End:
    """The copy is complete; nothing follows."""


Step = Enter | Leave | File | Content | Complete | Link | End


def encode_entry(name: bytes, mode: int, size: int, times: Times) -> bytes:
    """Header and name of an entry. `mode` as stat(2) gives it. Times before 1970 or after 2106 go as the nearest."""
    accessed, changed = (
        divmod(min(max(t, 0), TIME_LIMIT * SECOND - 1), SECOND) for t in (times.accessed, times.changed)
    )
    return HEADER.pack(len(name) + 1, mode, size, *accessed, *changed) + name + b"\0"


def check_name(name: bytes) -> tuple[bytes, ...]:
    """The components of an entry's name; `BadCopy` if it is not one that a receiver may take."""
    if len(name) > MAX_NAME:
        raise BadCopy(errno.ENAMETOOLONG, f"a name of {len(name)} bytes, at most {MAX_NAME} are allowed")
    _check_text(name)
    components = tuple(name.split(b"/"))
    for component in components:
        if component in (b"", b".", b".."):
            raise BadCopy(errno.EILSEQ, f"{_shown(name)} is not the name of a file: it has an empty, . or .. component")
        if len(component) > MAX_COMPONENT:
            raise BadCopy(errno.ENAMETOOLONG, f"{_shown(component)} is longer than {MAX_COMPONENT} bytes")
    if len(components) > MAX_DEPTH:
        raise BadCopy(errno.ENAMETOOLONG, f"{_shown(name)} lies more than {MAX_DEPTH} directories deep")
    return components


def check_target(target: bytes, depth: int) -> None:
    """`BadCopy` unless a link may have this target whose name has `depth` components."""
    if len(target) > MAX_NAME:
        raise BadCopy(errno.ENAMETOOLONG, f"a link to {len(target)} bytes, at most {MAX_NAME} are allowed")
    _check_text(target)
    components = target.split(b"/")
    while components and components[0] == b"..":
        del components[0]
        depth -= 1
    if depth < 2 or target.startswith(b"/") or not target or b".." in components:
        raise BadCopy(errno.ENOLINK, f"the link to {_shown(target)} leads out of what is copied")


@dataclass(frozen=True, slots=True)
class Result:
    """What the receiver says at the end: code 0 and the checksum of all that it took, or why it stopped and where."""

    code: int
    checksum: int
    last_name: bytes


def encode_result(result: Result) -> bytes:
    name = result.last_name
    return RESULT.pack(result.code, 0, result.checksum) + RESULT_NAME.pack(len(name)) + name


def decode_result(untrusted: bytes) -> Result:
    """From all that the receiver wrote, or the first `MAX_RESULT` bytes of it. The name is for showing only."""
    if len(untrusted) < RESULT.size:
        raise WireError("the receiver did not say how the copy went")
    code, _, checksum = RESULT.unpack_from(untrusted)
    return Result(code, checksum, untrusted[RESULT.size + RESULT_NAME.size :][:MAX_NAME])


class Part(Enum):
    """What the next bytes of a copy are."""

    HEADER = "header"
    NAME = "name"
    CONTENT = "content"
    TARGET = "target"
    NOTHING = "nothing"


class Unpacker:
    """Bytes in, `Step`s out. It keeps one header and one name. After `BadCopy` it must not be fed again."""

    def __init__(self) -> None:
        self.checksum = 0
        """Of all bytes up to `End`."""
        self.last_name = b""
        """Of the last entry whose name was read and allowed."""
        self._part = Part.HEADER
        self._wanted = HEADER.size
        self._collected = bytearray()
        self._inside: tuple[bytes, ...] = ()
        self._entries = 0
        self._bytes = 0

    @property
    def in_file(self) -> bool:
        """Is an entry under way, so that the end of all bytes would break it off?"""
        return self._part is not Part.HEADER or len(self._collected) > 0

    def feed(self, untrusted: bytes) -> Iterator[Step]:
        """The steps that `untrusted` completes; `BadCopy` for what must not be. Bytes after `End` are ignored."""
        rest = memoryview(untrusted)
        while rest and self._part is not Part.NOTHING:
            piece = rest[: self._wanted]
            rest = rest[len(piece) :]
            self.checksum = crc32(piece, self.checksum)
            self._wanted -= len(piece)
            if self._part is Part.CONTENT:
                yield Content(bytes(piece))
            else:
                self._collected += piece
            if not self._wanted:
                collected = bytes(self._collected)
                self._collected.clear()
                yield from self._complete(collected)

    def _complete(self, collected: bytes) -> Iterator[Step]:
        match self._part:
            case Part.HEADER if collected[:4] == bytes(4):
                yield self._end()
            case Part.HEADER:
                self._begin(*HEADER.unpack(collected))
            case Part.NAME:
                yield from self._named(collected)
            case Part.TARGET:
                check_target(collected, len(self._inside) + 1)
                yield Link(self._name, collected)
                self._expect(Part.HEADER, HEADER.size)
            case _:
                yield Complete()
                self._expect(Part.HEADER, HEADER.size)

    def _expect(self, part: Part, size: int) -> None:
        self._part = part
        self._wanted = size

    def _end(self) -> End:
        if self._inside:
            raise BadCopy(errno.EINVAL, "the copy ends inside a directory")
        self._part = Part.NOTHING
        return End()

    def _begin(
        self, name: int, mode: int, size: int, accessed: int, accessed_part: int, changed: int, changed_part: int
    ) -> None:
        """Judge a header, all of which is untrusted."""
        if name > MAX_NAME + 1:
            raise BadCopy(errno.ENAMETOOLONG, f"a name of {name} bytes, at most {MAX_NAME} are allowed")
        if accessed_part >= SECOND or changed_part >= SECOND:
            raise BadCopy(errno.EINVAL, "a time with more nanoseconds than a second has")
        kind = stat.S_IFMT(mode)
        if kind not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
            raise BadCopy(errno.EINVAL, "an entry that is no file, directory or link")
        if kind == stat.S_IFDIR and size:
            raise BadCopy(errno.EINVAL, "a directory with content of its own")
        if kind == stat.S_IFLNK and not 0 < size <= MAX_NAME:
            raise BadCopy(errno.ENAMETOOLONG, f"a link to {size} bytes, at most {MAX_NAME} are allowed")
        self._entries += 1
        self._bytes += size
        if self._entries > MAX_ENTRIES or self._bytes > MAX_BYTES:
            raise BadCopy(errno.EDQUOT, f"more than {MAX_ENTRIES} entries or {MAX_BYTES} bytes in one copy")
        self._kind = kind
        self._permissions = mode & 0o777
        self._size = size
        self._times = Times(accessed * SECOND + accessed_part, changed * SECOND + changed_part)
        self._expect(Part.NAME, name)

    def _named(self, untrusted: bytes) -> Iterator[Step]:
        components = check_name(untrusted.removesuffix(b"\0"))
        self.last_name = b"/".join(components)
        if self._kind == stat.S_IFDIR and components == self._inside:
            self._inside = components[:-1]
            yield Leave(self._permissions, self._times)
            self._expect(Part.HEADER, HEADER.size)
            return
        if components[:-1] != self._inside:
            raise BadCopy(errno.EINVAL, f"{_shown(self.last_name)} does not lie in the directory that is being copied")
        self._name = components[-1]
        if self._kind == stat.S_IFDIR:
            self._inside = components
            yield Enter(self._name)
            self._expect(Part.HEADER, HEADER.size)
        elif self._kind == stat.S_IFLNK:
            self._expect(Part.TARGET, self._size)
        else:
            yield File(self._name, self._size, self._permissions, self._times)
            self._expect(Part.CONTENT, self._size)
            if not self._size:
                yield from self._complete(b"")


def _check_text(name: bytes) -> None:
    try:
        fine = name.decode().isprintable()
    except UnicodeDecodeError:
        fine = False
    if not fine:
        raise BadCopy(errno.EILSEQ, f"{_shown(name)} has characters that do not print")


def _shown(name: bytes) -> str:
    return printable(name.decode(errors="replace"), 200)
