"""Bytes through one broker and through two: order, content, ends, exit codes, and who waits for whom."""

import os
import signal
import socket
from collections.abc import Iterator
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bento.host.broker.waiting import MAX_WAITING
from bento.wire.calls import GRANT_AT
from bento.wire.control import Asked, Connect, Deny
from bento.wire.names import ServiceArgument, ServiceName, TargetName
from bento.wire.rpc import MAX_CALLS, WINDOW, Accepted, Ask, Data, Drop, Eof, Exit, Serve, Window
from tests.host.broker.agent import pattern
from tests.host.broker.house import Domain, Gone, Leg, Nursery, domain, open_message

Pair = tuple[Domain, Domain]


@pytest.fixture(scope="module")
def pair(nursery: Nursery) -> Iterator[Pair]:
    """Two domains with agents of their own; `random` calls, `work` serves."""
    with domain(nursery, "random", agent=True) as random, domain(nursery, "work", agent=True) as work:
        yield random, work


def call_through(random: Domain, work: Domain, service: str, argument: str = "") -> Leg:
    """A call into `random`, whose guest calls `service` of `work`: two brokers with a leg between them."""
    leg = random.open("test.Pass", f"{service}+{argument}")
    asked = random.expect(Asked)
    callers, servers = socket.socketpair()
    with callers, servers:
        random.tell(Connect(asked.token), callers.fileno())
        work.tell(open_message(asked.service, asked.argument), servers.fileno())
    return leg


def test_an_exit_code_comes_through(pair: Pair) -> None:
    random, work = pair
    for code in (0, 7, 255):
        assert call_through(random, work, "test.Exit", str(code)).outcome() == (b"", b"", code)


@settings(max_examples=30)
@given(chunks=st.lists(st.integers(0, 150_000), max_size=12), seed=st.integers(0, 250))
def test_bytes_come_through_in_order(pair: Pair, chunks: list[int], seed: int) -> None:
    sent = b""
    random, work = pair
    leg = call_through(random, work, "test.Echo")
    heard = bytearray()
    for size in chunks:
        chunk = pattern(size, seed + len(sent))
        leg.write(chunk)
        sent += chunk
        while len(sent) - len(heard) > WINDOW:
            data = leg.expect(Data)
            heard += data.payload
    leg.eof()
    rest, errors, code = leg.outcome()
    assert (bytes(heard + rest) == sent, errors, code) == (True, b"", 0)


def test_many_bytes_come_through_either_way(pair: Pair) -> None:
    size = 20_000_000
    random, work = pair
    assert call_through(random, work, "test.Source", str(size)).outcome() == (pattern(size), b"", 0)
    leg = call_through(random, work, "test.Sink")
    leg.write(pattern(size))
    leg.eof()  # half closed: the answer still comes
    assert leg.outcome() == (sha256(pattern(size)).hexdigest().encode(), b"", 0)


def test_stdout_and_stderr_stay_apart(pair: Pair) -> None:
    random, work = pair
    size = 1_000_000
    assert call_through(random, work, "test.Both", str(size)).outcome() == (pattern(size), pattern(size), 0)


def test_a_stream_may_end_while_the_others_go_on(nursery: Nursery) -> None:
    with domain(nursery) as work:
        guest = work.begin()
        leg = work.open("test.Service")
        guest.hear()
        guest.say(Data(0, 1, b"all of it"), Eof(0, 1))
        assert [leg.hear(), leg.hear()] == [Data(0, 1, b"all of it"), Eof(0, 1)]
        leg.write(b"more")
        assert guest.hear() == Data(0, 0, b"more")
        guest.say(Data(0, 2, b"errors"))
        assert leg.hear() == Data(0, 2, b"errors")
        leg.eof()
        assert guest.hear() == Eof(0, 0)
        guest.say(Exit(0, 0))
        assert leg.outcome() == (b"", b"", 0)


def test_ends_and_exit_code_come_after_the_bytes_that_a_caller_was_slow_to_read(nursery: Nursery) -> None:
    with domain(nursery) as work:
        guest = work.begin()
        leg = work.open("test.Service")
        guest.hear()
        for stream in (1, 2):
            guest.say(*[Data(0, stream, pattern(1 << 16, at)) for at in range(4)], Eof(0, stream))
        guest.say(Exit(0, 7))
        work.settle()
        order = []
        while not isinstance(message := leg.hear(), Exit):
            order.append((message.stream, isinstance(message, Eof)))  # type: ignore[attr-defined]  # Data or Eof
        assert message == Exit(0, 7)
        for stream in (1, 2):
            ends = [end for of, end in order if of == stream]
            assert ends == [False] * (len(ends) - 1) + [True]


