"""A broker that its domain has taken over: packets to the manager, and the manager's to the broker."""

from collections.abc import Hashable

from bento.wire.control import (
    FROM_BROKER,
    FROM_MANAGER,
    Asked,
    Begin,
    Connect,
    Deny,
    Ended,
    Ending,
    Open,
    OpenConsole,
    Spawn,
    Spawned,
    Up,
    Withdrawn,
    decode_packet,
    encode_packet,
)
from bento.wire.layout import Message, Sender
from bento.wire.names import DomainName, ServiceArgument, ServiceName, TargetName
from tests.fuzz.engine import Target, main

WORK, SERVICE, ARGUMENT = DomainName("work"), ServiceName("qubes.VMExec"), ServiceArgument("ls+-2Fetc")
MESSAGES: tuple[Message, ...] = (
    Spawn(WORK),
    Spawned(4711),
    Begin(bytes(16), 0, WORK, "AppVM", bytes(32), 0),
    Up(1),
    Open(SERVICE, ARGUMENT, WORK, TargetName("@tag:a"), "user", 24, 80),
    Asked(1, SERVICE, ARGUMENT, TargetName("")),
    Connect(1),
    Deny(1, 126),
    OpenConsole(),
    Withdrawn(1),
    Ended(Ending.VIOLATION, "'x' is not a service name"),
)
TO_BROKER = frozenset(bytes((message.TAG,)) for message in MESSAGES if message.SENDER is Sender.HOST)


def check(data: bytes) -> Hashable:
    codec = FROM_MANAGER if data[:1] in TO_BROKER else FROM_BROKER
    message = decode_packet(codec, data)
    assert decode_packet(codec, encode_packet(message)) == message
    if isinstance(message, Ended):
        assert Ending(message.ending) in Ending
        assert message.sentence.isprintable()
        assert message.sentence.isascii()
    return type(message).__name__, tuple(map(bool, message.parts()))


SEEDS = tuple(map(encode_packet, MESSAGES))
TARGET = Target(check, SEEDS, words=(b"work", b"@tag:", b"../", b"\n", b"\xc3\xa9", b"\xed\xb0\x80"))

if __name__ == "__main__":
    main("tests.fuzz.control", TARGET)
