"""What every driver of the storage port does."""

import asyncio
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bento.host.drivers.files import FileStorage
from bento.host.model.errors import Unavailable
from bento.host.ports.storage import Storage

MIB = 1 << 20


@pytest.fixture(params=[FileStorage])
def storage(request: pytest.FixtureRequest) -> Storage:
    made: Storage = request.param()
    return made


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """64 MiB with data at the start, in the middle and at the end, and holes between."""
    path = tmp_path / "volume"
    with path.open("wb") as file:
        file.truncate(64 * MIB)
        for place in (0, 20 * MIB + 17, 64 * MIB - 5):
            file.seek(place)
            file.write(b"data!")
    return path


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_a_new_volume_is_all_zeros_and_takes_no_disk(storage: Storage, tmp_path: Path) -> None:
    asyncio.run(storage.create(tmp_path / "new", 8 * MIB))
    assert (tmp_path / "new").read_bytes() == bytes(8 * MIB)
    assert storage.usage(tmp_path / "new") == 0


def test_nobody_else_may_open_a_volume(storage: Storage, tmp_path: Path) -> None:
    asyncio.run(storage.create(tmp_path / "new", MIB))
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600


def test_a_volume_never_takes_the_place_of_another(storage: Storage, volume: Path, tmp_path: Path) -> None:
    before = digest(volume)
    with pytest.raises(Unavailable, match="there already"):
        asyncio.run(storage.create(volume, MIB))
    asyncio.run(storage.create(tmp_path / "source", MIB))
    with pytest.raises(Unavailable, match="there already"):
        asyncio.run(storage.clone(tmp_path / "source", volume))
    assert digest(volume) == before
    assert sorted(os.listdir(tmp_path)) == ["source", "volume"]


def test_a_clone_is_the_same_and_its_holes_take_no_disk(storage: Storage, volume: Path, tmp_path: Path) -> None:
    asyncio.run(storage.clone(volume, tmp_path / "clone"))
    assert digest(tmp_path / "clone") == digest(volume)
    assert storage.usage(tmp_path / "clone") < MIB


def test_what_is_all_zeros_takes_no_disk_once_a_file_is_made_thin(storage: Storage, tmp_path: Path) -> None:
    page = 4096
    content = b"x" * page + bytes(300 * page) + b"y" + bytes(3 * MIB + page) + b"z" * (MIB + 5) + bytes(page) + b"end"
    (tmp_path / "thick").write_bytes(content)
    asyncio.run(storage.thin(tmp_path / "thick"))
    assert (tmp_path / "thick").read_bytes() == content
    assert storage.usage(tmp_path / "thick") < MIB + 16 * page
    assert [path.name for path in tmp_path.iterdir()] == ["thick"]


def test_holes_stay_holes_in_a_file_that_is_made_thin(storage: Storage, volume: Path) -> None:
    before = digest(volume)
    asyncio.run(storage.thin(volume))
    assert digest(volume) == before
    assert storage.usage(volume) <= 3 * 4096


def test_a_volume_of_nothing_but_holes_can_be_cloned(storage: Storage, tmp_path: Path) -> None:
    asyncio.run(storage.create(tmp_path / "blank", 3 * MIB))
    asyncio.run(storage.clone(tmp_path / "blank", tmp_path / "clone"))
    assert (tmp_path / "clone").stat().st_size == 3 * MIB


def test_a_clone_and_its_source_go_separate_ways(storage: Storage, volume: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    asyncio.run(storage.clone(volume, clone))
    with clone.open("r+b") as file:
        file.write(b"clone")
    with volume.open("r+b") as file:
        file.seek(5)
        file.write(b"source")
    assert volume.read_bytes()[:11] == b"data!source"
    assert clone.read_bytes()[:11] == b"clone" + bytes(6)


def test_what_a_killed_manager_left_of_a_clone_is_no_hindrance(storage: Storage, volume: Path, tmp_path: Path) -> None:
    (tmp_path / "clone.partial").write_bytes(b"torn")
    asyncio.run(storage.clone(volume, tmp_path / "clone"))
    assert digest(tmp_path / "clone") == digest(volume)
    assert not (tmp_path / "clone.partial").exists()


def test_a_clone_of_what_is_missing_leaves_nothing(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="gone is missing"):
        asyncio.run(storage.clone(tmp_path / "gone", tmp_path / "clone"))
    assert os.listdir(tmp_path) == []


def test_a_volume_grows_and_keeps_what_is_in_it(storage: Storage, volume: Path) -> None:
    asyncio.run(storage.resize(volume, 80 * MIB))
    assert volume.stat().st_size == 80 * MIB
    assert volume.read_bytes()[:5] == b"data!"


def test_a_volume_never_shrinks(storage: Storage, volume: Path) -> None:
    with pytest.raises(Unavailable, match="only grow"):
        asyncio.run(storage.resize(volume, MIB))
    assert volume.stat().st_size == 64 * MIB


def test_a_removed_volume_is_gone_and_so_is_what_was_left_of_making_it(storage: Storage, volume: Path) -> None:
    (volume.parent / "volume.partial").write_bytes(b"torn")
    asyncio.run(storage.remove(volume))
    assert os.listdir(volume.parent) == []
    assert storage.usage(volume) == 0


def test_removing_what_is_not_there_is_no_error(storage: Storage, tmp_path: Path) -> None:
    asyncio.run(storage.remove(tmp_path / "never"))


ON_A_FULL_DISK = """
import asyncio, os, subprocess, sys
from pathlib import Path
from {module} import {name}
from bento.host.model.errors import Unavailable

disk = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", disk], check=True)
(disk / "source").write_bytes(os.urandom(700 << 10))
try:
    asyncio.run({name}().clone(disk / "source", disk / "clone"))
except Unavailable as error:
    print(error)
print(sorted(os.listdir(disk)))
"""


def test_a_full_disk_is_named_and_no_part_of_a_clone_stays(storage: Storage, tmp_path: Path) -> None:
    script = ON_A_FULL_DISK.format(module=type(storage).__module__, name=type(storage).__name__)
    # A mount namespace of its own, in which anyone may have a tiny disk.
    argv = ["unshare", "--map-root-user", "--mount", sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env={"PYTHONPATH": ":".join(sys.path)})
    sentence, left = done.stdout.splitlines()
    assert sentence.startswith(f"the disk is full: no room for {tmp_path}/clone")
    assert left == "['source']"


def test_where_the_last_room_is_taken_a_volume_that_is_made_thin_stays_as_it_was(
    storage: Storage, volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """write(2) then takes a part, and says so; nobody would miss the rest before a guest does."""
    before, write = digest(volume), os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: write(fd, data[: len(data) // 2], at))
    with pytest.raises(Unavailable, match="the disk is full"):
        asyncio.run(storage.thin(volume))
    assert digest(volume) == before
    assert [path.name for path in volume.parent.iterdir()] == [volume.name]
