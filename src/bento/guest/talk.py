"""One conversation with the host, from a greeting to the loss of step: sealed frames, the open calls, their windows."""

from typing import Protocol

from bento.guest.port import Port
from bento.wire.calls import Calls
from bento.wire.frames import encode_frame
from bento.wire.layout import Sender
from bento.wire.rpc import Ask, Data, Drop, Eof, Exit, OfCall, Ready, Serve, Stream


class Member(Protocol):
    """One end of one call inside this machine: a process that serves it, or a program that asked for it."""

    def hear(self, message: OfCall) -> None:
        """Act on a message of the host, which the rules of the call allow."""

    def end(self) -> None:
        """The conversation is over: give everything back, say nothing more."""


class Talk:
    def __init__(self, port: Port, seal: bytes) -> None:
        self.port = port
        self._seal = seal
        self._calls = Calls(Sender.GUEST)
        self._members: dict[int, Member] = {}

    def ready(self, version: int) -> None:
        self.port.write(encode_frame(Ready(version), self._seal))

    def ask(self, untrusted: Ask, member: Member) -> int:
        """Place a call for a local program; its number."""
        call = self._calls.begin()
        self._members[call] = member
        self.port.write(encode_frame(Ask(call, untrusted.service, untrusted.argument, untrusted.target), self._seal))
        return call

    def admit(self, message: Serve, member: Member) -> None:
        """A call of the host's has begun. `WireError` if it may not."""
        self._calls.receive(message)
        self._members[message.call] = member

    def hand_over(self, call: int, member: Member) -> None:
        """From now on `member` is the one in an open call."""
        self._members[call] = member

    def is_open(self, call: int) -> bool:
        return call in self._calls

    def hear(self, message: OfCall) -> None:
        """Hand it to the member of its call. `WireError` if it may not be said now."""
        if self._calls.receive(message):
            self._members[message.call].hear(message)
            if message.call not in self._calls:
                self._members.pop(message.call, None)

    def say(self, message: Data | Eof | Exit | Drop) -> None:
        """Of an open call. `Exit` and `Drop` end it."""
        self._calls.sent(message)
        if isinstance(message, Exit | Drop):
            del self._members[message.call]
        self.port.write(encode_frame(message, self._seal))

    def window(self, call: int, stream: Stream) -> int:
        """Bytes of `stream` that the host takes now; the port may still be full."""
        return self._calls.sendable(call, stream)

    def consumed(self, call: int, stream: Stream, size: int) -> None:
        """`size` bytes of the host's have gone on to whom they are for: let more come."""
        grant = self._calls.consumed(call, stream, size)
        if grant is not None:
            self.port.write(encode_frame(grant, self._seal))

    def end(self) -> None:
        members, self._members = self._members, {}
        for member in members.values():
            member.end()
