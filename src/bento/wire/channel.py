"""Getting in step on the guest channel, again and again.

The channel is a virtio-serial port: a byte stream whose ends outlive the
processes at them. A broker may be killed in the middle of a frame and its
successor meets an agent that still waits for the rest; an agent may be
restarted and meets a broker that talks to its predecessor. So every broker
begins with a greeting that any reader finds, in whatever state it is:

    host:  PADDING | PADDING | GREETING | version u16 | nonce (16)
    guest: ANSWER | nonce

PADDING is zeros, longer than any frame. The first completes whatever frame was
under way, and completes it wrongly: zeros are never a seal. The reader then
hunts for the greeting. The host hunts for the answer, which nobody who has not
read the greeting can have sent. The first bytes of the nonce are the seal of
all later frames in both directions.

A guest that hunts may meet anything on its way: its predecessor's frames, which
carry other domains' data. So that nothing a domain wrote can pose as a greeting
(and what follows it as the host's own words), a greeting counts only behind a
whole PADDING, which is what the second one is for: a frame ends with a seal and
a seal is never all zeros, so no run of zeros in frames is as long.

Nobody was there before the first broker of a machine and the first agent in it:
between these two the padding is left out, and the greeting is the first that comes.
"""

from bento.wire.errors import WireError
from bento.wire.frames import HEADER, MAX_PAYLOAD

VERSION = 1
NONCE_SIZE = 16
SEAL_SIZE = 4
PADDING = bytes(HEADER + MAX_PAYLOAD + SEAL_SIZE)
"""Also what an agent sends to have a host notice that the two are out of step."""

GREETING = b"\x00\xffBENTO?\r\n"
ANSWER = b"\x00\xffBENTO!\r\n"

MAX_STALE = 4 << 20
"""Bytes that a host throws away while it waits for an answer: what the guest's kernel and QEMU can hold, with room."""


def seal_of(nonce: bytes) -> bytes:
    """The seal of a connection; never all zeros, which is what padding looks like."""
    return nonce[:3] + bytes((nonce[3] | 1,))


def greeting(nonce: bytes, *, first: bool = False) -> bytes:
    """`first`: no broker has spoken to this machine before."""
    words = GREETING + VERSION.to_bytes(2, "big") + nonce
    return words if first else PADDING + PADDING + words


def answer(nonce: bytes) -> bytes:
    return ANSWER + nonce


class AnswerHunter:
    """The host's side: throw bytes away until the guest's answer to this greeting."""

    def __init__(self, nonce: bytes) -> None:
        self._wanted = answer(nonce)
        self._pending = b""
        self._thrown = 0

    def feed(self, untrusted: bytes) -> bytes | None:
        """What follows the answer, or None while there is none; `WireError` after `MAX_STALE` bytes of noise."""
        untrusted = self._pending + untrusted
        at = untrusted.find(self._wanted)
        if at >= 0:
            return untrusted[at + len(self._wanted) :]
        self._pending = untrusted[-len(self._wanted) + 1 :]
        self._thrown += len(untrusted) - len(self._pending)
        if self._thrown > MAX_STALE:
            raise WireError(f"no answer to the greeting within {MAX_STALE} bytes")
        return None
