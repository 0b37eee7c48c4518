"""The guest's bytes: greeting, seal, frames, messages, and nothing but `Ready` first.

Everything that arrives here was written by the domain. What leaves here is a
message that a guest may send at all; whether it may send it now is for
`wire.calls` to judge.
"""

from collections.abc import Iterator
from enum import Enum

from bento.host.broker.loop import Line
from bento.wire.channel import AnswerHunter, greeting, seal_of
from bento.wire.errors import WireError
from bento.wire.frames import FrameReader, frame_pieces
from bento.wire.layout import Message
from bento.wire.rpc import FROM_GUEST, Identity, Ready

ROOM = 1 << 19
"""Bytes on their way to the guest, above which calls' data wait. What is about calls (grants, ends) still goes."""

BACKLOG = 1 << 22
"""Bytes on their way to the guest, above which it is not listened to: it makes us answer and does not read."""


class Stage(Enum):
    SILENT = "nothing was said yet"
    GREETED = "hunting for the answer to the greeting"
    IDENTIFIED = "the guest was told who it is"
    UP = "the guest is ready"


class Channel:
    def __init__(self, line: Line) -> None:
        self._line = line
        self._stage = Stage.SILENT

    def begin(self, nonce: bytes, identity: Identity, *, first: bool) -> None:
        assert self._stage is Stage.SILENT, "a broker greets once"
        self._stage = Stage.GREETED
        self._identity = identity
        self._hunter = AnswerHunter(nonce)
        self._seal = seal_of(nonce)
        self._reader = FrameReader(seal=self._seal)
        self._line.put(greeting(nonce, first=first))

    @property
    def up(self) -> bool:
        return self._stage is Stage.UP

    @property
    def room(self) -> bool:
        return self._line.unsent < ROOM

    @property
    def audible(self) -> bool:
        """Something may be there to receive, and it may be received now."""
        if self._stage is Stage.SILENT:
            return self._line.hung_up
        return self._line.readable and self._line.unsent < BACKLOG

    def receive(self) -> Iterator[Message]:
        """What one read gives. `EOFError`: the machine is gone. `WireError` (or `OutOfStep`): what is not allowed."""
        if self._stage is Stage.SILENT:
            raise EOFError
        untrusted = self._line.read()
        if untrusted is None:
            return
        if not untrusted:
            raise EOFError
        if self._stage is Stage.GREETED:
            untrusted_rest = self._hunter.feed(untrusted)
            if untrusted_rest is None:
                return
            untrusted = untrusted_rest
            self._stage = Stage.IDENTIFIED
            self.say(self._identity)
        for tag, payload in self._reader.feed(untrusted):
            message = FROM_GUEST.decode(tag, payload)
            if isinstance(message, Ready) is self.up:
                raise WireError("Ready came twice" if self.up else f"{type(message).__name__} came before Ready")
            self._stage = Stage.UP
            yield message

    def say(self, message: Message) -> None:
        self._line.put(*frame_pieces(message, self._seal))

    def flush(self) -> None:
        self._line.flush()

    def close(self) -> None:
        self._line.close()
