"""The disk under Bento's data: found before the folder exists, and tried without leaving a trace."""

import errno
import fcntl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.host.drivers.files import FICLONE
from bento.host.drivers.machine.disk import (
    LOW_BYTES,
    Disk,
    filesystem_of,
    interpret_disk,
    nearest_directory,
    read_disk,
    try_reflink,
)
from bento.host.drivers.machine.findings import Status

MOUNTS = r"""22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
30 22 0:26 / /home rw,relatime shared:5 master:2 - btrfs /dev/vdb rw
31 30 0:27 / /home/a\040b rw - xfs /dev/vdc rw
32 22 0:28 / /tmp rw - ext4 /dev/vdd rw
33 32 0:29 / /tmp rw - tmpfs tmpfs rw
torn line
"""

GOOD = Disk(path=Path("/home"), filesystem="btrfs", total=100 << 30, free=50 << 30, reflink=True)


@pytest.mark.parametrize(
    ("path", "filesystem"),
    [
        ("/", "ext4"),
        ("/homestead", "ext4"),
        ("/home", "btrfs"),
        ("/home/a", "btrfs"),
        ("/home/a b/c", "xfs"),
        ("/tmp/x", "tmpfs"),  # the later mount covers the earlier
    ],
)
def test_the_deepest_mount_over_a_path_is_its_filesystem(path: str, filesystem: str) -> None:
    assert filesystem_of(Path(path), MOUNTS) == filesystem


@given(st.text())
def test_no_text_makes_the_reader_of_mounts_fail(text: str) -> None:
    assert isinstance(filesystem_of(Path("/home"), text), str)


def test_a_folder_to_come_is_judged_by_the_nearest_that_exists(tmp_path: Path) -> None:
    assert nearest_directory(tmp_path / "not" / "yet") == tmp_path
    assert nearest_directory(tmp_path) == tmp_path


def test_looking_leaves_no_trace(tmp_path: Path) -> None:
    found = read_disk(tmp_path / "not" / "yet")
    assert found is not None
    assert found.path == tmp_path
    assert 0 < found.free <= found.total
    assert found.reflink in (True, False)
    assert list(tmp_path.iterdir()) == []


def answer(error: int | None) -> Callable[[int, int, int], int]:
    """A kernel that grants FICLONE, or refuses it with `error`."""

    def ioctl(_target: int, request: int, _source: int) -> int:
        assert request == FICLONE
        if error is not None:
            raise OSError(error, "refused")
        return 0

    return ioctl


@pytest.mark.parametrize(
    ("error", "verdict"), [(None, True), (errno.EOPNOTSUPP, False), (errno.ENOTTY, False), (errno.ENOSPC, None)]
)
def test_reflinks_are_what_the_kernel_grants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int | None, verdict: bool | None
) -> None:
    monkeypatch.setattr(fcntl, "ioctl", answer(error))
    assert try_reflink(tmp_path) is verdict


def test_where_no_file_can_be_made_reflinks_stay_unknown(tmp_path: Path) -> None:
    assert try_reflink(tmp_path / "absent") is None


def test_a_disk_that_cannot_be_looked_at_is_a_finding_too(tmp_path: Path) -> None:
    assert read_disk(tmp_path, mountinfo=tmp_path / "absent") is None
    assert interpret_disk(None).status is Status.WARN


@pytest.mark.parametrize(
    ("reflink", "words"), [(True, "it has reflinks"), (False, "no reflinks"), (None, "could not be tried")]
)
def test_reflinks_are_told_by_what_a_clone_costs(reflink: bool | None, words: str) -> None:
    finding = interpret_disk(replace(GOOD, reflink=reflink))
    assert finding.status is Status.OK
    assert finding.value["reflink"] is reflink
    assert words in finding.sentence


def test_a_nearly_full_disk_is_a_warning() -> None:
    finding = interpret_disk(replace(GOOD, free=LOW_BYTES - 1))
    assert finding.status is Status.WARN
    assert finding.remedy is not None
    assert interpret_disk(replace(GOOD, free=LOW_BYTES)).status is Status.OK


@pytest.mark.parametrize(
    ("filesystem", "words"), [("tmpfs", "all of it is lost at a reboot."), ("nfs4", "the database needs a local disk.")]
)
def test_a_filesystem_that_cannot_keep_bentos_data_is_a_warning(filesystem: str, words: str) -> None:
    finding = interpret_disk(replace(GOOD, filesystem=filesystem))
    assert finding.status is Status.WARN
    assert finding.sentence.endswith(words)
    assert finding.remedy is not None
    assert "BENTO_HOME" in finding.remedy