def test_empty_data_are_no_end(nursery: Nursery) -> None:
    with domain(nursery) as work:
        guest = work.begin()
        leg = work.open("test.Service")
        guest.hear()
        leg.say(Data(0, 0, b""), Data(0, 0, b"x"))
        assert guest.hear() == Data(0, 0, b"x")
        guest.say(Data(0, 1, b""), Data(0, 1, b"y"))
        assert leg.hear() == Data(0, 1, b"y")


def test_a_frame_is_cut_where_the_window_ends(nursery: Nursery) -> None:
    with domain(nursery) as work:
        guest = work.begin()
        leg = work.open("test.Service")
        guest.hear()
        leg.write(pattern(WINDOW - 1000))
        leg.write(pattern(3000))
        leg.eof()
        heard = b""
        while len(heard) < WINDOW:
            data = guest.expect(Data)
            heard += data.payload
        assert heard == (pattern(WINDOW - 1000) + pattern(3000))[:WINDOW]
        assert not work.says_now(guest)
        guest.say(Window(0, 0, 500))
        assert guest.hear() == Data(0, 0, pattern(3000)[1000:1500])
        guest.say(Window(0, 0, 10_000))
        assert guest.hear() == Data(0, 0, pattern(3000)[1500:])
        assert guest.hear() == Eof(0, 0)


