"""What lands, and what does not, when another domain sends files."""

import errno
import os
import stat
from pathlib import Path
from zlib import crc32

import pytest

from bento.guest.services.filecopy import main, receive
from bento.wire.filecopy import BROKEN_OFF, END, Result, Times, decode_result, encode_entry

NOW = Times(1_700_000_000_000_000_000, 1_600_000_000_123_456_789)


def file(name: bytes, content: bytes = b"", mode: int = 0o644) -> bytes:
    return encode_entry(name, stat.S_IFREG | mode, len(content), NOW) + content


def directory(name: bytes, *content: bytes, mode: int = 0o755) -> bytes:
    entry = encode_entry(name, stat.S_IFDIR | mode, 0, NOW)
    return entry + b"".join(content) + entry


def link(name: bytes, target: bytes) -> bytes:
    return encode_entry(name, stat.S_IFLNK | 0o777, len(target), NOW) + target


class Box:
    """A home that files are sent to."""

    def __init__(self, path: Path) -> None:
        self.home = path
        self.incoming = path / "QubesIncoming" / "random"

    def receive(self, copy: bytes) -> Result:
        (self.home / "copy").write_bytes(copy)
        with (self.home / "copy").open("rb") as sent:
            return receive(sent.fileno(), str(self.incoming))

    def code(self, copy: bytes) -> int:
        return self.receive(copy).code

    def landed(self) -> list[str]:
        return sorted(str(path.relative_to(self.incoming)) for path in self.incoming.rglob("*"))


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def test_what_is_sent_lands_as_it_was(box: Box) -> None:
    copy = directory(b"d", file(b"d/a", b"12345", 0o600), link(b"d/l", b"a"), directory(b"d/e", mode=0o500)) + file(
        b"x"
    )
    assert box.receive(copy + END) == Result(0, crc32(copy + END), b"x")
    assert box.landed() == ["d", "d/a", "d/e", "d/l", "x"]
    landed = box.incoming / "d" / "a"
    assert landed.read_bytes() == b"12345"
    assert stat.S_IMODE(landed.stat().st_mode) == 0o600
    assert landed.stat().st_mtime_ns == NOW.changed
    assert (box.incoming / "d").stat().st_mtime_ns == NOW.changed
    assert stat.S_IMODE((box.incoming / "d" / "e").stat().st_mode) == 0o500
    assert os.readlink(box.incoming / "d" / "l") == "a"


def test_nobody_else_may_look_at_what_lands(box: Box) -> None:
    box.receive(END)
    assert stat.S_IMODE(box.incoming.stat().st_mode) == 0o700
    assert stat.S_IMODE(box.incoming.parent.stat().st_mode) == 0o700


def test_setuid_does_not_land(box: Box) -> None:
    box.receive(file(b"x", mode=0o6755) + END)
    assert stat.S_IMODE((box.incoming / "x").stat().st_mode) == 0o755


def test_a_file_is_not_overwritten(box: Box) -> None:
    assert box.code(file(b"x", b"first") + END) == 0
    assert box.receive(file(b"x", b"second") + END).code == errno.EEXIST
    assert (box.incoming / "x").read_bytes() == b"first"


def test_what_landed_before_a_failure_stays(box: Box) -> None:
    assert box.code(file(b"y") + file(b"x", b"1") + file(b"x", b"2") + END) == errno.EEXIST
    assert box.landed() == ["x", "y"]
    assert (box.incoming / "x").read_bytes() == b"1"


def test_a_directory_is_not_joined_to_one_that_is_there(box: Box) -> None:
    assert box.code(directory(b"d", file(b"d/a")) + END) == 0
    assert box.code(directory(b"d", file(b"d/b")) + END) == errno.EEXIST
    assert box.landed() == ["d", "d/a"]


def test_one_name_comes_once_within_a_directory(box: Box) -> None:
    assert box.code(directory(b"d", file(b"d/a", b"1"), file(b"d/a", b"2")) + END) == errno.EEXIST
    assert (box.incoming / "d.partial" / "a").read_bytes() == b"1"


@pytest.mark.parametrize("there", ["file", "/etc/passwd", "nowhere"])
def test_a_link_that_lies_there_is_neither_followed_nor_replaced(box: Box, there: str) -> None:
    box.receive(file(b"file", b"kept") + END)
    (box.incoming / "x").symlink_to(there)
    assert box.code(file(b"x", b"new") + END) == errno.EEXIST
    assert box.code(directory(b"x") + END) == errno.EEXIST
    assert os.readlink(box.incoming / "x") == there
    assert (box.incoming / "file").read_bytes() == b"kept"


def test_a_link_that_the_copy_brings_is_not_followed(box: Box) -> None:
    outside = box.home / "outside"
    outside.mkdir()
    copy = encode_entry(b"d", stat.S_IFDIR, 0, NOW) + link(b"d/l", b"e") + directory(b"d/l", file(b"d/l/x"))
    assert box.code(copy) == errno.EEXIST
    assert box.landed() == ["d.partial", "d.partial/l"]


