"""What goes to an ssh-agent of another domain: a list of its keys, and signatures by them. Nothing else is passed on.

    message := length u32 | kind u8 | contents          (numbers are big-endian; length counts kind and contents)
    list    := kind 11, no contents
    sign    := kind 13 | key string | data string | flags u32
    string  := length u32 | bytes

All that changes an agent (adding, removing, locking, binding) is `Other`, which is answered by `FAILURE` and never gets
to it. Source: draft-miller-ssh-agent; the longest message is OpenSSH's.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from bento.wire.errors import WireError

MAX_MESSAGE = 256 << 10
"""Bytes of a message's kind and contents."""

FAILURE_KIND = 5
LIST_KIND = 11
SIGN_KIND = 13

FAILURE = b"\0\0\0\1" + bytes((FAILURE_KIND,))
"""An agent's answer to what it does not do."""

MAX_FLAGS = 7
"""All that are known: an old kind of signature, and two of the SHA-2 kinds for RSA."""


@dataclass(frozen=True, slots=True)
class List:
    """Which keys are there?"""


@dataclass(frozen=True, slots=True)
class Sign:
    key: bytes
    data: bytes
    flags: int


@dataclass(frozen=True, slots=True)
class Other:
    kind: int


class MessageReader:
    """Bytes in, messages out, in either direction. After a `WireError` it must not be fed again."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, untrusted: bytes) -> Iterator[bytes]:
        """The messages that `untrusted` completes, without their lengths. Take them all before feeding more."""
        pending = self._pending
        pending += untrusted
        at = 0
        try:
            while len(pending) - at >= 4:
                length = int.from_bytes(pending[at : at + 4], "big")
                if not 0 < length <= MAX_MESSAGE:
                    raise WireError(f"a message of {length} bytes to an ssh-agent, 1 to {MAX_MESSAGE} are allowed")
                if len(pending) < at + 4 + length:
                    break
                message = bytes(memoryview(pending)[at + 4 : at + 4 + length])
                at += 4 + length
                yield message
        finally:
            del pending[:at]


def decode_request(untrusted: bytes) -> List | Sign | Other:
    """Of a message that is not empty; `WireError` if it is not what its kind says."""
    kind = untrusted[0]
    if kind == SIGN_KIND:
        return _sign(untrusted)
    if kind != LIST_KIND:
        return Other(kind)
    if len(untrusted) > 1:
        raise WireError(f"{len(untrusted) - 1} bytes after a request that has no contents")
    return List()


def encode_request(request: List | Sign) -> bytes:
    if isinstance(request, List):
        return encode_message(bytes((LIST_KIND,)))
    flags = request.flags.to_bytes(4, "big")
    # A string is laid out as a message is.
    return encode_message(bytes((SIGN_KIND,)) + encode_message(request.key) + encode_message(request.data) + flags)


def encode_message(message: bytes) -> bytes:
    return len(message).to_bytes(4, "big") + message


def _sign(untrusted: bytes) -> Sign:
    key, at = _read_string(untrusted, 1)
    data, at = _read_string(untrusted, at)
    if len(untrusted) != at + 4:
        raise WireError("a request to sign ends where it should not")
    flags = int.from_bytes(untrusted[at:], "big")
    if flags > MAX_FLAGS:
        raise WireError(f"a request to sign with unknown flags {flags}")
    return Sign(key, data, flags)


def _read_string(untrusted: bytes, at: int) -> tuple[bytes, int]:
    start = at + 4
    end = start + int.from_bytes(untrusted[at:start], "big")
    if start > len(untrusted) or end > len(untrusted):
        raise WireError("a request to sign ends inside a string")
    return untrusted[start:end], end
