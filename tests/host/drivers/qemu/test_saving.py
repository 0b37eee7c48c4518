"""What is copied for machines that go on from others, and from QEMUs that say and do what they like."""

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from bento.host.drivers.qemu import saving
from bento.host.drivers.qemu.hypervisor import QemuHypervisor
from bento.host.drivers.qemu.qmp import Session
from bento.host.model.errors import Unavailable
from bento.host.model.machine import Accelerator, Image

PATIENCE_SECONDS = 20.0

DONE = [{"id": "copy1", "status": "concluded"}]


class Copying(Session):
    """A QEMU that says that its disk has a certain size, and copies nothing."""

    def __init__(self, size: object) -> None:
        self._size = size

    async def execute(self, command: str, arguments: Mapping[str, object] | None = None) -> object:
        nodes = [{"node-name": "scratch1", "image": {"virtual-size": self._size}}]
        return {"query-named-block-nodes": nodes, "query-jobs": DONE}.get(command)

    async def lend(self, fd: int, number: int) -> None:
        pass


def copied(monkeypatch: pytest.MonkeyPatch, size: object) -> int:
    @contextlib.asynccontextmanager
    async def session(_: Path, *, deadline: float) -> AsyncIterator[Session]:
        assert deadline
        yield Copying(size)

    monkeypatch.setattr(saving, "session", session)
    return asyncio.run(saving.copy_disk(Path("nowhere"), 1))


def test_a_qemu_cannot_change_the_size_of_a_copy_that_others_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is sealed goes from one piece of it to the next, and would look for one that is gone for ever."""
    copy = copied(monkeypatch, 1 << 20)
    for size in (0, 1 << 40):
        with pytest.raises(PermissionError):
            os.ftruncate(copy, size)
    assert os.pwrite(copy, b"x", 0) == 1
    os.close(copy)


@pytest.mark.parametrize("size", [-1, 1 << 62, 1 << 70, "large", None])
def test_a_size_that_no_disk_has_is_refused(monkeypatch: pytest.MonkeyPatch, size: object) -> None:
    with pytest.raises(Unavailable):
        copied(monkeypatch, size)


def copies() -> int:
    """Seeds' memories that this process has open."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found += "bento-ram" in os.readlink(f"/proc/self/fd/{name}")
    return found


def image(directory: Path) -> Image:
    (directory / "memory").write_bytes(b"what all share")
    return Image(directory / "memory", directory / "state")


def test_machines_that_are_forked_at_once_share_one_copy(tmp_path: Path) -> None:
    hypervisor, seed = QemuHypervisor("testing", Accelerator.TCG), image(tmp_path)

    async def fork() -> set[int]:
        return set(await asyncio.gather(*(hypervisor._memory(seed) for _ in range(10))))

    before = copies()
    assert len(asyncio.run(fork())) == 1
    assert copies() == before + 1
    hypervisor.forget(seed)
    assert copies() == before


def test_a_seed_that_is_removed_while_it_is_copied_leaves_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hypervisor, seed, copy = QemuHypervisor("testing", Accelerator.TCG), image(tmp_path), saving.sealed_copy

    def copy_and_remove(memory: Path) -> int:
        number = copy(memory)
        memory.unlink()
        hypervisor.forget(seed)
        return number

    monkeypatch.setattr(saving, "sealed_copy", copy_and_remove)
    before = copies()
    with pytest.raises(Unavailable):
        asyncio.run(hypervisor._memory(seed))
    assert copies() == before


@pytest.mark.parametrize("forgotten", [False, True])
def test_a_copy_that_nobody_waits_for_any_more_is_kept_for_the_next_or_closed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, forgotten: bool
) -> None:
    hypervisor, seed, copy = QemuHypervisor("testing", Accelerator.TCG), image(tmp_path), saving.sealed_copy
    begun, go_on = threading.Event(), threading.Event()

    def copy_slowly(memory: Path) -> int:
        begun.set()
        assert go_on.wait(PATIENCE_SECONDS)
        return copy(memory)

    monkeypatch.setattr(saving, "sealed_copy", copy_slowly)

    async def give_up() -> None:
        first = asyncio.create_task(hypervisor._memory(seed))
        assert await asyncio.to_thread(begun.wait, PATIENCE_SECONDS)
        first.cancel()
        await asyncio.wait({first})
        still = asyncio.all_tasks() - {asyncio.current_task()}
        if forgotten:
            hypervisor.forget(seed)
        go_on.set()
        second = await hypervisor._memory(seed)
        assert second == await hypervisor._memory(seed)
        await asyncio.gather(*still)

    before = copies()
    asyncio.run(give_up())
    assert copies() == before + 1
    hypervisor.forget(seed)
    assert copies() == before


def test_a_copy_that_failed_is_tried_again(tmp_path: Path) -> None:
    hypervisor, missing = QemuHypervisor("testing", Accelerator.TCG), Image(tmp_path / "memory", tmp_path / "state")

    async def try_twice() -> None:
        with pytest.raises(Unavailable, match="cannot be read"):
            await hypervisor._memory(missing)
        await hypervisor._memory(image(tmp_path))

    before = copies()
    asyncio.run(try_twice())
    hypervisor.forget(missing)
    assert copies() == before
