"""The guest's side of getting in step on its channel: looking for the host's greeting. `channel.py` says why and how.

Apart from it because no broker needs it, and what a broker does not need is not to be audited with it.
"""

from bento.wire.channel import GREETING, NONCE_SIZE, PADDING


class GreetingHunter:
    """The guest's side: throw bytes away until a greeting."""

    def __init__(self, *, first: bool = False) -> None:
        """`first`: no agent has listened in this machine before, so that what comes first is the host's."""
        self._pending = b""
        # Thrown away just before what is pending. Before the first byte there is no frame that could be under way.
        self._zeros = len(PADDING) if first else 0

    def feed(self, untrusted: bytes) -> tuple[int, bytes, bytes] | None:
        """(host's version, nonce, what follows), or None while there is no whole greeting behind a whole padding."""
        untrusted = self._pending + untrusted
        start = 0
        while (at := untrusted.find(GREETING, start)) >= 0:
            self._throw(untrusted[start:at])
            body = at + len(GREETING)
            if self._zeros >= len(PADDING):
                return self._take(untrusted, at, body)
            self._throw(GREETING)
            start = body
        # The last bytes may be the beginning of a greeting.
        keep = max(start, len(untrusted) - len(GREETING) + 1)
        self._throw(untrusted[start:keep])
        self._pending = untrusted[keep:]
        return None

    def _take(self, data: bytes, at: int, body: int) -> tuple[int, bytes, bytes] | None:
        end = body + 2 + NONCE_SIZE
        if len(data) < end:
            self._pending = data[at:]
            return None
        return int.from_bytes(data[body : body + 2], "big"), data[body + 2 : end], data[end:]

    def _throw(self, untrusted: bytes) -> None:
        others = len(untrusted.rstrip(b"\0"))
        self._zeros = len(untrusted) - others + (0 if others else self._zeros)
