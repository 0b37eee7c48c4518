"""The fake driver's threads, which go on when nobody waits for them any more and their caller's files are gone."""

import asyncio
import os
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from bento.host.drivers.boxed import Box
from bento.host.drivers.fake import hypervisor
from bento.host.drivers.fake.hypervisor import GUEST, FakeHypervisor, FakeMachine
from bento.host.model.machine import MachineSpec
from bento.wire.names import DomainName

PATIENCE_SECONDS = 20.0
NOBODY = 1 << 30
"""No process has such a number (proc(5): pid_max)."""


def given_up(
    monkeypatch: pytest.MonkeyPatch, work: str, asked: Coroutine[Any, Any, Any], stream: int, other: int
) -> None:
    """Cancel `asked` when a thread has begun with `work`, which goes on when the number `stream` is that of `other`."""
    begun, go_on, real = threading.Event(), threading.Event(), getattr(hypervisor, work)

    def slow(*arguments: object) -> None:
        begun.set()
        assert go_on.wait(PATIENCE_SECONDS)
        real(*arguments)

    async def give_up() -> None:
        task = asyncio.create_task(asked)
        assert await asyncio.to_thread(begun.wait, PATIENCE_SECONDS)
        task.cancel()
        await asyncio.wait({task})
        os.dup2(other, stream)
        go_on.set()

    monkeypatch.setattr(hypervisor, work, slow)
    asyncio.run(give_up())  # also waits for the thread


def test_a_suspension_that_is_given_up_writes_into_no_strangers_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / GUEST).mkdir()
    machine = FakeMachine(Box(uuid4(), None, ()), NOBODY, tmp_path)
    read, stream = os.pipe()
    with (tmp_path / "stranger").open("wb+") as stranger, open(read, "rb"):
        given_up(monkeypatch, "_pack", machine.suspend(stream), stream, stranger.fileno())
        os.close(stream)
        assert os.fstat(stranger.fileno()).st_size == 0


def test_a_resumption_that_is_given_up_reads_from_no_strangers_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nothing = Path("/nonexistent")
    spec = MachineSpec(uuid4(), DomainName("work"), tmp_path, 1, 1 << 20, 1, nothing, nothing, "", ())
    stream, write = os.pipe()
    os.close(write)
    with (tmp_path / "stranger").open("wb+") as stranger:
        stranger.write(b"words")
        stranger.seek(0)
        given_up(monkeypatch, "_unpack", FakeHypervisor("testing").restore(spec, stream, ()), stream, stranger.fileno())
        os.close(stream)
        assert os.lseek(stranger.fileno(), 0, os.SEEK_CUR) == 0
