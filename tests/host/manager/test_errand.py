"""Errands: the one place where the manager reads a leg, whose other end may be a broker that a guest has taken over."""

import asyncio
import contextlib
import socket
from typing import cast

import pytest

from bento.host.manager.brokers import Broker
from bento.host.manager.errand import READ_SIZE, run_errand
from bento.host.model.errors import Unavailable
from bento.wire.control import Open
from bento.wire.frames import encode_frame
from bento.wire.names import DomainName
from bento.wire.rpc import Data, Exit, Stream

EMPTY = encode_frame(Data(0, Stream.STDOUT, b""))


class Torrent:
    """A broker that has filled the leg with messages before anybody reads, and then says `last`."""

    def __init__(self, last: bytes = b"") -> None:
        self.sent = 0
        self._last = last
        self._leg: socket.socket | None = None

    async def open(self, _: Open, leg: socket.socket) -> None:
        self._leg = leg
        with contextlib.suppress(BlockingIOError):
            while self.sent < 16 * READ_SIZE:
                self.sent += leg.send(EMPTY * 100, socket.MSG_DONTWAIT)
        leg.send(self._last)
        leg.shutdown(socket.SHUT_WR)

    async def errand(self) -> int:
        try:
            return await run_errand(cast(Broker, self), DomainName("work"), ("true",), seconds=60)
        finally:
            if self._leg:
                self._leg.close()


async def _turns_of_others(torrent: Torrent) -> int:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    working = asyncio.create_task(other())
    try:
        with contextlib.suppress(Unavailable):
            await torrent.errand()
    finally:
        working.cancel()
    return turns


def test_a_torrent_from_a_broker_leaves_the_manager_time_for_others() -> None:
    torrent = Torrent()
    turns = asyncio.run(_turns_of_others(torrent))
    assert turns >= torrent.sent // READ_SIZE > 4


def test_the_exit_code_behind_a_torrent_is_found() -> None:
    assert asyncio.run(Torrent(encode_frame(Exit(0, 7))).errand()) == 7


def test_a_leg_that_ends_without_a_code_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="no exit code"):
        asyncio.run(Torrent().errand())
