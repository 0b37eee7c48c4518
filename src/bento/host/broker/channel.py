"""The guest's bytes: greeting, seal, frames, messages, and nothing but `Ready` first.

Everything that arrives here was written by the domain. What leaves here is a
message that a guest may send at all; whether it may send it now is for
`wire.calls` to judge.
"""

from collections.abc import Iterator

from bento.host.broker.loop import Line
from bento.wire.channel import AnswerHunter, greeting, seal_of
from bento.wire.errors import WireError
from bento.wire.frames import FrameReader, frame_pieces
from bento.wire.layout import Message
from bento.wire.rpc import FROM_GUEST, Identity, Ready

ROOM = 1 << 20
"""Bytes on their way to the guest, above which calls' data wait. What is about calls (grants, ends) still goes."""

BACKLOG = 1 << 22
"""Bytes on their way to the guest, above which it is not listened to: it makes us answer and does not read."""


class Channel:
    def __init__(self, line: Line) -> None:
        self.line = line
        self._seal = b""
        """Empty until the guest is greeted."""
        self._hunter: AnswerHunter | None = None
        """While there is no answer to the greeting."""
        self.up = False
        """The guest is ready."""

    def begin(self, nonce: bytes, identity: Identity, *, first: bool) -> None:
        assert not self._seal, "a broker greets once"
        self._identity = identity
        self._hunter = AnswerHunter(nonce)
        self._seal = seal_of(nonce)
        self._reader = FrameReader(seal=self._seal)
        self.line.put(greeting(nonce, first=first))

    @property
    def room(self) -> bool:
        return self.line.unsent < ROOM

    @property
    def audible(self) -> bool:
        """Something may be there to receive, and it may be received now."""
        return self.line.readable and self.line.unsent < BACKLOG if self._seal else self.line.hung_up

    def receive(self) -> Iterator[Message]:
        """What one read gives. `EOFError`: the machine is gone. `WireError` (or `OutOfStep`): what is not allowed."""
        untrusted = self.line.read() if self._seal else b""
        if untrusted == b"":
            raise EOFError
        if untrusted and self._hunter:
            untrusted = self._hunter.feed(untrusted)
            if untrusted is not None:
                self._hunter = None
                self.say(self._identity)
        if untrusted is None:
            return
        for tag, payload in self._reader.feed(untrusted):
            message = FROM_GUEST.decode(tag, payload)
            if isinstance(message, Ready) is self.up:
                raise WireError("Ready came twice" if self.up else f"{type(message).__name__} came before Ready")
            self.up = True
            yield message

    def say(self, message: Message) -> None:
        self.line.put(*frame_pieces(message, self._seal))
