"""The process in its box: what passes, how it ends, and what it can reach meanwhile."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bento.host.manager.__main__ import sealing_argv
from bento.wire.sealing import Failure

KEY = bytes(range(32))
STREAM = os.urandom(3 << 20) + b"its last word"
MARK = b"what nobody may read"


@contextlib.contextmanager
def under_way(way: str, image: int, stream: int, disks: Sequence[int], bound: int = 1 << 30) -> Iterator[list[object]]:
    """The process, which has taken `stream` over; in the list at the end: its code, and its words."""
    files = [image, stream, *disks]
    process = subprocess.Popen(
        sealing_argv([way, *map(str, files)], bound),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=files,
    )
    os.close(stream)
    outcome: list[object] = []
    assert process.stdin
    assert process.stderr
    process.stdin.write(KEY)
    process.stdin.close()
    try:
        yield outcome
    finally:
        outcome += [process.wait(), process.stderr.read().decode()]
        process.stderr.close()


@pytest.fixture
def image(tmp_path: Path) -> Iterator[int]:
    file = os.open(tmp_path / "image", os.O_RDWR | os.O_CREAT, 0o600)
    yield file
    os.close(file)


def disk(*written: tuple[int, bytes], size: int = 64 << 20) -> int:
    fd = os.memfd_create("disk")
    os.ftruncate(fd, size)
    for offset, data in written:
        os.pwrite(fd, data, offset)
    return fd


def write(pipe: int, data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), open(pipe, "wb") as stream:
        stream.write(data)


def seal(image: int, data: bytes, disks: Sequence[int] = (), bound: int = 1 << 30) -> list[object]:
    read, pipe = os.pipe()
    with under_way("seal", image, read, disks, bound) as outcome:
        write(pipe, data)
    return outcome


def unseal(image: int, disks: Sequence[int] = ()) -> tuple[bytes, list[object]]:
    """What came of the stream, and how it ended."""
    os.lseek(image, 0, os.SEEK_SET)
    read, pipe = os.pipe()
    with under_way("open", image, pipe, disks) as outcome, open(read, "rb") as stream:
        data = stream.read()
    return data, outcome


def test_a_stream_and_disks_go_to_the_file_and_back(image: int) -> None:
    disks = disk((0, b"begin"), (40 << 20, b"middle")), disk(((64 << 20) - 3, b"end"))
    assert seal(image, STREAM, disks) == [0, ""]
    copies = disk(), disk()
    assert unseal(image, copies) == (STREAM, [0, ""])
    assert os.fstat(image).st_size < 4 << 20, "holes take no room"
    for one, other in zip(disks, copies, strict=True):
        assert os.pread(one, 64 << 20, 0) == os.pread(other, 64 << 20, 0)
        assert os.fstat(other).st_blocks * 512 < 4 << 20
        os.close(one)
        os.close(other)


def test_an_empty_stream_is_one(image: int) -> None:
    assert seal(image, b"") == [0, ""]
    assert unseal(image) == (b"", [0, ""])


def test_a_damaged_file_ends_it_with_a_word(image: int) -> None:
    seal(image, STREAM)
    middle = os.fstat(image).st_size // 2
    os.pwrite(image, bytes([os.pread(image, 1, middle)[0] ^ 1]), middle)
    data, outcome = unseal(image)
    assert STREAM.startswith(data), "sound as far as it came"
    assert outcome == [Failure.DAMAGED, "a piece of it is not what was written\n"]


def test_a_file_with_more_disks_than_there_are_is_damaged(image: int) -> None:
    written = disk((0, MARK))
    seal(image, STREAM, [written])
    os.close(written)
    assert unseal(image)[1][0] == Failure.DAMAGED


def test_a_full_disk_is_told() -> None:
    full = os.open("/dev/full", os.O_RDWR)
    try:
        assert seal(full, STREAM)[0] == Failure.FULL
    finally:
        os.close(full)


def test_no_file_grows_beyond_its_bound(image: int) -> None:
    assert seal(image, STREAM, bound=1 << 20) == [Failure.DISK, "File too large\n"]
    assert os.fstat(image).st_size <= 1 << 20


def test_nobody_who_takes_the_stream_ends_it(image: int) -> None:
    seal(image, STREAM)
    os.lseek(image, 0, os.SEEK_SET)
    read, pipe = os.pipe()
    os.close(read)
    with under_way("open", image, pipe, []) as outcome:
        pass
    assert outcome == [Failure.STREAM, ""]


def test_its_position_tells_how_far_it_is(image: int) -> None:
    seal(image, STREAM)
    assert os.lseek(image, 0, os.SEEK_CUR) == os.fstat(image).st_size


def test_it_is_killed_with_nobody_else_harmed(image: int) -> None:
    """A stream that never ends: the manager ends the process, and the writer sees its pipe break."""
    read, pipe = os.pipe()
    process = subprocess.Popen(
        sealing_argv(["seal", str(image), str(read)], 1 << 30),
        stdin=subprocess.PIPE,
        pass_fds=[image, read],
        start_new_session=True,
    )
    os.close(read)
    assert process.stdin
    process.stdin.write(KEY)
    process.stdin.close()
    writer = threading.Thread(target=write, args=(pipe, bytes(64 << 20)))
    writer.start()
    os.killpg(process.pid, signal.SIGKILL)  # with what bwrap has begun to make (manager/children.py)
    process.wait()
    writer.join()


@pytest.mark.parametrize("words", [[], ["seal"], ["seal", "3"], ["read", "3", "4"], ["seal", "3", "x"]])
def test_it_is_not_for_use_by_hand(words: list[str]) -> None:
    done = subprocess.run(sealing_argv(words, 1 << 20), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "not for use by hand" in done.stderr
