"""Contracts for the tests: those that Bento brings along, and one for each thing that can be declared."""

from pathlib import Path

import bento.host.contract
from bento.host.contract.grammar import parse
from bento.host.contract.language import Contract

SHIPPED = Path(bento.host.contract.__file__).parent / "shipped"

MADE = {
    "a dialogue": b"""
stderr at most 10
message ask
    u8    kind  is 1
    u16be size  is 4..260
    bytes text  size - 4 of ascii
message bye
    u8 kind is 2..3 9
message answer
    line text at most 40 of [a-z0-9]
state asking caller
    caller says ask -> answering
    caller says bye -> over
state answering server
    server says answer -> asking
    exit 1..3 200
state over server
    exit 0
""",
    "bodies to the end": b"""
stderr unbounded
message head
    u64be size
message body
    u32be code is 7
    rest  body at most 3000 of text
message back
    rest  body unbounded
state start caller
    caller says head -> more at most 1
state more caller
    caller says body -> telling
state telling server
    server says back -> over
    exit 9
state over server
    exit 0..255
""",
    "bounded loops": b"""
message part
    u8    size is 0..9
    bytes data size in all at most 20
message pad
    bytes zeros 3 of [0]
state parts caller
    caller says part -> parts at most 4
    caller ends -> padding
state padding server
    server says pad -> padding at most 2
    exit 0
""",
    "both at once, and one of them leaves": b"""
message tick
    u16le one is 1 3 5..6
message tock
    u16be two
message stop
    u16be two is 0
    u8    why
message go
    u16be two is 1..65535
state both-talk both
    caller says tick -> both-talk unbounded
    server says stop -> over
    server says go -> both-talk at most 50
    caller ends -> both-talk
    exit 3
state over server
    caller unheard
    server says tock -> gone
    exit 0
state gone server
    caller unheard
    exit 1
""",
}

CONTRACTS: dict[str, Contract] = {
    **{path.stem: parse(path.name, path.read_bytes()) for path in sorted(SHIPPED.glob("*.contract"))},
    **{name: parse(name, text) for name, text in MADE.items()},
}
