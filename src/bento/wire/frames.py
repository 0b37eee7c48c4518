"""Bytes in, (tag, payload) out, bounded. The layer under every message.

    frame := tag u8 | length u32 big-endian | payload (length bytes) | seal

The seal is empty but on the guest channel, where it is a number chosen anew
for each connection (`channel.py` says why). A reader holds at most one frame
and what one read gave it; a length above the limit is refused when its header
is read, before any of it is kept.
"""

from struct import Struct

from bento.wire.errors import WireError

TYPE_CHECKING = False
if TYPE_CHECKING:  # a command that only reads frames need not wait until these are loaded
    from collections.abc import Iterator

    from bento.wire.layout import Bytes, Message

_HEAD = Struct(">BI")
HEADER = _HEAD.size
SMALL = 1 << 12
"""Bytes of payload that are sooner copied than written as a piece of their own."""
MAX_PAYLOAD = (1 << 18) + 1024
"""Largest payload of any frame, in bytes: 256 KiB of data, or a call's service and argument, and the numbers beside."""


def encode_frame(message: "Message", seal: bytes = b"") -> bytes:
    return b"".join(frame_pieces(message, seal))


def frame_pieces(message: "Message", seal: bytes = b"") -> tuple["Bytes", ...]:
    """The frame in pieces to be written one after the other: what is large in it is not copied."""
    parts = message.parts()
    length = sum(map(len, parts))
    if length > MAX_PAYLOAD:
        raise WireError(f"a message of {length} bytes does not fit a frame; send at most {MAX_PAYLOAD}")
    head = _HEAD.pack(message.TAG, length)
    if length <= SMALL:
        return (b"".join((head, *parts, seal)),)
    return b"".join((head, *parts[:-1])), parts[-1], seal


class OutOfStep(WireError):
    """The bytes are not frames of this connection: one of the two sides was replaced (or lies)."""


class FrameReader:
    """Cuts a byte stream into frames. Feed it, then iterate; after a `WireError` it must not be used again."""

    def __init__(self, *, seal: bytes = b"", limit: int = MAX_PAYLOAD) -> None:
        self._seal = seal
        self._limit = limit
        self.pending = bytearray()
        """Of an unfinished frame."""

    def feed(self, untrusted: bytes | bytearray) -> "Iterator[tuple[int, memoryview]]":
        """The frames that `untrusted` completes. Take them all before feeding more.

        Payloads are views, which keep all of `untrusted` in memory. Only a frame that comes in pieces is copied.
        """
        view = memoryview(untrusted)
        try:
            while self.pending and view:
                missing = self._size(self.pending) - len(self.pending)
                self.pending += view[:missing]
                view = view[missing:]
                if len(self.pending) == self._size(self.pending):
                    frame, self.pending = self.pending, bytearray()
                    yield from self.feed(frame)
            while len(view) >= HEADER and len(view) >= (size := self._size(view)):
                end = size - len(self._seal)
                if view[end:size] != self._seal:
                    raise OutOfStep("frame without its seal: the two sides are out of step")
                payload, tag, view = view[HEADER:end], view[0], view[size:]
                yield tag, payload
        finally:
            self.pending += view

    def _size(self, untrusted: "memoryview | bytearray") -> int:
        """Of the frame that begins there, all in all, as far as that can be told already."""
        if len(untrusted) < HEADER:
            return HEADER
        length: int = _HEAD.unpack_from(untrusted)[1]
        if length > self._limit:
            raise WireError(f"frame of {length} bytes where {self._limit} are allowed")
        return HEADER + length + len(self._seal)
