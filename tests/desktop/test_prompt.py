"""When a question on the desktop may be answered, with a clock that the test sets. No Qt."""

from dataclasses import replace

import pytest

from bento.desktop.prompt import SHOWN, Prompt, elided, lastings
from bento.wire.consent import No, Term, Yes
from bento.wire.names import TargetName
from tests.cli.test_agent import question


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def prompt(clock: Clock) -> Prompt:
    return Prompt(question(), clock)


def test_a_window_that_never_was_in_front_takes_no_answer(prompt: Prompt, clock: Clock) -> None:
    clock.now += 30
    assert not prompt.armed
    assert prompt.allow() is None
    assert prompt.deny() is None


def test_the_first_half_second_in_front_takes_no_answer(prompt: Prompt, clock: Clock) -> None:
    prompt.front(True)
    clock.now += 0.49
    assert prompt.allow() is None
    assert prompt.deny() is None
    clock.now += 0.01
    assert prompt.allow() == Yes(TargetName("vault"))
    assert prompt.deny() == No()


def test_being_told_again_that_it_is_in_front_changes_nothing(prompt: Prompt, clock: Clock) -> None:
    prompt.front(True)
    clock.now += 0.4
    prompt.front(True)
    clock.now += 0.1
    assert prompt.armed


def test_coming_to_the_front_again_begins_the_half_second_anew(prompt: Prompt, clock: Clock) -> None:
    prompt.front(True)
    clock.now += 5
    prompt.front(False)
    assert prompt.allow() is None
    prompt.front(True)
    assert prompt.allow() is None
    clock.now += 0.5
    assert prompt.allow() is not None


def test_a_yes_has_the_target_and_the_time_that_were_chosen(prompt: Prompt, clock: Clock) -> None:
    prompt.front(True)
    clock.now += 1
    prompt.target = TargetName("work")
    found = []
    for prompt.lasting in lastings("random"):
        found.append(prompt.allow())
    assert found == [
        Yes(TargetName("work")),
        Yes(TargetName("work"), Term.SESSION),
        Yes(TargetName("work"), Term.UNTIL, 3600),
        Yes(TargetName("work"), Term.UNTIL, 28800),
    ]


def test_without_a_suggestion_only_a_sole_target_is_chosen_beforehand(clock: Clock) -> None:
    asked = replace(question(), default=None)
    assert Prompt(asked, clock).target is None
    assert Prompt(replace(asked, choices=asked.choices[:1]), clock).target == "work"
    undecided = Prompt(asked, clock)
    undecided.front(True)
    clock.now += 1
    assert undecided.allow() is None
    assert undecided.deny() == No()


def test_the_countdown_ends_at_nothing(prompt: Prompt, clock: Clock) -> None:
    assert (prompt.seconds_left, prompt.share_left, prompt.late) == (60, 1.0, False)
    clock.now += 59.5
    assert (prompt.seconds_left, prompt.late) == (1, False)
    clock.now += 0.5
    assert (prompt.seconds_left, prompt.share_left, prompt.late) == (0, 0.0, True)
    clock.now += 100
    assert (prompt.seconds_left, prompt.share_left) == (0, 0.0)


def test_a_long_argument_shows_both_its_ends() -> None:
    argument = "begin" + "x" * 5000 + "end"
    assert elided(argument).startswith("begin")
    assert elided(argument).endswith("end")
    assert len(elided(argument)) <= SHOWN + 5
    assert elided("x" * SHOWN) == "x" * SHOWN
