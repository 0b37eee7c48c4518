"""What a start needs, when the host is short of memory, and who gives some back: rules over numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.host.model.machine import GuestMemory
from bento.host.model.memory import FORKED, MIB, SLACK, HostMemory, is_pressed, left_to, need, offenders
from bento.wire.names import DomainName

GIB = 1024 * MIB
ROOMY = HostMemory(total=16 * GIB, available=8 * GIB, pressure=0.0)


def test_something_is_kept_for_the_person_on_any_machine() -> None:
    assert [HostMemory(total * GIB, 0, 0.0).kept // MIB for total in (1, 8, 16, 256)] == [256, 512, 1024, 1024]


def test_a_fork_needs_less_than_a_boot_and_a_large_domain_not_all_of_its_memory() -> None:
    assert need(400 * MIB, forked=True) == FORKED < need(400 * MIB, forked=False)
    assert need(8 * GIB, forked=False) < 8 * GIB
    assert need(80 * MIB, forked=True) == 80 * MIB


@given(st.integers(1, 1 << 44), st.integers(1, 1 << 44), st.booleans())
def test_more_memory_never_needs_less(one: int, other: int, forked: bool) -> None:
    low, high = sorted((one, other))
    assert need(low, forked=forked) <= need(high, forked=forked)


@pytest.mark.parametrize("before", [False, True])
def test_a_host_is_pressed_when_programs_wait_or_little_is_left(before: bool) -> None:
    assert is_pressed(HostMemory(16 * GIB, 8 * GIB, 10.0), before=before)
    assert is_pressed(HostMemory(16 * GIB, 1023 * MIB, 0.0), before=before)
    assert not is_pressed(ROOMY, before=before)


@pytest.mark.parametrize("between", [HostMemory(16 * GIB, 8 * GIB, 5.0), HostMemory(16 * GIB, 1500 * MIB, 0.0)])
def test_between_the_bounds_all_stays_as_it_is(between: HostMemory) -> None:
    assert [is_pressed(between, before=before) for before in (False, True)] == [False, True]


def test_an_idle_guest_keeps_what_it_uses_and_some_slack() -> None:
    assert left_to(GuestMemory(400 * MIB, 300 * MIB)) == 100 * MIB + SLACK


@given(st.integers(0, 1 << 44), st.none() | st.integers(0, 1 << 62))
def test_whatever_a_guest_says_it_is_left_its_slack_and_given_nothing(actual: int, untrusted: int | None) -> None:
    left = left_to(GuestMemory(actual, untrusted))
    assert left is None or SLACK <= left < actual


def test_of_disposables_the_largest_go_until_the_rest_is_within_the_bound() -> None:
    taken = {DomainName("a"): 10, DomainName("b"): 40, DomainName("c"): 30}
    assert offenders(taken, 80) == []
    assert offenders(taken, 79) == ["b"]
    assert offenders(taken, 39) == ["b", "c"]
    assert offenders({}, 0) == []
