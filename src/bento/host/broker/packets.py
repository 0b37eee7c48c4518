"""Packets with open files beside them, to and from the manager, whom this room trusts.

A packet with another number of files than its message asks for, or one cut
short, is a fault of ours and ends the process.
"""

import socket
from array import array
from collections import deque

from bento.host.broker.loop import Loop
from bento.wire.control import FROM_MANAGER, MAX_PACKET, Connect, Open, OpenConsole, Spawn, decode_packet, encode_packet
from bento.wire.errors import WireError
from bento.wire.layout import Message

FILES: dict[type[Message], int] = {Spawn: 4, Open: 1, Connect: 1, OpenConsole: 1}
"""Open files beside a message; 0 where nothing is said."""

CUT = int(socket.MSG_TRUNC | socket.MSG_CTRUNC)
AT_ONCE = int(socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC)
"""As plain numbers: flags are put together anew each time, which takes longer than the call of the kernel."""

ANCILLARY = socket.CMSG_SPACE(max(FILES.values()) * array("i").itemsize)


def receive(sock: socket.socket, flags: int = socket.MSG_CMSG_CLOEXEC) -> tuple[Message, list[int]]:
    """The manager's next message and its files. `EOFError` when the manager is gone."""
    # Not socket.recv_fds: in Python 3.11 it forgets its flags.
    files = array("i")
    try:
        packet, beside, cut, _ = sock.recvmsg(MAX_PACKET, ANCILLARY, flags)
    except ConnectionError:
        raise EOFError from None
    if not packet:
        raise EOFError
    for _, _, rights in beside:
        files.frombytes(rights)
    message = decode_packet(FROM_MANAGER, packet)
    if cut & CUT or len(files) != FILES.get(type(message), 0):
        raise WireError(f"{type(message).__name__} from the manager is cut short or has {len(files)} files")
    return message, list(files)


class Control:
    """The broker's socket to its manager, in the loop."""

    def __init__(self, loop: Loop, sock: socket.socket) -> None:
        self._loop = loop
        self._sock = sock
        self._unsent: deque[bytes] = deque()  # bounded: the relay has at most MAX_CALLS questions open
        self._stuck = False
        self.readable = False
        loop.add(sock.fileno(), self._note)

    def receive(self) -> tuple[Message, list[int]] | None:
        try:
            return receive(self._sock, AT_ONCE)
        except BlockingIOError:
            self.readable = False
            return None

    def tell(self, message: Message) -> None:
        self._unsent.append(encode_packet(message))

    def flush(self) -> None:
        while self._unsent and not self._stuck:
            try:
                self._sock.send(self._unsent[0], socket.MSG_DONTWAIT)
            except BlockingIOError:
                self._stuck = True
                self._loop.watch_writing(self._sock.fileno(), True)
            except ConnectionError:
                self._unsent.clear()  # reading finds that the manager is gone
            else:
                self._unsent.popleft()

    def close(self) -> None:
        """Waits until the manager has taken what was told."""
        try:
            for packet in self._unsent:
                self._sock.send(packet)
        except ConnectionError:
            pass
        self._sock.close()

    def _note(self, events: int) -> None:
        self.readable = True
        if self._stuck:
            self._stuck = False
            self._loop.watch_writing(self._sock.fileno(), False)
