"""Names, targets and commands typed by a person or sent by a domain."""

from collections.abc import Hashable

from bento.wire.errors import WireError
from bento.wire.names import (
    DomainName,
    DomainUuid,
    FeatureName,
    LabelName,
    Name,
    ServiceArgument,
    ServiceName,
    Tag,
    TargetName,
    UserName,
)
from bento.wire.vmexec import decode_command, encode_command
from tests.fuzz.engine import Target, main

KINDS: tuple[type[Name], ...] = (
    DomainName,
    DomainUuid,
    FeatureName,
    LabelName,
    ServiceArgument,
    ServiceName,
    Tag,
    TargetName,
    UserName,
)
ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-+@:")


def check(data: bytes) -> Hashable:
    text = data.decode(errors="replace")
    named = tuple(kind.__name__ for kind in KINDS if kind.pattern.fullmatch(text))
    for kind in KINDS:
        if kind.__name__ in named:
            assert set(kind.parse(text)) <= ALPHABET
    words = len(command(text)) if "ServiceArgument" in named else -1
    if not named:
        TargetName.parse(text)
    return named, min(words, 20)


def command(text: str) -> list[bytes]:
    try:
        words = decode_command(text)
    except WireError as error:
        assert str(error).isprintable()
        return []
    assert decode_command(encode_command(words)) == words
    return words


TARGET = Target(
    check,
    seeds=(
        b"work",
        b"sys-net",
        b"@tag:a",
        b"@dispvm:@tag:a",
        b"uuid:00000000-0000-0000-0000-000000000001",
        b"qubes.Filecopy",
        b"user",
        b"ls+-2Fetc+--l",
    ),
    words=(b"-dm", b"none", b"@", b":", b"+", b"--", b"-2F", b"-00", b"\n", b"..", b"\xc3\xa9"),
)

if __name__ == "__main__":
    main("tests.fuzz.names", TARGET)
