"""Hostile guests, each a named case: its own broker ends with a sentence that says why, and its neighbours go on."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from bento.wire.channel import MAX_STALE, PADDING, answer, seal_of
from bento.wire.control import Asked, Deny, Ending, Withdrawn
from bento.wire.frames import MAX_PAYLOAD, encode_frame
from bento.wire.names import DomainName, ServiceArgument, ServiceName, TargetName
from bento.wire.rpc import (
    MAX_CALLS,
    WINDOW,
    Accepted,
    Ask,
    Data,
    Drop,
    Eof,
    Exit,
    Identity,
    Ready,
    Serve,
    Shutdown,
    Window,
)
from tests.host.broker.house import Domain, Gone, Guest, Leg, Nursery, domain, open_message

VIOLATION, OUT_OF_STEP = Ending.VIOLATION, Ending.OUT_OF_STEP

Case = tuple[Callable[[Guest], None], Ending, str]


def ask(call: int) -> Ask:
    return Ask(call, ServiceName("test.Ask"), ServiceArgument(""), TargetName(""))


def serve(call: int) -> Serve:
    of = open_message("test.Echo")
    return Serve(call, of.service, of.argument, of.source, of.target, "", 0, 0)


def unsealed(guest: Guest) -> None:
    guest.sock.sendall(encode_frame(ask(1), b"\1\2\3\4"))


# Each guest is up, and serves call 0.
CASES: dict[str, Case] = {
    "garbage": (
        lambda guest: guest.sock.sendall(b"\xff" * 1000),
        VIOLATION,
        f"frame of 4294967295 bytes where {MAX_PAYLOAD} are allowed",
    ),
    "zeros": (
        lambda guest: guest.sock.sendall(PADDING),
        OUT_OF_STEP,
        "frame without its seal: the two sides are out of step",
    ),
    "oversize frame": (
        lambda guest: guest.sock.sendall(b"\7" + (MAX_PAYLOAD + 1).to_bytes(4, "big")),
        VIOLATION,
        f"frame of {MAX_PAYLOAD + 1} bytes where {MAX_PAYLOAD} are allowed",
    ),
    "frame without its seal": (unsealed, OUT_OF_STEP, "frame without its seal: the two sides are out of step"),
    "ready twice": (lambda guest: guest.say(Ready(1)), VIOLATION, "Ready came twice"),
    "a call served by the host": (
        lambda guest: guest.say(serve(1)),
        VIOLATION,
        "message 3 does not exist or does not come from this side",
    ),
    "an identity for the host": (
        lambda guest: guest.say(Identity(DomainName("dom0"), "AdminVM", bytes(32), 0)),
        VIOLATION,
        "message 1 does not exist or does not come from this side",
    ),
    "a shutdown of the host": (
        lambda guest: guest.say(Shutdown()),
        VIOLATION,
        "message 13 does not exist or does not come from this side",
    ),
    "a call accepted by itself": (
        lambda guest: guest.say(ask(1), Accepted(1)),
        VIOLATION,
        "message 5 does not exist or does not come from this side",
    ),
    "an unknown message": (
        lambda guest: guest.sock.sendall(b"\x63\0\0\0\0" + guest.seal),
        VIOLATION,
        "message 99 does not exist or does not come from this side",
    ),
    "a message cut short": (
        lambda guest: guest.sock.sendall(b"\x09\0\0\0\2\0\0" + guest.seal),
        VIOLATION,
        "message ends inside a number",
    ),
    "a name that is none": (
        lambda guest: guest.say(Ask(1, ServiceName("../../bin/sh"), ServiceArgument(""), TargetName(""))),
        VIOLATION,
        "'../../bin/sh' is not a service name (at most 255 letters, digits, or any of _ . -)",
    ),
    "data beyond the window": (
        # Beyond what its caller's socket holds, too, which the broker grants anew.
        lambda guest: guest.say(*[Data(0, 1, bytes(1 << 16))] * (4 * WINDOW >> 16)),
        VIOLATION,
        "data beyond the window of stream 1",
    ),
    "data after its end": (
        lambda guest: guest.say(Eof(0, 1), Data(0, 1, b"!")),
        VIOLATION,
        "Data after the end of stream 1",
    ),
    "an end of a stream twice": (
        lambda guest: guest.say(Eof(0, 1), Eof(0, 1)),
        VIOLATION,
        "Eof after the end of stream 1",
    ),
    "stdin from a server": (
        lambda guest: guest.say(Data(0, 0, b"!")),
        VIOLATION,
        "Data may not come from the server of a call",
    ),
    "data before the call is accepted": (
        lambda guest: guest.say(ask(1), Data(1, 0, b"!")),
        VIOLATION,
        "Data may not come from the caller of a call",
    ),
    "an exit code from a caller": (
        lambda guest: guest.say(ask(1), Exit(1, 0)),
        VIOLATION,
        "Exit may not come from the caller of a call",
    ),
    "a larger window than agreed": (
        lambda guest: guest.say(Window(0, 0, 1)),
        VIOLATION,
        "window of stream 0 is larger than agreed",
    ),
    "an unknown call": (lambda guest: guest.say(Exit(2, 0)), VIOLATION, "call 2 was never begun"),
    "an unknown call of its own": (lambda guest: guest.say(Drop(1)), VIOLATION, "call 1 was never begun"),
    "a call with a number of the host's": (
        lambda guest: guest.say(ask(2)),
        VIOLATION,
        "call 2 has a number that is not the next of its side",
    ),
    "a number used again": (
        lambda guest: guest.say(ask(1), Drop(1), ask(1)),
        VIOLATION,
        "call 1 has a number that is not the next of its side",
    ),
    "a 257th call": (
        lambda guest: guest.say(*map(ask, range(1, 2 * MAX_CALLS + 2, 2))),
        VIOLATION,
        "more than 256 calls at once",
    ),
}


class Bystander:
    """Another domain of the same nursery, with a call open all the time."""

    def __init__(self, work: Domain) -> None:
        self._work = work
        self._leg = work.open("test.Echo")

    def goes_on(self) -> None:
        sent = os.urandom(1000)
        self._leg.write(sent)
        heard = b""
        while len(heard) < len(sent):
            data = self._leg.expect(Data)
            heard += data.payload
        assert heard == sent
        assert self._work.open("test.Exit", "7").outcome() == (b"", b"", 7)


@pytest.fixture(scope="module")
def bystander(nursery: Nursery) -> Iterator[Bystander]:
    with domain(nursery, "bystander", agent=True) as work:
        yield Bystander(work)


@pytest.fixture
def hostile(nursery: Nursery, bystander: Bystander) -> Iterator[Domain]:
    with domain(nursery, "hostile") as made:
        yield made
    bystander.goes_on()


@pytest.mark.parametrize("case", CASES)
def test_a_guest_that_breaks_the_protocol_ends_its_own_broker(hostile: Domain, bystander: Bystander, case: str) -> None:
    misbehave, ending, sentence = CASES[case]
    guest = hostile.begin()
    leg = hostile.open("test.Echo")
    guest.hear()
    with suppress(BrokenPipeError, ConnectionResetError):  # it may be cut off before it has said all
        misbehave(guest)
    bystander.goes_on()
    assert leg.outcome()[2] == 125
    ended = hostile.end()
    assert (ended.ending, ended.sentence) == (ending, sentence)


@pytest.mark.parametrize("message", [ask(1), Window(0, 0, 1), Exit(0, 0), Drop(0), Data(0, 1, b"!"), Eof(0, 1)])
def test_nothing_may_come_before_ready(hostile: Domain, message: Ask | Exit) -> None:
    hostile.tell(hostile.begin_message())
    leg = hostile.open("test.Echo")
    hostile.guest.greet()
    hostile.guest.say(message)
    assert hostile.end().sentence == f"{type(message).__name__} came before Ready"
    assert leg.outcome()[2] == 125


def test_a_guest_that_never_answers_the_greeting_and_makes_noise(hostile: Domain) -> None:
    hostile.tell(hostile.begin_message())
    noise = os.urandom(2 * MAX_STALE)
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        hostile.guest.sock.sendall(noise)
    assert hostile.end().sentence == f"no answer to the greeting within {MAX_STALE} bytes"


def test_a_guest_that_answers_another_greeting_is_not_heard(hostile: Domain) -> None:
    hostile.tell(hostile.begin_message())
    hostile.guest.hunt()
    hostile.guest.sock.sendall(answer(bytes(16)) + encode_frame(Ready(1), seal_of(bytes(16))))
    assert not hostile.says_now(hostile.guest)


def test_a_message_for_a_call_that_is_over_is_ignored(hostile: Domain) -> None:
    guest = hostile.begin()
    leg = hostile.open("test.Echo")
    guest.hear()
    guest.say(Exit(0, 7), Exit(0, 8), Data(0, 1, b"!"), Drop(0), Window(0, 0, 1), ask(1))
    assert leg.outcome() == (b"", b"", 7)
    hostile.expect(Asked)


def test_half_a_frame_without_end_costs_nobody_anything(hostile: Domain, bystander: Bystander) -> None:
    guest = hostile.begin()
    leg = hostile.open("test.Echo")
    guest.hear()
    guest.sock.sendall(b"\7" + (1 << 16).to_bytes(4, "big"))
    leg.write(b"still carried")
    assert guest.hear() == Data(0, 0, b"still carried")
    guest.sock.sendall(bytes(60_000))
    bystander.goes_on()
    assert not hostile.says_now(guest)
    guest.sock.close()
    assert hostile.end().ending == Ending.CLOSED


def test_a_flood_of_asks_and_second_thoughts(hostile: Domain, bystander: Bystander) -> None:
    guest = hostile.begin()
    for call in range(1, 20_001, 200):
        guest.say(*[message for at in range(call, call + 200, 2) for message in (ask(at), Drop(at))])
    while not guest.is_heard():
        bystander.goes_on()
    for _ in range(MAX_CALLS):
        hostile.expect(Asked)
        hostile.expect(Withdrawn)
    assert not hostile.says_now(guest)


def test_a_guest_that_makes_us_answer_and_does_not_read_is_not_listened_to(
    hostile: Domain, bystander: Bystander
) -> None:
    guest = hostile.begin()
    legs = [hostile.open("test.Long", "a" * 65_000) for _ in range(100)]  # 6 MB to the guest, which reads nothing
    guest.say(ask(1))
    hostile.settle()
    assert not guest.is_heard()
    bystander.goes_on()
    for call in range(0, 200, 2):
        heard = guest.expect(Serve)
        assert heard.call == call
    hostile.expect(Asked)
    hostile.tell(Deny(1, 126))
    for leg in legs:
        leg.close()


def test_a_guest_that_does_not_read_does_not_make_the_broker_read_for_it(hostile: Domain, bystander: Bystander) -> None:
    guest = hostile.begin()
    legs = [hostile.open("test.Never") for _ in range(32)]
    for _ in legs:
        guest.hear()
    before = hostile.memory()
    for leg in legs:
        hostile.fill(leg)
    bystander.goes_on()
    assert hostile.memory() - before < 2 << 20  # the windows of all are 16 MiB


def test_data_in_single_bytes_cost_no_more_memory_than_all_at_once(hostile: Domain, bystander: Bystander) -> None:
    guest = hostile.begin()
    leg = hostile.open("test.Drip")
    guest.hear()
    guest.say(*[Data(0, 1, bytes(1 << 16))] * 3)  # more than the leg's socket holds: the rest waits in the broker
    hostile.settle()
    before = hostile.memory()
    crumbs = encode_frame(Data(0, 1, b"."), guest.seal) + encode_frame(Data(0, 2, b"!"), guest.seal)
    for _ in range(64):
        guest.sock.sendall(crumbs * 1000)
    while not guest.is_heard():
        bystander.goes_on()
    hostile.settle()
    assert hostile.memory() - before < 2 << 20  # 128 KB; as messages they would be 10 MB and more
    guest.say(Exit(0, 0))
    assert leg.outcome() == (bytes(3 << 16) + b"." * 64_000, b"!" * 64_000, 0)


def test_a_flood_on_the_console_does_not_hold_up_the_calls(hostile: Domain, bystander: Bystander) -> None:
    guest = hostile.begin()
    with hostile.flooded_console():
        for _ in range(20):
            leg = hostile.open("test.Echo")
            call = guest.expect(Serve)
            leg.write(b"question")
            assert guest.hear() == Data(call.call, 0, b"question")
            guest.say(Exit(call.call, 7))
            assert leg.outcome() == (b"", b"", 7)
            bystander.goes_on()


# The other end of a leg is another domain's broker, or a program of the person's: it ends its own call at worst.
LEG_CASES: dict[str, Callable[[Leg], None]] = {
    "garbage": lambda leg: leg.sock.sendall(b"\xff" * 1000),
    "an oversize frame": lambda leg: leg.sock.sendall(b"\7" + (MAX_PAYLOAD + 1).to_bytes(4, "big")),
    "an unknown message": lambda leg: leg.sock.sendall(b"\x63\0\0\0\0"),
    "another call": lambda leg: leg.say(Data(2, 0, b"!")),
    "stdout from a caller": lambda leg: leg.say(Data(0, 1, b"!")),
    "an exit code from a caller": lambda leg: leg.say(Exit(0, 0)),
    "a drop, which goes without saying": lambda leg: leg.say(Drop(0)),
    "a grant, which is the socket's": lambda leg: leg.say(Window(0, 1, 1)),
    "a call of its own": lambda leg: leg.say(ask(0)),
    "data after their end": lambda leg: leg.say(Eof(0, 0), Data(0, 0, b"!")),
    "an end twice": lambda leg: leg.say(Eof(0, 0), Eof(0, 0)),
    "its end": lambda leg: leg.close(),
}


@pytest.mark.parametrize("case", LEG_CASES)
def test_a_caller_that_misbehaves_ends_its_own_call(hostile: Domain, case: str) -> None:
    guest = hostile.begin()
    other, leg = hostile.open("test.Echo"), hostile.open("test.Echo")
    guest.hear()
    guest.hear()
    LEG_CASES[case](leg)
    while (heard := guest.hear()) != Drop(2):
        assert heard == Eof(2, 0)
    guest.say(Data(2, 1, b"too late"), Exit(0, 7))
    assert other.outcome() == (b"", b"", 7)
    if case != "its end":
        with pytest.raises(Gone):
            leg.hear()


@pytest.mark.parametrize("case", ["stdin from a server", "accepted", "garbage", "its end"])
def test_a_server_that_misbehaves_ends_its_own_call(hostile: Domain, case: str) -> None:
    guest = hostile.begin()
    guest.say(ask(1))
    hostile.hear()
    leg = hostile.connect(1)
    assert guest.hear() == Accepted(1)
    match case:
        case "stdin from a server":
            leg.say(Data(0, 0, b"!"))
        case "accepted":
            leg.say(Accepted(0))
        case "garbage":
            leg.sock.sendall(b"\xff" * 1000)
        case "its end":
            leg.close()
    assert guest.hear() == Drop(1)