@pytest.mark.parametrize(
    ("copy", "code"),
    [
        (file(b"../x"), errno.EILSEQ),
        (file(b"/tmp/x"), errno.EILSEQ),
        (directory(b"d") + file(b"d/../../x"), errno.EILSEQ),
        (file(b"a\x1b[31m"), errno.EILSEQ),
        (file(b"x" * 300), errno.ENAMETOOLONG),
        (encode_entry(b"x", stat.S_IFBLK | 0o600, 0, NOW), errno.EINVAL),
        (encode_entry(b"x", stat.S_IFREG, 1 << 63, NOW), errno.EDQUOT),
        (link(b"l", b"/etc/passwd"), errno.ENOLINK),
        (b"\xff" * 1000, errno.ENAMETOOLONG),
    ],
)
def test_a_hostile_copy_leaves_nothing(box: Box, copy: bytes, code: int) -> None:
    assert box.code(copy + END) == code
    assert set(box.landed()) <= {"d"}
    assert sorted(path.name for path in box.home.iterdir()) == ["QubesIncoming", "copy"]


def test_a_file_larger_than_the_free_space_is_not_begun() -> None:
    shared_memory = Path("/dev/shm") / f"bento-test-{os.getpid()}"
    shared_memory.mkdir()
    try:
        box = Box(shared_memory)
        space = os.statvfs(shared_memory)
        size = (space.f_bavail + 1000) * space.f_frsize
        assert box.code(encode_entry(b"x", stat.S_IFREG | 0o644, size, NOW)) == errno.ENOSPC
        assert box.landed() == []
    finally:
        for path in sorted(shared_memory.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        shared_memory.rmdir()


def test_a_copy_that_breaks_off_in_a_file_is_marked(box: Box) -> None:
    result = box.receive(file(b"x", b"12345")[:-2])
    assert result.code == BROKEN_OFF
    assert result.last_name == b"x"
    assert box.landed() == ["x.partial"]


def test_a_copy_that_breaks_off_in_a_directory_is_marked(box: Box) -> None:
    assert box.code(encode_entry(b"d", stat.S_IFDIR, 0, NOW) + file(b"d/x", b"1")) == errno.EREMOTEIO
    assert box.landed() == ["d.partial", "d.partial/x"]


def test_a_copy_without_its_end_is_not_complete(box: Box) -> None:
    assert box.code(file(b"x")) == errno.EREMOTEIO
    assert box.code(b"") == errno.EREMOTEIO


def test_broken_copies_of_one_name_do_not_get_in_each_others_way(box: Box) -> None:
    for _ in range(3):
        box.receive(file(b"x", b"12345")[:-2])
    assert box.code(file(b"x", b"whole") + END) == 0
    assert box.landed() == ["x", "x.partial", "x.partial-2", "x.partial-3"]


def test_very_many_broken_copies_are_enough(box: Box) -> None:
    box.incoming.mkdir(parents=True)
    for number in range(2, 101):
        (box.incoming / f"x.partial-{number}").touch()
    assert box.code(file(b"x") + END) == 0
    (box.incoming / "x").unlink()
    (box.incoming / "x.partial").touch()
    assert box.code(file(b"x") + END) == errno.EEXIST


def test_the_longest_name_has_room_for_its_mark(box: Box) -> None:
    name = "ü".encode() * 127
    assert box.code(file(name, b"1")[:-1]) == BROKEN_OFF
    assert box.code(file(name, b"1") + END) == 0
    assert os.fsdecode(name) in box.landed()


def test_the_sender_learns_how_it_went(
    box: Box, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    copy = box.home / "copy"
    copy.write_bytes(file(b"x") + END)
    monkeypatch.setenv("HOME", str(box.home))
    monkeypatch.setenv("QREXEC_REMOTE_DOMAIN", "random")
    stdin = os.dup(0)
    try:
        for code in (0, errno.EEXIST):
            with copy.open("rb") as sent:
                os.dup2(sent.fileno(), 0)
            assert main() == (1 if code else 0)
            result = decode_result(capfdbinary.readouterr().out)
            assert (result.code, result.last_name) == (code, b"x")
        assert box.landed() == ["x"]
    finally:
        os.dup2(stdin, 0)
        os.close(stdin)


@pytest.mark.parametrize("source", ["", "../x", "a/b", "dom0\n"])
def test_a_sender_without_a_proper_name_is_not_received(
    box: Box, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], source: str
) -> None:
    monkeypatch.setenv("HOME", str(box.home))
    monkeypatch.setenv("QREXEC_REMOTE_DOMAIN", source)
    assert main() == 1
    assert capfd.readouterr().out == ""
    assert list(box.home.iterdir()) == []
