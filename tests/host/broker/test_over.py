"""What the manager learns of a call's end: once for each token, in whatever way it ended, and who is to blame."""

from collections.abc import Callable

import pytest

from bento.host.broker.waiting import MAX_WAITING
from bento.wire.control import Blame, Ended, Over
from bento.wire.rpc import MAX_CALLS, Accepted, Data, Drop, Eof, Exit, Serve
from tests.host.broker.house import Guest, Leg, Nursery, domain, is_readable

END = Callable[[Guest, Leg], None]
"""Ends the call; the leg is still the test's to close."""

ENDS: dict[str, tuple[END, Blame, str]] = {
    "an exit code": (lambda guest, leg: guest.say(Exit(0, 7)), Blame.NOBODY, ""),
    "the service is gone": (
        lambda guest, leg: guest.say(Drop(0)),
        Blame.SERVER,
        "the service is gone without an exit code",
    ),
    "the caller is gone": (lambda guest, leg: leg.sock.close(), Blame.CALLER, "the caller is gone"),
    "the caller talks nonsense": (
        lambda guest, leg: leg.say(Exit(0, 1)),
        Blame.CALLER,
        "message 9 does not exist or does not come from this side",
    ),
    "the caller says what it may not": (
        lambda guest, leg: leg.say(Eof(0, 0), Eof(0, 0)),
        Blame.CALLER,
        "Eof after the end of stream 0",
    ),
    "the channel is gone": (lambda guest, leg: guest.sock.close(), Blame.SERVER, "its channel is gone"),
    "the guest breaks the protocol": (lambda guest, leg: guest.say(Accepted(0)), Blame.SERVER, "its channel is gone"),
}


@pytest.mark.parametrize("way", ENDS)
def test_the_manager_learns_that_a_call_is_over(nursery: Nursery, way: str) -> None:
    end, blame, sentence = ENDS[way]
    with domain(nursery) as work:
        guest = work.begin()
        leg = work.open("test.Echo", token=77)
        guest.expect(Serve)
        end(guest, leg)
        assert work.hear() == Over(77, blame, sentence)


def test_a_call_is_over_when_its_caller_has_taken_all(nursery: Nursery) -> None:
    with domain(nursery) as work:
        guest = work.begin()
        legs = [work.open("test.Source", token=token) for token in (1, 2)]
        guest.expect(Serve)
        guest.expect(Serve)
        for _ in range(4):
            guest.say(Data(0, 1, bytes(1 << 16)))
        guest.say(Exit(0, 0), Exit(2, 0))
        assert work.hear() == Over(2, Blame.NOBODY, "")
        work.settle()
        assert not is_readable(work.control)
        legs[0].outcome()
        assert work.hear() == Over(1, Blame.NOBODY, "")


def test_a_call_without_a_token_is_not_reported(nursery: Nursery) -> None:
    with domain(nursery) as work:
        guest = work.begin()
        work.open("test.Echo")
        work.open("test.Echo", token=2)
        guest.say(Exit(0, 0), Exit(2, 0))
        assert work.hear() == Over(2, Blame.NOBODY, "")


def test_a_call_that_never_had_a_slot_is_over_too(nursery: Nursery) -> None:
    with domain(nursery) as work:
        for token in range(1, MAX_WAITING + 2):
            work.open("test.Never", token=token)
        assert work.hear() == Over(MAX_WAITING + 1, Blame.NOBODY, "it never had a slot")
        work.guest.sock.close()
        for token in range(1, MAX_WAITING + 1):
            assert work.hear() == Over(token, Blame.NOBODY, "it never had a slot")
        work.expect(Ended)


def test_a_caller_that_leaves_before_its_slot_is_reported_when_its_turn_comes(nursery: Nursery) -> None:
    with domain(nursery) as work:
        leg = work.open("test.Echo", token=5)
        leg.sock.close()
        guest = work.begin()
        guest.expect(Serve)
        assert guest.hear() == Drop(0)
        assert work.hear() == Over(5, Blame.CALLER, "the caller is gone")


def test_as_many_calls_as_there_are_slots_are_all_reported(nursery: Nursery) -> None:
    with domain(nursery) as work:
        guest = work.begin()
        for token in range(1, MAX_CALLS + 1):
            work.open("test.Never", source="dom0", token=token)
            guest.expect(Serve)
        guest.sock.close()
        assert [work.hear() for _ in range(MAX_CALLS)] == [
            Over(token, Blame.SERVER, "its channel is gone") for token in range(1, MAX_CALLS + 1)
        ]
