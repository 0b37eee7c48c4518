"""A hostile guest that frames and seals well: the same as `guest_channel`, but every input reaches the messages.

An input is read as one message after the other: its tag, two bytes of length,
and as much payload as there is.
"""

from collections.abc import Hashable, Iterator

from bento.wire.rpc import FROM_GUEST
from tests.fuzz.engine import Target, main
from tests.fuzz.guest_channel import MESSAGES, Host


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        length = int.from_bytes(data[1:3], "big")
        yield data[0], data[3 : 3 + length]
        data = data[3 + length :]


def check(data: bytes) -> Hashable:
    host = Host()
    outcome = []
    for tag, payload in messages(data):
        message = FROM_GUEST.decode(tag, payload)
        assert b"".join(message.parts()) == payload, "two payloads mean the same"
        outcome.append(host.hear(message))
    return tuple(outcome[:8])


def encoded(tag: int, payload: bytes) -> bytes:
    return bytes((tag,)) + len(payload).to_bytes(2, "big") + payload


WORDS = tuple(encoded(message.TAG, b"".join(message.parts())) for message in MESSAGES)
TARGET = Target(check, seeds=(b"".join(WORDS), *WORDS[:3]), words=WORDS)

if __name__ == "__main__":
    main("tests.fuzz.guest_messages", TARGET)