def test_a_guest_is_granted_what_its_caller_took(nursery: Nursery) -> None:
    with domain(nursery) as work:
        guest = work.begin()
        leg = work.open("test.Service")
        guest.hear()
        credit = WINDOW
        for _ in range(20):
            guest.say(*[Data(0, 1, bytes(1000))] * (credit // 1000))
            taken = 0
            while taken < credit // 1000 * 1000:
                taken += len(leg.expect(Data).payload)
            credit -= taken
            while work.says_now(guest):
                credit += guest.expect(Window).size
            assert WINDOW - GRANT_AT < credit <= WINDOW


def test_a_caller_that_does_not_read_holds_up_nobody_else(pair: Pair) -> None:
    size = 5_000_000
    random, work = pair
    idle = [work.open("test.Source", str(size)) for _ in range(3)]
    idle += [call_through(random, work, "test.Source", str(size)) for _ in range(3)]
    for _ in range(50):
        assert work.open("test.Exit", "7").outcome() == (b"", b"", 7)
        assert call_through(random, work, "test.Exit", "7").outcome() == (b"", b"", 7)
    assert work.open("test.Source", str(size)).outcome() == (pattern(size), b"", 0)
    for leg in idle:
        assert leg.outcome() == (pattern(size), b"", 0)


def test_a_service_that_does_not_read_holds_up_nobody_else(nursery: Nursery) -> None:
    with domain(nursery, agent=True) as work:
        stuck = [work.open("test.Never") for _ in range(3)]
        for leg in stuck:
            work.fill(leg)
        assert work.open("test.Source", "1000000").outcome() == (pattern(1_000_000), b"", 0)


def test_a_service_that_writes_and_does_not_read(nursery: Nursery) -> None:
    with domain(nursery, agent=True) as work:
        leg = work.open("test.Deaf", "1000000")
        work.fill(leg)
        assert leg.outcome() == (pattern(1_000_000), b"", 0)


def test_a_caller_that_dies_is_told_of_even_if_its_bytes_can_go_nowhere(nursery: Nursery) -> None:
    with domain(nursery) as work:
        guest = work.begin()
        leg = work.open("test.Never")
        guest.hear()
        work.fill(leg)
        leg.close()
        while not isinstance(message := guest.hear(), Drop):
            assert isinstance(message, Data)
        assert message == Drop(0)


def test_a_caller_that_dies_while_bytes_wait_for_it_is_told_of(nursery: Nursery) -> None:
    with domain(nursery) as work:
        guest = work.begin()
        leg = work.open("test.Source")
        guest.hear()
        guest.say(*[Data(0, 1, bytes(1 << 16))] * 4)
        assert not isinstance(leg.hear(), Exit)
        leg.close()
        while not isinstance(message := guest.hear(), Drop):
            assert isinstance(message, Window)


def test_a_guest_that_does_not_read_keeps_nothing_from_its_callers(nursery: Nursery) -> None:
    with domain(nursery) as work:
        guest = work.begin()
        leg = work.open("test.Service")
        guest.hear()
        guest.say(*[Data(0, stream, pattern(1 << 16)) for stream in (1, 2) for _ in range(4)], Exit(0, 7))
        for _ in range(20):  # what the guest does not read
            work.open("test.Long", "a" * 65_000)
        work.settle()
        assert leg.outcome() == (pattern(1 << 16) * 4, pattern(1 << 16) * 4, 7)


def test_all_that_a_server_said_before_it_went_arrives(nursery: Nursery) -> None:
    with domain(nursery) as work:
        guest = work.begin()
        guest.say(ask(1))
        work.hear()
        leg = work.connect(1)
        assert guest.hear() == Accepted(1)
        leg.sock.setblocking(True)
        # More than the guest takes without a grant, then the exit code, then the socket's end.
        message = Data(0, 1, pattern(1 << 16))
        leg.say(*[message] * (WINDOW >> 16), Data(0, 1, b"x"), Exit(0, 7))
        leg.close()
        for _ in range(WINDOW >> 16):
            assert guest.hear() == Data(1, 1, message.payload)
        # Nobody reads the guest's stdin any more. It is taken from it all the same, so that it comes to read the rest.
        guest.say(*[Data(1, 0, bytes(1 << 16))] * 4)
        guest.expect(Window)
        guest.say(Window(1, 1, 1))
        heard = guest.hear()
        while isinstance(heard, Window):
            heard = guest.hear()
        assert heard == Data(1, 1, b"x")
        assert guest.hear() == Exit(1, 7)


def test_a_broker_that_is_killed_ends_its_calls_and_no_others(nursery: Nursery, pair: Pair) -> None:
    random, bank = pair
    with domain(nursery, "victim", agent=True) as work:
        through, other = call_through(random, work, "test.Echo"), call_through(random, bank, "test.Echo")
        direct = work.open("test.Echo")
        for leg in (through, other, direct):
            leg.write(b"half")
            leg.expect(Data)
        os.kill(work.pid, signal.SIGKILL)
        assert through.outcome() == (b"", b"", 125)
        with pytest.raises(Gone):
            direct.hear()
        other.write(b"and half")
        other.eof()
        assert other.outcome() == (b"and half", b"", 0)


def test_256_calls_at_once_and_more_that_wait(nursery: Nursery) -> None:
    with domain(nursery, agent=True) as work:
        legs = [work.open("test.Echo") for _ in range(MAX_CALLS + 50)]
        texts = [pattern(1000, number) for number in range(len(legs))]
        for at in range(0, 1000, 250):
            for leg, text in zip(legs, texts, strict=True):
                leg.write(text[at : at + 250])
        for leg in legs:
            leg.eof()
        for leg, text in zip(legs, texts, strict=True):
            assert leg.outcome() == (text, b"", 0)


def test_a_call_waits_for_a_slot_and_no_longer(nursery: Nursery) -> None:
    with domain(nursery) as work:
        guest = work.begin()
        legs = [work.open("test.Echo", source="dom0") for _ in range(MAX_CALLS + 2)]
        for call in range(0, 2 * MAX_CALLS, 2):
            serve = guest.expect(Serve)
            assert serve.call == call
        assert not work.says_now(guest)
        guest.say(Exit(4, 0))
        guest.expect(Serve)
        legs[0].close()
        assert guest.hear() == Drop(0)
        guest.expect(Serve)


def test_no_caller_keeps_out_another_nor_the_person(nursery: Nursery) -> None:
    with domain(nursery) as work:
        guest = work.begin()
        held = [work.open("test.Never", source="random") for _ in range(MAX_CALLS)]
        for _ in range(MAX_CALLS // 2):
            assert guest.expect(Serve).source == "random"
        held += [work.open("test.Never", source="bank"), work.open("test.Never", source="dom0")]
        assert [guest.expect(Serve).source for _ in range(2)] == ["bank", "dom0"]
        assert not work.says_now(guest)


def test_a_call_too_many_is_turned_away(nursery: Nursery) -> None:
    with domain(nursery) as work:
        for _ in range(MAX_WAITING):
            work.open("test.Exit").close()
        assert work.open("test.Exit").outcome() == (b"", b"", 125)
        # The callers have gone meanwhile, which is no reason to forget one: the guest learns of each.
        guest = work.begin()
        served = dropped = 0
        while dropped < MAX_WAITING:
            match guest.hear():
                case Serve():
                    served += 1
                case Drop():
                    dropped += 1
        assert served == MAX_WAITING


def test_calls_leave_no_file_behind(pair: Pair) -> None:
    random, work = pair
    before = random.files(), work.files()
    for _ in range(20):
        for leg in (work.open("test.Exit"), call_through(random, work, "test.Source", "100000")):
            leg.outcome()
            with pytest.raises(Gone):
                leg.hear()
        dropped = call_through(random, work, "test.Never")
        dropped.sock.close()
    refused = random.open("test.Pass", "test.Exit+")
    asked = random.expect(Asked)
    random.tell(Deny(asked.token, 126))
    assert refused.outcome()[2] == 126
    # Calls that were dropped are over when the agents have seen it: a call behind them comes later.
    for leg in (random.open("test.Exit"), work.open("test.Exit"), call_through(random, work, "test.Exit")):
        leg.outcome()
        with pytest.raises(Gone):
            leg.hear()
    assert (random.files(), work.files()) == before


def ask(call: int) -> Ask:
    return Ask(call, ServiceName("test.Ask"), ServiceArgument(""), TargetName(""))
