"""Who gets a slot of the guest: nobody more than half of what is free, the person always."""

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.host.broker.waiting import MAX_WAITING, MAX_WAITING_GUESTS, Waiting
from bento.wire.names import ADMIN
from tests.host.broker.house import open_message

NAMES = ("random", "work", "bank", ADMIN)


@pytest.fixture(scope="module")
def leg() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        yield sock


def put(waiting: Waiting, source: str, leg: socket.socket) -> bool:
    return waiting.put(open_message("test.Echo", source=source), leg)


def take(waiting: Waiting) -> str | None:
    call = waiting.take()
    return call[0].source if call else None


def test_a_source_alone_gets_half_of_the_slots(leg: socket.socket) -> None:
    waiting = Waiting(8)
    for _ in range(8):
        assert put(waiting, "random", leg)
    assert [take(waiting) for _ in range(5)] == ["random"] * 4 + [None]


def test_sources_take_turns(leg: socket.socket) -> None:
    waiting = Waiting(16)
    for source in ("random", "random", "random", "work", "bank"):
        put(waiting, source, leg)
    assert [take(waiting) for _ in range(5)] == ["random", "work", "bank", "random", "random"]


def test_the_admin_domain_takes_any_free_slot(leg: socket.socket) -> None:
    waiting = Waiting(4)
    for _ in range(5):
        put(waiting, ADMIN, leg)
    assert [take(waiting) for _ in range(5)] == [ADMIN] * 4 + [None]


def test_a_slot_given_back_is_the_next_ones(leg: socket.socket) -> None:
    waiting = Waiting(2)
    put(waiting, "random", leg)
    put(waiting, "random", leg)
    call = waiting.take()
    assert call
    assert take(waiting) is None
    waiting.give_back(call[0].source)
    assert take(waiting) == "random"
    assert not waiting.idle


def test_a_source_with_too_many_waiting_is_turned_away_alone(leg: socket.socket) -> None:
    waiting = Waiting(0)
    assert all(put(waiting, "random", leg) for _ in range(MAX_WAITING))
    assert not put(waiting, "random", leg)
    assert put(waiting, "work", leg)


def test_the_admin_domain_may_wait_however_many_guests_do(leg: socket.socket) -> None:
    waiting = Waiting(0)
    for number in range(MAX_WAITING_GUESTS):
        assert put(waiting, f"d{number // MAX_WAITING}", leg)
    assert not put(waiting, "late", leg)
    assert put(waiting, ADMIN, leg)
    assert take(waiting) is None
    assert len(list(waiting.drain())) == MAX_WAITING_GUESTS + 1
    assert put(waiting, "late", leg)


@given(st.lists(st.sampled_from(NAMES), max_size=60), st.integers(1, 16))
def test_a_source_that_holds_nothing_gets_a_slot_while_one_is_free(sources: list[str], slots: int) -> None:
    waiting, held = Waiting(slots), 0
    with socket.socket(socket.AF_UNIX) as leg:
        for source in sources:
            put(waiting, source, leg)
        holders: set[str] = set()
        while (holder := take(waiting)) is not None:
            holders.add(holder)
            held += 1
        assert held <= slots
        assert held == slots or holders == set(sources)
