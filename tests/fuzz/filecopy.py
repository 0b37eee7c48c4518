"""A hostile sender of files, and a hostile receiver's answer: every step leaves the copy in its place."""

import stat
from collections.abc import Hashable

from bento.wire.errors import WireError
from bento.wire.filecopy import (
    END,
    MAX_DEPTH,
    Complete,
    Content,
    End,
    Enter,
    File,
    Leave,
    Link,
    Result,
    Times,
    Unpacker,
    decode_result,
    encode_entry,
    encode_result,
)
from tests.fuzz.engine import Target, main, pieces

NEVER = Times(0, 0)
DIRECTORY = encode_entry(b"d", stat.S_IFDIR | 0o755, 0, NEVER)
FILE = encode_entry(b"d/f", stat.S_IFREG | 0o644, 5, NEVER) + b"hello"
LINK = encode_entry(b"d/l", stat.S_IFLNK | 0o777, 1, NEVER) + b"f"
WHOLE = DIRECTORY + FILE + LINK + DIRECTORY + encode_entry(b"empty", stat.S_IFREG | 0o600, 0, NEVER) + END


def check(data: bytes) -> Hashable:
    answered(data)
    unpacker = Unpacker()
    inside: list[bytes] = []
    missing: int | None = None
    ended = False
    outcome = []
    for untrusted in pieces(data):
        for step in unpacker.feed(untrusted):
            assert not ended, "something follows the end"
            outcome.append(type(step).__name__)
            match step:
                case Content(content):
                    assert missing is not None
                    missing -= len(content)
                    assert missing >= 0, "more content than the file has"
                    continue
                case Complete():
                    assert missing == 0
                    missing = None
                    continue
            assert missing is None, "a file is not complete"
            match step:
                case Enter(name):
                    assert_component(name)
                    inside.append(name)
                    assert len(inside) <= MAX_DEPTH
                case Leave():
                    inside.pop()
                case File(name, size, permissions, _):
                    assert_component(name)
                    assert permissions <= 0o777
                    missing = size
                case Link(name, target):
                    assert_component(name)
                    assert_inside(target, len(inside))
                case End():
                    assert not inside
                    ended = True
    return tuple(outcome[:10]), unpacker.in_file


def assert_component(name: bytes) -> None:
    assert name not in (b"", b".", b"..")
    assert b"/" not in name
    assert b"\0" not in name
    assert len(name) <= 255


def assert_inside(target: bytes, depth: int) -> None:
    """Followed by name from where the link lies, it never leaves the outermost directory of the copy."""
    assert not target.startswith(b"/")
    for component in target.split(b"/"):
        depth += -1 if component == b".." else 1
        assert depth >= 1


def answered(data: bytes) -> None:
    try:
        result = decode_result(data)
    except WireError:
        return
    assert decode_result(encode_result(result)) == result


SEEDS = (WHOLE, END, encode_result(Result(0, 0xDEADBEEF, b"d/f")) + END)
TARGET = Target(check, seeds=SEEDS[:2], words=(DIRECTORY, FILE, LINK, END, b"..", b"/", b"../", b"d/", SEEDS[2]))

if __name__ == "__main__":
    main("tests.fuzz.filecopy", TARGET)
