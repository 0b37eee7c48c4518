"""Bytes in, (tag, payload) out, bounded. The layer under every message.

    frame := tag u8 | length u32 big-endian | payload (length bytes) | seal

The seal is empty but on the guest channel, where it is a number chosen anew
for each connection (`channel.py` says why). A reader holds at most one frame
and what one read gave it; a length above the limit is refused when its header
is read, before any of it is kept.
"""

from collections.abc import Iterator

from bento.wire.errors import WireError
from bento.wire.layout import Message

HEADER = 5
MAX_PAYLOAD = (1 << 16) + 1024
"""Largest payload of any frame, in bytes: 64 KiB of data, or a call's service and argument, and the numbers beside."""


def encode_frame(message: Message, seal: bytes = b"") -> bytes:
    parts = message.parts()
    length = sum(map(len, parts))
    if length > MAX_PAYLOAD:
        raise WireError(f"a message of {length} bytes does not fit a frame; send at most {MAX_PAYLOAD}")
    return b"".join((bytes((message.TAG,)), length.to_bytes(4, "big"), *parts, seal))


class OutOfStep(WireError):
    """The bytes are not frames of this connection: one of the two sides was replaced (or lies)."""


class FrameReader:
    """Cuts a byte stream into frames. Feed it, then iterate; after a `WireError` it must not be used again."""

    def __init__(self, *, seal: bytes = b"", limit: int = MAX_PAYLOAD) -> None:
        self._seal = seal
        self._limit = limit
        self._pending = bytearray()

    @property
    def pending(self) -> int:
        """Bytes of an unfinished frame."""
        return len(self._pending)

    def feed(self, untrusted: bytes) -> Iterator[tuple[int, bytes]]:
        """The frames that `untrusted` completes. Take them all before feeding more."""
        pending = self._pending
        pending += untrusted
        at = 0
        try:
            while len(pending) - at >= HEADER:
                length = int.from_bytes(pending[at + 1 : at + HEADER], "big")
                if length > self._limit:
                    raise WireError(f"frame of {length} bytes where {self._limit} are allowed")
                end = at + HEADER + length
                if len(pending) < end + len(self._seal):
                    break
                if pending[end : end + len(self._seal)] != self._seal:
                    raise OutOfStep("frame without its seal: the two sides are out of step")
                frame = pending[at], bytes(memoryview(pending)[at + HEADER : end])
                at = end + len(self._seal)
                yield frame
        finally:
            del pending[:at]
