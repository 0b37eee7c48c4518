"""One call between its leg and a service's pipes: the calling guest's frames are read here, and nothing is believed.

A side that takes nothing is not read for: of each direction no more than one read waits. The call is over when the
service has ended and its output is at its end, as the field has it; or when the caller is gone, at once.
"""

import os
import socket
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, epoll

from bento.host.service.program import Program
from bento.wire.contract import Follower, Said
from bento.wire.errors import WireError
from bento.wire.frames import FrameReader, encode_frame
from bento.wire.layout import Message
from bento.wire.rpc import FROM_CALLER, MAX_DATA, Data, Eof, Exit, Resize, Role, Stream

READ_SIZE = 1 << 16


class Relay:
    def __init__(self, leg: socket.socket, program: Program, follower: Follower | None = None) -> None:
        """`follower` holds both sides to the contract of the service, if it has one."""
        leg.setblocking(False)
        self._leg = leg
        self._reader = FrameReader()
        self._program = program
        self._follower = follower
        self._stdin: int | None = program.stdin
        self._outputs = {program.stdout: Stream.STDOUT, program.stderr: Stream.STDERR}
        """Those that are not at their end."""
        self._running = True
        self._input = bytearray()
        self._input_ended = False
        self._unsent = bytearray()
        self._told = False
        """The caller was sent the exit code, the last there is to say."""
        self._gone = False
        """The caller hung up."""
        self._epoll = epoll()
        self._watched: dict[int, int] = {}

    def run(self) -> None:
        """Until the call is over. `WireError`: the caller sent what it may not; `Broken`: so did one of the two."""
        while not self._gone and (self._unsent or not self._told):
            self._watch()
            for fd, events in self._epoll.poll():
                self._attend(fd, events)
            if not (self._running or self._outputs or self._told):
                self._tell_code()

    def _watch(self) -> None:
        """Ask for nothing that there is no room for. A file that hung up is reported as long as it is watched at all,
        so only the leg always is.
        """
        leg = self._leg.fileno()
        wanted = {leg: (0 if self._input else EPOLLIN) | (EPOLLOUT if self._unsent else 0)}
        if self._stdin is not None and self._input:
            wanted[self._stdin] = EPOLLOUT
        if self._running:
            wanted[self._program.end] = EPOLLIN
        if not self._unsent:
            wanted |= dict.fromkeys(self._outputs, EPOLLIN)
        for fd in self._watched.keys() - wanted.keys():
            self._epoll.unregister(fd)
        for fd, events in wanted.items():
            if fd not in self._watched:
                self._epoll.register(fd, events)
            elif self._watched[fd] != events:
                self._epoll.modify(fd, events)
        self._watched = wanted

    def _attend(self, fd: int, events: int) -> None:
        if fd == self._leg.fileno():
            if events & (EPOLLHUP | EPOLLERR):
                self._gone = True
            elif events & EPOLLIN:
                self._hear()
            self._send()
        elif fd == self._stdin:
            self._feed()
        elif fd in self._outputs:
            self._take(fd)
        else:
            self._running = False

    # ---- the caller ------------------------------------------------------------------------------

    def _hear(self) -> None:
        try:
            untrusted = self._leg.recv(READ_SIZE)
        except ConnectionError:
            untrusted = b""
        if not untrusted:
            self._gone = True
        for untrusted_tag, untrusted_payload in self._reader.feed(untrusted):
            self._obey(FROM_CALLER.decode(untrusted_tag, untrusted_payload))
        self._feed()

    def _obey(self, untrusted: Message) -> None:
        match untrusted:
            case Data(0, Stream.STDIN, payload) if not self._input_ended:
                self._input += self._follower.say(Role.CALLER, payload) if self._follower else payload
            case Eof(0, Stream.STDIN) if not self._input_ended:
                self._input_ended = True
                if self._follower:
                    self._follower.end(Role.CALLER)
            case Resize(call=0):
                pass  # it is on no terminal
            case _:
                raise WireError(f"{type(untrusted).__name__} may not come over this leg now")

    def _say(self, message: Said) -> None:
        if self._follower:
            message = self._follower.hear(Role.SERVER, message)
        self._unsent += encode_frame(message)
        self._send()

    def _send(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: self._leg.send(self._unsent)]
        except BlockingIOError:
            pass
        except ConnectionError:
            self._gone = True

    # ---- the service -----------------------------------------------------------------------------

    def _feed(self) -> None:
        """Give the service what it takes now. What it does not want any more is thrown away, as a pipe would."""
        try:
            while self._stdin is not None and self._input:
                del self._input[: os.write(self._stdin, self._input)]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._close_input()
        if self._input_ended:
            self._close_input()
        if self._stdin is None:
            self._input.clear()

    def _close_input(self) -> None:
        if self._stdin is not None:
            if self._watched.pop(self._stdin, None) is not None:
                self._epoll.unregister(self._stdin)
            os.close(self._stdin)
            self._stdin = None

    def _take(self, fd: int) -> None:
        if self._unsent:
            return  # the other stream was faster, in this same turn
        data = os.read(fd, MAX_DATA)
        stream = self._outputs[fd]
        if not data:
            del self._outputs[fd]
        self._say(Data(0, stream, data) if data else Eof(0, stream))

    def _tell_code(self) -> None:
        status = os.waitid(os.P_PIDFD, self._program.end, os.WEXITED)
        assert status is not None, "it has ended"
        self._told = True
        self._say(Exit(0, status.si_status if status.si_code == os.CLD_EXITED else 128 + status.si_status))
