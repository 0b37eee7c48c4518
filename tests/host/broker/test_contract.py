"""Calls with a contract, through a real broker: what it allows passes whole; who breaks it ends that call only."""

import stat
from collections.abc import Iterator
from hashlib import sha256

import pytest

from bento.host.contract.table import make
from bento.wire.calls import GRANT_AT
from bento.wire.control import Blame, Over
from bento.wire.filecopy import END, Result, Times, encode_entry, encode_result
from bento.wire.rpc import Data, Drop, Eof, Exit, Serve, Window
from tests.host.broker.agent import pattern
from tests.host.broker.house import Domain, Guest, Leg, Nursery, domain
from tests.host.contract.examples import SHIPPED

NEVER = Times(0, 0)
FILE = encode_entry(b"name", stat.S_IFREG | 0o644, 5, NEVER) + b"hello"
DEVICE = encode_entry(b"name", stat.S_IFBLK | 0o644, 0, NEVER)
WELL = encode_result(Result(0, 1, b"name"))
FULL = encode_result(Result(28, 1, b"name"))


def contract_of(service: str) -> bytes:
    path = SHIPPED / f"{service}.contract"
    return make(path.name, path.read_bytes())


FILECOPY = contract_of("qubes.Filecopy")


@pytest.fixture
def work(nursery: Nursery) -> Iterator[Domain]:
    with domain(nursery) as made:
        yield made


@pytest.fixture
def guest(work: Domain) -> Guest:
    return work.begin()


def begin(work: Domain, guest: Guest, *, token: int = 1, contract: bytes = FILECOPY, source: str = "random") -> Leg:
    leg = work.open("qubes.Filecopy", token=token, contract=contract, source=source)
    guest.expect(Serve)
    return leg


def stdin(guest: Guest, size: int) -> bytes:
    """That much of what the caller said, as the guest hears it."""
    heard = b""
    while len(heard) < size:
        heard += guest.expect(Data).payload
    return heard


@pytest.mark.parametrize("source", ["random", "dom0"])
def test_a_call_that_keeps_its_contract_is_like_any_other(work: Domain, guest: Guest, source: str) -> None:
    leg = begin(work, guest, source=source)
    leg.write(FILE + FILE + END)
    leg.eof()
    assert stdin(guest, len(FILE + FILE + END)) == FILE + FILE + END
    assert guest.hear() == Eof(0, 0)
    guest.say(Data(0, 2, b"careful"), Data(0, 1, WELL), Eof(0, 1), Eof(0, 2), Exit(0, 0))
    assert leg.outcome() == (WELL, b"careful", 0)
    assert work.hear() == Over(1, Blame.NOBODY, "")


def test_a_caller_that_breaks_the_contract_is_cut_and_named(work: Domain, guest: Guest) -> None:
    leg, other = begin(work, guest), begin(work, guest, token=2)
    leg.write(FILE)
    assert stdin(guest, len(FILE)) == FILE
    leg.write(DEVICE)
    assert guest.hear() == Drop(0)  # and nothing of what it may not say before that
    assert leg.outcome() == (b"", b"", 125)
    sentence = (
        "contract broken: in state copying the caller said 24996 for mode of file or directory or link,"
        " which is not allowed there"
    )
    assert work.hear() == Over(1, Blame.CALLER, sentence)
    other.write(FILE)
    assert stdin(guest, len(FILE)) == FILE


def test_a_caller_that_ends_in_the_middle_of_a_file_is_cut(work: Domain, guest: Guest) -> None:
    leg = begin(work, guest)
    leg.write(FILE[:-1])
    leg.eof()
    stdin(guest, len(FILE) - 1)
    assert guest.hear() == Drop(0)
    assert leg.outcome() == (b"", b"", 125)
    sentence = "contract broken: in state copying the caller ended where there should be content of file"
    assert work.hear() == Over(1, Blame.CALLER, sentence)


