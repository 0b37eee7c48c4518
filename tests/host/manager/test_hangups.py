"""Waiting for the other end to go."""

import asyncio
import errno
import os
import select

import pytest

from bento.host.manager import hangups
from bento.host.manager.hangups import hung_up


def test_too_many_open_files_are_no_hang_up(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    refused, epoll = list[str](), select.epoll

    def run_out() -> select.epoll:
        if len(refused) < 3:
            refused.append("no number")
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        os.close(write)
        return epoll()

    async def wait() -> None:
        monkeypatch.setattr(hangups, "AGAIN_SECONDS", 0)
        monkeypatch.setattr(select, "epoll", run_out)
        await hung_up(read)

    asyncio.run(wait())
    os.close(read)
    assert len(refused) == 3
