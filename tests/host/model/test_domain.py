"""Domains: one table of legal changes of power, and labels as the field has them."""

from dataclasses import FrozenInstanceError
from uuid import UUID

import pytest

from bento.host.model.domain import ADMIN, LABELS, TRANSITIONS, Domain, DomainClass, PowerState, Step
from bento.wire.names import DomainName, LabelName


def reachable(start: PowerState, steps: set[Step]) -> set[PowerState]:
    found = {start}
    while more := {TRANSITIONS[s, step] for s in found for step in steps if (s, step) in TRANSITIONS} - found:
        found |= more
    return found


def test_every_state_is_reached_from_halted() -> None:
    assert reachable(PowerState.HALTED, set(Step)) == set(PowerState)


WITHOUT_A_MACHINE = {PowerState.HALTED, PowerState.SUSPENDED}


@pytest.mark.parametrize("state", [state for state in PowerState if state not in WITHOUT_A_MACHINE])
def test_whatever_runs_may_be_gone_at_any_time(state: PowerState) -> None:
    """QEMU can die in every state: there is none that a domain does not come back from."""
    assert TRANSITIONS[state, Step.GONE] is PowerState.HALTED


def test_only_a_domain_without_a_machine_is_launched_and_it_can_do_nothing_else() -> None:
    assert {state for state, step in TRANSITIONS if step is Step.LAUNCH} == WITHOUT_A_MACHINE
    for state in WITHOUT_A_MACHINE:
        assert {step for before, step in TRANSITIONS if before is state} == {Step.LAUNCH}


def test_only_a_running_domain_is_paused_stopped_or_suspended() -> None:
    for step in (Step.PAUSE, Step.STOP, Step.SUSPEND):
        assert {state for state, taken in TRANSITIONS if taken is step} == {PowerState.RUNNING}


def test_a_paused_domain_runs_again_or_is_gone() -> None:
    taken = {step for state, step in TRANSITIONS if state is PowerState.PAUSED}
    assert taken == {Step.UNPAUSE, Step.GONE}
    assert TRANSITIONS[PowerState.PAUSED, Step.UNPAUSE] is PowerState.RUNNING


def test_a_launch_is_not_running_before_its_agent_is_ready() -> None:
    assert TRANSITIONS[PowerState.HALTED, Step.LAUNCH] is PowerState.TRANSIENT
    assert TRANSITIONS[PowerState.TRANSIENT, Step.READY] is PowerState.RUNNING
    unready = reachable(PowerState.HALTED, set(Step) - {Step.READY})
    assert not unready & {PowerState.RUNNING, PowerState.PAUSED}


def test_no_step_leads_from_a_state_to_itself() -> None:
    assert all(state is not after for (state, _), after in TRANSITIONS.items())


def test_the_labels_are_the_fields_eight_told_apart_by_name_number_and_colour() -> None:
    assert [label.name for label in LABELS] == [
        "red",
        "orange",
        "yellow",
        "green",
        "gray",
        "blue",
        "purple",
        "black",
    ]
    assert [label.index for label in LABELS] == list(range(1, 9))
    assert len({label.rgb for label in LABELS}) == 8
    assert all(0 <= label.rgb <= 0xFFFFFF and LabelName.parse(label.name) for label in LABELS)


def test_the_admin_domains_name_is_one() -> None:
    assert DomainName.parse(ADMIN) == "dom0"


def test_the_words_are_the_fields() -> None:
    assert set(DomainClass) == {"AdminVM", "TemplateVM", "AppVM", "StandaloneVM", "DispVM"}
    assert set(PowerState) == {"Halted", "Transient", "Running", "Paused", "Suspended"}


def test_a_domain_cannot_be_changed() -> None:
    domain = Domain(UUID(int=1), DomainName("work"), DomainClass.APP, LABELS[0].name, None)
    with pytest.raises(FrozenInstanceError):
        domain.name = DomainName("bank")  # type: ignore[misc]  # that is what is tried
