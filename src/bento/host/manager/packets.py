"""Packets with open files beside them, to and from a broker or the nursery, neither of which is believed.

What comes is bytes: `brokers.py` decodes them. A broker that floods its socket, or takes nothing from it, has nobody
wait for it but whoever sends it something.
"""

import asyncio
import socket
from collections.abc import Callable

from bento.wire.control import MAX_PACKET, encode_packet
from bento.wire.layout import Message


class Packets:
    """One end of a SOCK_SEQPACKET pair, for asyncio. Files go beside the packets; any that come, the kernel closes."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._sending = asyncio.Lock()
        self._waiting: asyncio.Future[None] | None = None

    def close(self) -> None:
        """Nobody hears any more, and whoever waits to send finds the connection gone."""
        if self._waiting and not self._waiting.done():
            self._waiting.set_exception(ConnectionAbortedError())
        loop, fd = asyncio.get_running_loop(), self._sock.fileno()
        if fd >= 0:
            # Before the number can be another file's.
            loop.remove_reader(fd)
            loop.remove_writer(fd)
            self._sock.close()

    async def send(self, message: Message, *files: socket.socket | int) -> None:
        """Raises `OSError` when the other end is gone."""
        packet = encode_packet(message)
        async with self._sending:
            while True:
                try:
                    socket.send_fds(self._sock, [packet], [f if isinstance(f, int) else f.fileno() for f in files])
                    return
                except BlockingIOError:
                    await self._writable()

    async def receive(self) -> bytes:
        """The next packet, empty at the end. A packet that is too large comes cut, and as it is no message so."""
        return await asyncio.get_running_loop().sock_recv(self._sock, MAX_PACKET)

    def listen(self, hear: Callable[[bytes], None]) -> None:
        """The same for `hear`, packet for packet until `close`: one a round of the loop, so that nobody who sends many
        has us for itself.
        """
        asyncio.get_running_loop().add_reader(self._sock.fileno(), self._read, hear)

    def _read(self, hear: Callable[[bytes], None]) -> None:
        try:
            untrusted_packet = self._sock.recv(MAX_PACKET)
        except BlockingIOError:
            return
        except OSError:
            untrusted_packet = b""
        hear(untrusted_packet)

    async def _writable(self) -> None:
        """Return when the socket is; `ConnectionAbortedError` when it was closed here meanwhile."""
        loop, fd = asyncio.get_running_loop(), self._sock.fileno()
        self._waiting = loop.create_future()
        loop.add_writer(fd, _resolve, self._waiting)
        try:
            await self._waiting
        finally:
            if self._sock.fileno() == fd:  # else `close` has seen to it, and the number may be another file's
                loop.remove_writer(fd)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