def test_a_server_that_breaks_the_contract_is_cut_and_named(work: Domain, guest: Guest) -> None:
    leg, other = begin(work, guest), begin(work, guest, token=2)
    leg.write(FILE + END)
    stdin(guest, len(FILE + END))
    guest.say(Data(0, 1, WELL[:8]), Data(0, 1, WELL[8:]), Data(0, 1, b"more"))
    assert guest.hear() == Drop(0)
    assert leg.outcome() == (WELL, b"", 125)
    assert work.hear() == Over(1, Blame.SERVER, "contract broken: in state over the server spoke out of turn")
    guest.say(Data(0, 1, b"late, and ignored"), Exit(0, 0))
    guest.say(Data(2, 1, FULL), Exit(2, 1))
    assert other.outcome() == (FULL, b"", 1)


@pytest.mark.parametrize(("code", "how"), [(0, "exited with 0, which is not for this state"), (1, "")])
def test_a_server_may_exit_only_as_its_state_allows(work: Domain, guest: Guest, code: int, how: str) -> None:
    leg = begin(work, guest)
    guest.say(Exit(0, code))
    assert leg.outcome() == (b"", b"", 125 if how else code)
    blame = Over(1, Blame.SERVER, f"contract broken: in state copying the server {how}")
    assert work.hear() == (blame if how else Over(1, Blame.NOBODY, ""))


def test_a_server_that_writes_too_much_to_stderr_is_cut(work: Domain, guest: Guest) -> None:
    leg = begin(work, guest)
    guest.say(Data(0, 2, bytes(1 << 16)), Data(0, 2, b"!"))
    assert guest.hear() in (Drop(0), Window(0, 2, 1 << 16))
    assert leg.outcome() == (b"", bytes(1 << 16), 125)
    assert work.hear() == Over(
        1, Blame.SERVER, "contract broken: in state copying the server wrote more to stderr than is allowed"
    )


def test_what_a_caller_says_after_it_was_interrupted_goes_nowhere(work: Domain, guest: Guest) -> None:
    leg = begin(work, guest)
    leg.write(FILE[:-1])
    stdin(guest, len(FILE) - 1)
    guest.say(Data(0, 1, FULL))
    assert leg.hear() == Data(0, 1, FULL)
    leg.write(DEVICE)  # that would be a breach, if anybody listened
    leg.eof()
    assert guest.hear() == Eof(0, 0)
    guest.say(Exit(0, 1))
    assert leg.outcome() == (b"", b"", 1)


DIGEST = b"""
message body
    rest all unbounded
message digest
    bytes hex 64 of [0-9a-f]
state sending caller
    caller says body -> told
state told server
    server says digest -> over
state over server
    exit 0
"""


def test_a_large_body_passes_as_fast_as_the_windows_allow(nursery: Nursery) -> None:
    size = 20_000_000
    with domain(nursery, agent=True) as work:
        leg = work.open("test.Sink", token=1, contract=make("digest", DIGEST))
        leg.write(pattern(size))
        leg.eof()
        assert leg.outcome() == (sha256(pattern(size)).hexdigest().encode(), b"", 0)
        assert work.hear() == Over(1, Blame.NOBODY, "")


CANCELLED = b"""
message line
    line text at most 100
message blob
    bytes data 1
state talking both
    caller says line -> over
    server says blob -> talking unbounded
    exit 0
state over server
    server unheard
    exit 0
"""


def test_what_a_server_says_that_nobody_hears_any_more_is_granted_anew(work: Domain, guest: Guest) -> None:
    leg = begin(work, guest, contract=make("cancelled", CANCELLED))
    guest.say(Data(0, 1, b"blob"))
    assert leg.hear() == Data(0, 1, b"blob")
    leg.write(b"enough\n")
    assert stdin(guest, 7) == b"enough\n"
    guest.say(Data(0, 1, bytes(GRANT_AT)), Exit(0, 0))
    assert guest.hear() == Window(0, 1, GRANT_AT + 4)
    assert leg.outcome() == (b"", b"", 0)
