"""Message classes as declarations: a field's annotation is its layout.

    @message(tag=3, sender=Sender.GUEST)
    class Ask(Message):
        call: Annotated[int, U32]
        service: Annotated[ServiceName, Text(ServiceName.parse, 255)]

A message is the fixed-size numbers and length-prefixed bytes of its fields in
order, big-endian, with nothing before, between or after. Decoding is total: a
message or `WireError`. A declaration says who may send it; a `Codec` is made
for one receiving side and knows only what the other side may send.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from enum import Flag
from typing import Any, ClassVar, dataclass_transform, get_type_hints

from bento.wire.errors import WireError

Bytes = bytes | memoryview
"""What can be written as it is. Views are of bytes that nobody changes."""


class Sender(Flag):
    """Who may send a message: the trusted side of a boundary, the other side, or both."""

    HOST = 1
    GUEST = 2
    BOTH = 3


class Number:
    """An unsigned big-endian integer of `size` bytes, at most `limit`."""

    def __init__(self, size: int, limit: int | None = None) -> None:
        self.size = size
        self.limit = (1 << 8 * size) - 1 if limit is None else limit

    def encode(self, value: int) -> bytes:
        return value.to_bytes(self.size, "big")

    def decode(self, untrusted: memoryview, at: int) -> tuple[int, int]:
        end = at + self.size
        if end > len(untrusted):
            raise WireError("message ends inside a number")
        value = int.from_bytes(untrusted[at:end], "big")
        if value > self.limit:
            raise WireError(f"number {value} is above its limit {self.limit}")
        return value, end


class Blob:
    """Bytes behind a 4-byte length, at most `limit` of them (`exact`: just that many)."""

    def __init__(self, limit: int, *, exact: bool = False) -> None:
        self.limit = limit
        self.exact = exact

    def encode(self, value: bytes) -> bytes:
        return U32.encode(len(value)) + value

    def decode(self, untrusted: memoryview, at: int) -> tuple[bytes, int]:
        start = at + 4
        length = int.from_bytes(untrusted[at:start], "big")
        if length > self.limit or (self.exact and length != self.limit):
            raise WireError(f"field of {length} bytes where {self.limit} are allowed")
        end = start + length
        if end > len(untrusted):
            raise WireError("message ends inside a field")
        return bytes(untrusted[start:end]), end


class Text:
    """Text as UTF-8 of at most `limit` bytes, handed to `parse`, which names it or raises `WireError`.

    What is not UTF-8 is U+FFFD to `parse`, which is in no name.
    """

    def __init__(self, parse: Callable[[str], str], limit: int) -> None:
        self.parse = parse
        self.blob = Blob(limit)

    def encode(self, value: str) -> bytes:
        return self.blob.encode(value.encode())

    def decode(self, untrusted: memoryview, at: int) -> tuple[str, int]:
        raw, end = self.blob.decode(untrusted, at)
        return self.parse(raw.decode(errors="replace")), end


U8 = Number(1)
U16 = Number(2)
U32 = Number(4)
U64 = Number(8)


class Rest:
    """All bytes to the end of the message, at most `limit`. Only as the last field. Decoded they are a view."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def encode(self, value: Bytes) -> Bytes:
        return value

    def decode(self, untrusted: memoryview, at: int) -> tuple[memoryview, int]:
        end = len(untrusted)
        if end - at > self.limit:
            raise WireError(f"field of {end - at} bytes where {self.limit} are allowed")
        return untrusted[at:], end


class Message:
    """Base of all declared messages; `@message` fills in the class variables."""

    __slots__ = ()
    TAG: ClassVar[int]
    SENDER: ClassVar[Sender]
    LAYOUT: ClassVar[tuple[tuple[str, Any], ...]]

    def parts(self) -> list[Bytes]:
        """The payload as pieces to be joined (or written) in order, without tag and length: those are the frame's."""
        return [layout.encode(getattr(self, name)) for name, layout in self.LAYOUT]


@dataclass_transform(frozen_default=True)
def message(*, tag: int, sender: Sender) -> Callable[[type[Any]], type[Any]]:
    """Declare a message: its class becomes a frozen, slotted dataclass, its layout is read from the annotations."""

    def declare(cls: type[Any]) -> type[Any]:
        made = dataclass(frozen=True, slots=True)(cls)
        hints = get_type_hints(made, include_extras=True)
        made.TAG = tag
        made.SENDER = sender
        made.LAYOUT = tuple((field.name, hints[field.name].__metadata__[0]) for field in fields(made))
        return made

    return declare


class Codec:
    """What one side may receive: the declared messages that `sender` may send, by tag."""

    def __init__(self, messages: Iterable[type[Message]], *, sender: Sender) -> None:
        self._by_tag = {kind.TAG: kind for kind in messages if kind.SENDER & sender}

    def decode(self, untrusted_tag: int, untrusted_payload: Bytes) -> Message:
        """The message, or `WireError`: unknown tag, wrong direction, truncated, too long, or a bad name."""
        kind = self._by_tag.get(untrusted_tag)
        if kind is None:
            raise WireError(f"message {untrusted_tag} does not exist or does not come from this side")
        view = memoryview(untrusted_payload)
        at = 0
        values = []
        for _, layout in kind.LAYOUT:
            value, at = layout.decode(view, at)
            values.append(value)
        if at != len(view):
            raise WireError(f"{len(view) - at} bytes too many after message {untrusted_tag}")
        return kind(*values)
