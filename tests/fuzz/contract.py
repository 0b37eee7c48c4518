"""Two hostile sides of a call with a contract: any bytes of theirs pass or are cut, the same however they come.

An input is the number of a contract, and then what the sides do, one after the other: a byte that says who (or that the
server exits), a length or exit code, and bytes. The seeds are conversations made from the declarations.
"""

import random
import re
from collections.abc import Callable, Hashable, Iterator

from bento.host.contract.table import encode
from bento.wire.contract import Broken, Follower
from bento.wire.rpc import Role
from tests.fuzz.engine import Target, main, pieces
from tests.host.contract.conversations import Ended, Event, Exited, Said, illegal, legal
from tests.host.contract.examples import CONTRACTS

NAMES = sorted(CONTRACTS)
TABLES = [encode(CONTRACTS[name]) for name in NAMES]
SIDES = {b"c": Role.CALLER, b"s": Role.SERVER}
EXIT = b"x"
NUMBER = re.compile(r"\d+")
ENDS = 0xFFFF
"""A length that means the end of the stream."""


def encode_script(contract: int, events: list[Event]) -> bytes:
    made = bytes((contract,))
    for event in events:
        match event:
            case Said(side, data):
                made += side.value[:1].encode() + len(data).to_bytes(2, "big") + data
            case Ended(side):
                made += side.value[:1].encode() + ENDS.to_bytes(2, "big")
            case Exited(code):
                made += EXIT + bytes((0, code))
    return made


def decode_script(data: bytes) -> Iterator[Event]:
    """Of any bytes: what makes no sense is over."""
    at = 1
    while at + 3 <= len(data):
        who, size = data[at : at + 1], int.from_bytes(data[at + 1 : at + 3], "big")
        at += 3
        if who == EXIT:
            yield Exited(size & 0xFF)
        elif side := SIDES.get(who):
            if size == ENDS:
                yield Ended(side)
            else:
                yield Said(side, data[at : at + size])
                at += size


def check(data: bytes) -> Hashable:
    table = TABLES[data[0] % len(TABLES)] if data else TABLES[0]
    verdicts = [follow(table, data, cut) for cut in (lambda whole: iter((whole,)), pieces, singly)]
    assert verdicts[0] == verdicts[1] == verdicts[2], "it depends on how the bytes come"
    passed, error = verdicts[0]
    return data[:1], len(passed), NUMBER.sub("N", error)


def singly(data: bytes) -> Iterator[bytes]:
    return (data[at : at + 1] for at in range(len(data)))


def follow(table: bytes, data: bytes, cut: Callable[[bytes], Iterator[bytes]]) -> tuple[tuple[int, ...], str]:
    """How many bytes of each whole event passed, and what the last one broke."""
    follower = Follower(table)
    passed: list[int] = []
    ended: set[Role] = set()
    try:
        for event in decode_script(data):
            match event:
                case Said(side, said) if side not in ended:
                    passed.append(sum(len(follower.say(side, piece)) for piece in cut(said)))
                case Ended(side) if side not in ended:
                    ended.add(side)
                    follower.end(side)
                case Exited(code):
                    follower.exit(code)
                    break
                case _:
                    pass  # the channel's own rules let nothing follow an end
    except Broken as error:
        assert str(error).isprintable()
        return tuple(passed), f"{error.blame.value}: {error}"
    return tuple(passed), ""


def conversations() -> Iterator[bytes]:
    for number, name in enumerate(NAMES):
        chance = random.Random(name)
        for _ in range(4):
            yield encode_script(number, legal(CONTRACTS[name], chance.randint))
            if bad := illegal(CONTRACTS[name], chance.randint):
                yield encode_script(number, [*bad.legal, *bad.last])


TARGET = Target(check, tuple(conversations()), (b"c\0\1", b"s\0\1", b"x\0\0", b"c\xff\xff", b"s\xff\xff"))

if __name__ == "__main__":
    main("tests.fuzz.contract", TARGET)
