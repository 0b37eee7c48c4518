"""Questions to the person, from a program in a domain to an agent and back, over a manager's life."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from bento.wire.admin import Fault
from bento.wire.consent import Outcome, Term, Yes, encode_answer
from bento.wire.names import TargetName
from bento.wire.rpc import ExitCode
from tests.host.manager.asker import attending, begin_call
from tests.host.manager.home import Home, new_home

ASK = "test.Where * @anyvm @anyvm ask\n"
YES = Yes(TargetName("work"))


def ask_home(home: Home) -> None:
    """`random` and `work` run, the policy asks; `vault` is halted."""
    home.start_manager()
    home.build()
    for name, label in (("work", "blue"), ("random", "red"), ("vault", "black")):
        home.create(name, label=label)
    for name in ("work", "random"):
        home.start(name)
    home.install("work", "test.Where", "echo in work")
    home.policy(ASK)


@pytest.fixture
def asked(home: Home) -> Home:
    ask_home(home)
    return home


@pytest.fixture(scope="module")
def common() -> Iterator[Home]:
    """The same for tests that do the manager no harm. Each asks about an argument of its own."""
    with new_home() as home:
        ask_home(home)
        yield home


def calm(home: Home) -> None:
    """A yes, so that what was refused before does not add up."""
    with attending(home) as agent, begin_call(home, "random", "work", "test.Where+calm") as call:
        agent.allow()
        assert call.outcome().code == 0


def grants(home: Home) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(home.ask("bento.grants.List"))
    return found


def test_a_call_proceeds_when_the_person_says_yes(common: Home) -> None:
    with attending(common) as agent, begin_call(common, "random", "@default", "test.Where+yes") as call:
        question = agent.allow("work")
        assert call.outcome().stdout == b"in work\n"
    assert (question.source.name, question.argument, question.requested) == ("random", "yes", "@default")
    assert {choice.name for choice in question.choices} >= {"work", "vault"}
    assert "random" not in {choice.name for choice in question.choices}


def test_a_call_ends_as_refused_when_the_person_says_no(common: Home) -> None:
    with attending(common) as agent, begin_call(common, "random", "work", "test.Where+no") as call:
        agent.deny()
        assert call.outcome().code == ExitCode.REFUSED
    calm(common)


def test_without_an_agent_ask_is_no_and_the_audit_log_says_what_to_do(common: Home) -> None:
    assert common.run_from("random", "work", "test.Where+nobody").code == ExitCode.REFUSED
    written = "".join(path.read_text() for path in (common.path / "audit").rglob("*") if path.is_file())
    assert "nobody is there to ask: run 'bento agent'" in written


def test_a_question_goes_when_the_program_that_called_is_gone(common: Home) -> None:
    with attending(common) as agent:
        with begin_call(common, "random", "work", "test.Where+gone"):
            question = agent.question()
        assert agent.settled().outcome is Outcome.VAIN
        late = common.refused("bento.consent.Answer", argument=question.id, payload=encode_answer(YES))
        assert late.fault == Fault.IN_USE
    calm(common)


def test_a_question_goes_when_the_domain_that_called_is_killed(asked: Home) -> None:
    with attending(asked) as agent, begin_call(asked, "random", "work", "test.Where"):
        agent.question()
        asked.kill("random")
        assert agent.settled().outcome is Outcome.VAIN


def test_an_agent_that_hangs_up_answers_no(common: Home) -> None:
    with attending(common) as agent:
        call = begin_call(common, "random", "work", "test.Where+hangup")
        agent.question()
    with call:
        assert call.outcome().code == ExitCode.REFUSED


def test_a_policy_that_changes_before_the_answer_has_the_last_word(common: Home) -> None:
    try:
        for policy in ("test.Where * random work deny\n", "test.Where * random work ask user=root\n"):
            with attending(common) as agent, begin_call(common, "random", "work", f"test.Where+{len(policy)}") as call:
                question = agent.question()
                common.policy(policy)
                agent.answer(question, YES)
                assert call.outcome().code == ExitCode.REFUSED, policy
            common.policy(ASK)
    finally:
        common.policy(ASK)


def test_a_rule_that_turned_to_deny_is_not_opened_by_a_grant(common: Home) -> None:
    session = Yes(TargetName("work"), Term.SESSION)
    with attending(common) as agent, begin_call(common, "random", "work", "test.Where+grant") as call:
        agent.answer(agent.question(), session)
        assert call.outcome().code == 0
    assert common.run_from("random", "work", "test.Where+grant").code == 0, "nobody attends, the grant answers"
    common.policy("test.Where * random work deny\n")
    assert common.run_from("random", "work", "test.Where+grant").code == ExitCode.REFUSED
    common.policy(ASK)
    assert common.run_from("random", "work", "test.Where+grant").code == 0
    (grant,) = [row for row in grants(common) if row["argument"] == "grant"]
    assert json.loads(common.ask("bento.grants.Revoke", argument=grant["id"])) == [grant["id"]]
    assert common.run_from("random", "work", "test.Where+grant").code == ExitCode.REFUSED


@pytest.mark.parametrize("payload", ["target=work", "target=work\nterm=ever", "target=nobody\nterm=once", "\xff"])
def test_an_answer_that_makes_no_sense_leaves_the_question_open(common: Home, payload: str) -> None:
    service = f"test.Where+sense{len(payload)}"
    with attending(common) as agent, begin_call(common, "random", "work", service) as call:
        question = agent.question()
        failed = common.refused("bento.consent.Answer", argument=question.id, payload=payload.encode("latin-1"))
        assert failed.fault == Fault.BAD_VALUE
        agent.answer(question, YES)
        assert call.outcome().code == 0


@pytest.mark.parametrize(
    ("number", "fault"), [("0" * 16, Fault.IN_USE), ("", Fault.BAD_VALUE), ("abc", Fault.BAD_VALUE)]
)
def test_an_answer_to_no_question(common: Home, number: str, fault: Fault) -> None:
    assert common.refused("bento.consent.Answer", argument=number).fault == fault


def test_a_grant_that_there_is_none_of_cannot_be_revoked(common: Home) -> None:
    assert common.refused("bento.grants.Revoke", argument="12345678").fault == Fault.NOT_FOUND


def test_the_person_is_told_what_a_rule_wants_them_told(common: Home) -> None:
    common.policy("test.Where +told random work allow notify=yes\ntest.Where +quiet * * deny notify=no\n")
    try:
        with attending(common) as agent:
            assert common.run_from("random", "work", "test.Where+told").code == 0
            notice = agent.notice()
            assert (notice.source.name, notice.sentence) == (
                "random",
                "test.Where to work was allowed by 30-user.policy:1",
            )
            assert common.run_from("random", "work", "test.Where+quiet").code == ExitCode.REFUSED
            assert common.run_from("random", "work", "test.Loud").code == ExitCode.REFUSED
            assert "test.Loud" in agent.notice().sentence
    finally:
        common.policy(ASK)


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_a_time_outlives_the_manager_and_a_session_does_not(asked: Home, how: str) -> None:
    with attending(asked) as agent:
        for argument, yes in (
            ("hour", Yes(TargetName("work"), Term.UNTIL, 3600)),
            ("session", Yes(TargetName("work"), Term.SESSION)),
        ):
            with begin_call(asked, "random", "work", f"test.Where+{argument}") as call:
                agent.answer(agent.question(), yes)
                agent.settled()
                assert call.outcome().code == 0
    rows = {row["argument"]: row for row in grants(asked)}
    assert rows.keys() == {"hour", "session"}
    assert (rows["hour"]["source"], rows["hour"]["target"]) == ("random", "work")
    assert rows["session"]["until"] is None

    asked.stop_manager() if how == "stopped" else asked.kill_manager()
    asked.start_manager()
    assert grants(asked) == [rows["hour"]]
    assert asked.run_from("random", "work", "test.Where+hour").code == 0
    assert asked.run_from("random", "work", "test.Where+session").code == ExitCode.REFUSED

    asked.shutdown("random")
    asked.start("random")
    assert asked.run_from("random", "work", "test.Where+hour").code == 0
    asked.kill("random")
    asked.ask("admin.vm.Remove", "random")
    assert grants(asked) == []


@pytest.mark.slow
def test_a_killed_manager_never_promised_what_it_did_not_keep(asked: Home) -> None:
    """It dies while it keeps a grant: there is one, whole, or none."""
    asked.stop_manager()
    for point in ("put_grant:1", "put_grant.after:1"):
        asked.start_manager(BENTO_TEST_DIE=point)
        with attending(asked) as agent:
            call = begin_call(asked, "random", "work", "test.Where")
            question = agent.question()
            agent.answer(question, replace(YES, term=Term.UNTIL, seconds=60))
            asked.wait_for_end()
        call.sock.close()
        asked.start_manager()
        assert len(grants(asked)) == (1 if "after" in point else 0)
        asked.stop_manager()
