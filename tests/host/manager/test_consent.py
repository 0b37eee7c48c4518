"""Asking the person, with agents that a test scripts and a clock that it sets."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid5

import pytest

from bento.host.drivers.sqlite import SqliteStore
from bento.host.manager.consent import (
    MAX_REFUSED,
    MAX_WAITING,
    NOTICES_A_MINUTE,
    REST_SECONDS,
    SAME_SECONDS,
    Consent,
    Consented,
    Withheld,
)
from bento.host.manager.grants import Grants
from bento.host.manager.inventory import Inventory
from bento.host.model.domain import Domain, DomainClass
from bento.host.model.errors import Conflict, Invalid, NoSuch, Unavailable
from bento.host.model.grant import Grant
from bento.host.model.inventory import DomainRecord, Phase, Run
from bento.host.policy.decide import Asking, Call
from bento.host.policy.files import PolicyRules, assemble
from bento.host.policy.world import Disposable
from bento.wire.consent import (
    Answer,
    Attending,
    No,
    Notice,
    Outcome,
    Question,
    QuestionId,
    Settled,
    Term,
    Told,
    Yes,
)
from bento.wire.names import DomainName, LabelName, ServiceArgument, ServiceName, TargetName, UserName

WORK, VAULT, RANDOM = map(DomainName, ("work", "vault", "random"))
NAMESPACE = UUID(int=7)


class FullStore(SqliteStore):
    """Its disk has no room for grants while `full`."""

    full = False

    def put_grant(self, grant: Grant) -> None:
        if self.full:
            raise Unavailable("the disk is full")
        super().put_grant(grant)


class Desk:
    """A home's consent, without a home. `now` is both clocks; `told` is what the last agent was told."""

    def __init__(self, store: FullStore) -> None:
        self.store = store
        self.now = 1000.0
        self.inventory = Inventory(store)
        for slot, (name, label) in enumerate({"work": "blue", "vault": "black", "random": "red"}.items(), start=1):
            domain = Domain(uuid5(NAMESPACE, name), DomainName(name), DomainClass.APP, LabelName(label), None)
            self.inventory.put(DomainRecord(domain, slot=slot, run=Run(Phase.RUNNING, 1, 10.0)))
        self.next_manager()

    def next_manager(self, answer_seconds: int = 60) -> None:
        self.grants = Grants(self.inventory, self.store, lambda: self.now)
        self.consent = Consent(self.inventory, self.grants, answer_seconds=answer_seconds, clock=lambda: self.now)

    async def ask(self, source: DomainName = RANDOM, argument: str = "", **changes: object) -> Consented | Withheld:
        call = Call(source, ServiceName("my.Note"), ServiceArgument(argument), TargetName(""))
        return await self.consent.resolve(call, replace(ASKING, **changes))  # type: ignore[arg-type]  # its fields


POLICY = assemble([("30-user.policy", b"my.Note * @anyvm @anyvm ask\n")])
assert isinstance(POLICY, PolicyRules)
ASKING = Asking((WORK, VAULT), None, None, True, False, POLICY.rules[0])


class Agent:
    """Says `answer` to whatever it is asked, if it has one."""

    def __init__(self, desk: Desk, answer: Answer | None = None) -> None:
        self.told: list[Told] = []
        self._desk = desk
        self._answer = answer

    def tell(self, told: Told) -> None:
        self.told.append(told)
        if isinstance(told, Question) and self._answer is not None:
            answer = self._answer
            asyncio.get_running_loop().call_soon(lambda: self._desk.consent.answer(told.id, answer))

    @property
    def questions(self) -> list[Question]:
        return [one for one in self.told if isinstance(one, Question)]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with closing(FullStore(tmp_path / "state")) as store:
        yield Desk(store)


def played(scene: Callable[[], Awaitable[None]]) -> None:
    async def play() -> None:
        async with asyncio.timeout(30):
            await scene()

    asyncio.run(play())


async def settle() -> None:
    """Let whatever can go on go on."""
    for _ in range(20):
        await asyncio.sleep(0)


YES = Yes(TargetName("work"))
SESSION = replace(YES, term=Term.SESSION)
HOUR = replace(YES, term=Term.UNTIL, seconds=3600)


def test_nobody_to_ask_is_a_no_that_says_what_to_do(desk: Desk) -> None:
    async def scene() -> None:
        answer = await desk.ask()
        assert isinstance(answer, Withheld)
        assert "bento agent" in answer.sentence
        assert "my.Note from random" in answer.sentence

    played(scene)


def test_the_person_sees_the_call_and_chooses_its_target(desk: Desk) -> None:
    async def scene() -> None:
        agent = Agent(desk, Yes(TargetName("vault")))
        with desk.consent.attending(agent):
            answer = await desk.ask(argument="secret", user=UserName("root"), default=WORK)
        assert answer == Consented(VAULT, "once")
        attending, question, settled = agent.told
        assert attending == Attending()
        assert isinstance(question, Question)
        assert (question.source.name, question.source.label) == ("random", "red")
        assert (question.service, question.argument, question.user) == ("my.Note", "secret", "root")
        assert [(one.name, f"{one.rgb:06x}") for one in question.choices] == [("work", "3465a4"), ("vault", "000000")]
        assert (question.default, question.seconds) == ("work", 60)
        assert settled == Settled(question.id, Outcome.YES)

    played(scene)


def test_a_new_disposable_is_offered_in_the_colour_of_its_base(desk: Desk) -> None:
    async def scene() -> None:
        agent = Agent(desk, Yes(TargetName("@dispvm:work"), Term.SESSION))
        with desk.consent.attending(agent):
            answer = await desk.ask(candidates=(Disposable(WORK),))
            again = await desk.ask(candidates=(Disposable(WORK),))
        assert isinstance(answer, Consented)
        assert (answer.target, again) == (Disposable(WORK), answer)
        assert agent.questions[0].choices[0].label == "blue"

    played(scene)


@pytest.mark.parametrize(("seconds", "said"), [(60, "because you said no"), (0, "nobody answered within 0 s")])
def test_no_and_silence_are_both_a_no(desk: Desk, seconds: int, said: str) -> None:
    async def scene() -> None:
        desk.next_manager(answer_seconds=seconds)
        agent = Agent(desk, No() if seconds else None)
        with desk.consent.attending(agent):
            answer = await desk.ask()
        assert isinstance(answer, Withheld)
        assert said in answer.sentence
        assert isinstance(agent.told[-1], Settled)
        assert agent.told[-1].outcome is (Outcome.NO if seconds else Outcome.LATE)

    played(scene)


def test_the_first_answer_of_several_agents_wins_and_the_others_prompts_go(desk: Desk) -> None:
    async def scene() -> None:
        first, second = Agent(desk), Agent(desk)
        with desk.consent.attending(first), desk.consent.attending(second):
            asking = asyncio.create_task(desk.ask())
            await settle()
            number = second.questions[0].id
            desk.consent.answer(number, YES)
            with pytest.raises(Conflict, match="answered already"):
                desk.consent.answer(number, No())
            assert await asking == Consented(WORK, "once")
            with pytest.raises(Conflict, match="answered already"):
                desk.consent.answer(number, No())
        assert first.told[-1] == second.told[-1] == Settled(number, Outcome.YES)

    played(scene)


def test_an_answer_to_another_question_or_with_another_target_counts_for_nothing(desk: Desk) -> None:
    async def scene() -> None:
        agent = Agent(desk)
        with desk.consent.attending(agent):
            asking = asyncio.create_task(desk.ask())
            await settle()
            with pytest.raises(Conflict):
                desk.consent.answer(QuestionId("0" * 16), YES)
            with pytest.raises(Invalid, match="'random' is none of the targets"):
                desk.consent.answer(agent.questions[0].id, Yes(TargetName("random")))
            assert not asking.done()
            desk.consent.answer(agent.questions[0].id, No())
            assert isinstance(await asking, Withheld)

    played(scene)


def test_an_agent_that_comes_late_is_asked_what_is_open_with_the_time_that_is_left(desk: Desk) -> None:
    async def scene() -> None:
        early, late = Agent(desk), Agent(desk, YES)
        with desk.consent.attending(early):
            asking = asyncio.create_task(desk.ask())
            await settle()
            desk.now += 20
            with desk.consent.attending(late):
                assert await asking == Consented(WORK, "once")
        assert late.questions == [replace(early.questions[0], seconds=40)]

    played(scene)


def test_when_the_last_agent_leaves_the_question_is_over(desk: Desk) -> None:
    async def scene() -> None:
        with desk.consent.attending(Agent(desk)):
            with desk.consent.attending(Agent(desk)):
                asking = asyncio.create_task(desk.ask())
                await settle()
            await settle()
            assert not asking.done()
        answer = await asking
        assert isinstance(answer, Withheld)
        assert "ended without an answer" in answer.sentence

    played(scene)


def test_a_call_that_is_gone_takes_its_question_with_it(desk: Desk) -> None:
    async def scene() -> None:
        agent = Agent(desk)
        with desk.consent.attending(agent):
            asking = asyncio.create_task(desk.ask())
            await settle()
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            assert agent.told[-1] == Settled(agent.questions[0].id, Outcome.VAIN)
            with pytest.raises(Conflict):
                desk.consent.answer(agent.questions[0].id, YES)
            # The next one's is asked all the same.
            other = asyncio.create_task(desk.ask(source=WORK))
            await settle()
            assert agent.questions[-1].source.name == "work"
            other.cancel()

    played(scene)


def test_one_question_is_open_at_a_time_and_sources_take_turns(desk: Desk) -> None:
    async def scene() -> None:
        agent = Agent(desk)
        with desk.consent.attending(agent):
            bulk = [asyncio.create_task(desk.ask(argument=f"{number}")) for number in range(4)]
            await settle()
            other = asyncio.create_task(desk.ask(source=WORK))
            await settle()
            assert len(agent.questions) == 1
            desk.consent.answer(agent.questions[0].id, YES)
            await settle()
            assert [question.source.name for question in agent.questions] == ["random", "work"]
            for task in (*bulk, other):
                task.cancel()

    played(scene)


def test_a_source_has_few_questions_waiting_and_more_are_refused_at_once(desk: Desk) -> None:
    async def scene() -> None:
        with desk.consent.attending(Agent(desk)):
            waiting = [asyncio.create_task(desk.ask(argument=f"{number}")) for number in range(MAX_WAITING)]
            await settle()
            answer = await desk.ask(argument="more")
            assert isinstance(answer, Withheld)
            assert f"{MAX_WAITING} questions about random are open already" in answer.sentence
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    played(scene)


def test_a_no_answers_the_same_question_for_a_while_and_those_that_wait_with_it(desk: Desk) -> None:
    async def scene() -> None:
        agent = Agent(desk, No())
        with desk.consent.attending(agent):
            answers = await asyncio.gather(*(desk.ask() for _ in range(5)))
            assert all(isinstance(answer, Withheld) for answer in answers)
            assert len(agent.questions) == 1
            desk.now += SAME_SECONDS
            await desk.ask()
            assert len(agent.questions) == 2

    played(scene)


def test_who_is_not_allowed_several_things_in_a_row_is_not_asked_about_for_a_while(desk: Desk) -> None:
    async def scene() -> None:
        agent = Agent(desk, No())
        with desk.consent.attending(agent):
            for number in range(MAX_REFUSED):
                await desk.ask(argument=f"{number}")
            answer = await desk.ask(argument="one more")
            assert isinstance(answer, Withheld)
            assert "nobody is asked for a while" in answer.sentence
            assert len(agent.questions) == MAX_REFUSED
            await desk.ask(source=WORK)
            assert len(agent.questions) == MAX_REFUSED + 1, "others are"
            desk.now += REST_SECONDS
            await desk.ask(argument="later")
            assert len(agent.questions) == MAX_REFUSED + 2

    played(scene)


def test_a_guest_that_asks_and_gives_up_again_and_again_is_refused_too(desk: Desk) -> None:
    async def scene() -> None:
        agent = Agent(desk)
        with desk.consent.attending(agent):
            for number in range(MAX_REFUSED + 5):
                asking = asyncio.create_task(desk.ask(argument=f"{number}"))
                await settle()
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
        assert len(agent.questions) == MAX_REFUSED

    played(scene)


def test_a_yes_makes_up_for_what_was_refused_before(desk: Desk) -> None:
    async def scene() -> None:
        agent = Agent(desk)
        with desk.consent.attending(agent):
            for number in range(3 * MAX_REFUSED):
                asking = asyncio.create_task(desk.ask(argument=f"{number}"))
                await settle()
                desk.consent.answer(agent.questions[-1].id, YES if number % MAX_REFUSED == 0 else No())
                await asking
        assert len(agent.questions) == 3 * MAX_REFUSED

    played(scene)


def test_targets_that_are_gone_when_the_turn_comes_are_not_offered(desk: Desk) -> None:
    async def scene() -> None:
        agent = Agent(desk, YES)
        with desk.consent.attending(agent):
            desk.inventory.drop(VAULT)
            await desk.ask(default=VAULT)
            assert [one.name for one in agent.questions[0].choices] == ["work"]
            assert agent.questions[0].default is None
            answer = await desk.ask(candidates=(VAULT,))
            assert isinstance(answer, Withheld)
            assert "none of its targets" in answer.sentence

    played(scene)


@pytest.mark.parametrize("yes", [YES, HOUR])
def test_a_yes_to_a_domain_whose_name_another_has_by_now_counts_for_nothing(desk: Desk, yes: Yes) -> None:
    async def scene() -> None:
        agent = Agent(desk)
        with desk.consent.attending(agent):
            asking = asyncio.create_task(desk.ask())
            await settle()
            record = desk.inventory.get(WORK)
            desk.inventory.drop(WORK)
            desk.inventory.put(replace(record, domain=replace(record.domain, uuid=UUID(int=99))))
            desk.consent.answer(agent.questions[0].id, yes)
            answer = await asking
        assert isinstance(answer, Withheld)
        assert "work is not the domain any more" in answer.sentence
        assert desk.grants.all() == []

    played(scene)


# ---- grants --------------------------------------------------------------------------------------


def granted(desk: Desk, yes: Yes) -> Consented:
    """The answer of a person who says `yes`."""
    got: list[Consented] = []

    async def scene() -> None:
        with desk.consent.attending(Agent(desk, yes)):
            answer = await desk.ask()
        assert isinstance(answer, Consented)
        got.append(answer)

    played(scene)
    return got[0]


def asked_anew(desk: Desk, **changes: object) -> bool:
    """Whether the same call, or one with other features of its question, has to be asked about."""
    got: list[bool] = []

    async def scene() -> None:
        answer = await desk.ask(**changes)  # type: ignore[arg-type]  # its parameters, by keyword
        got.append(isinstance(answer, Withheld))

    played(scene)
    return got[0]


def test_once_is_once(desk: Desk) -> None:
    assert granted(desk, YES).grant == "once"
    assert desk.grants.all() == []
    assert asked_anew(desk)


@pytest.mark.parametrize("yes", [SESSION, HOUR])
def test_a_grant_answers_without_an_agent_and_is_named_in_the_answer(desk: Desk, yes: Yes) -> None:
    first = granted(desk, yes)
    (grant,) = desk.grants.all()
    assert first == Consented(WORK, f"{yes.term}:{grant.id}")
    assert not asked_anew(desk)


@pytest.mark.parametrize(
    "changes",
    [
        {"source": WORK},
        {"argument": "other"},
        {"user": UserName("root")},
        {"candidates": (VAULT,)},
        {"candidates": (Disposable(WORK),)},
    ],
)
def test_a_grant_is_for_what_the_person_saw_and_nothing_else(desk: Desk, changes: dict[str, object]) -> None:
    granted(desk, SESSION)
    assert asked_anew(desk, **changes)
    assert not asked_anew(desk)


def test_a_grant_is_for_the_target_that_the_caller_named(desk: Desk) -> None:
    granted(desk, SESSION)

    async def scene() -> None:
        for target, known in (("", True), ("@default", True), ("vault", False)):
            call = Call(RANDOM, ServiceName("my.Note"), ServiceArgument(""), TargetName(target))
            assert isinstance(await desk.consent.resolve(call, ASKING), Consented) is known

    played(scene)


def test_a_session_ends_with_the_run_of_the_domain_that_calls(desk: Desk) -> None:
    granted(desk, SESSION)
    desk.inventory.change(WORK, run=None)
    assert not asked_anew(desk), "its target may come and go"
    desk.inventory.change(RANDOM, run=None)
    assert desk.grants.all() == []
    desk.inventory.change(RANDOM, run=Run(Phase.RUNNING, 1, 20.0))
    assert asked_anew(desk)


def test_a_session_ends_with_the_manager_and_a_time_does_not(desk: Desk) -> None:
    granted(desk, SESSION)
    desk.next_manager()
    assert asked_anew(desk)
    granted(desk, HOUR)
    desk.inventory.change(RANDOM, run=Run(Phase.RUNNING, 1, 20.0))
    desk.next_manager()
    assert not asked_anew(desk)


def test_a_time_ends(desk: Desk) -> None:
    granted(desk, HOUR)
    desk.now += 3599
    assert not asked_anew(desk)
    desk.now += 1
    assert asked_anew(desk)
    assert desk.grants.all() == []
    assert desk.store.grants() == []


def test_a_clock_that_was_set_back_makes_no_grant_last_longer(desk: Desk) -> None:
    granted(desk, HOUR)
    desk.now -= 100
    assert asked_anew(desk)


@pytest.mark.parametrize("gone", [RANDOM, WORK])
@pytest.mark.parametrize("yes", [SESSION, HOUR])
def test_a_new_domain_under_an_old_name_inherits_nothing(desk: Desk, gone: DomainName, yes: Yes) -> None:
    granted(desk, yes)
    record = desk.inventory.get(gone)
    desk.inventory.drop(gone)
    desk.inventory.put(replace(record, domain=replace(record.domain, uuid=UUID(int=99))))
    assert asked_anew(desk)
    assert desk.grants.all() == []


@pytest.mark.parametrize("yes", [SESSION, HOUR])
def test_a_revoked_grant_is_gone_for_good(desk: Desk, yes: Yes) -> None:
    granted(desk, yes)
    (grant,) = desk.grants.all()
    desk.grants.revoke(grant.id)
    assert asked_anew(desk)
    desk.next_manager()
    assert asked_anew(desk)
    with pytest.raises(NoSuch, match="bento grants"):
        desk.grants.revoke(grant.id)


def test_a_later_answer_takes_the_place_of_an_earlier_one(desk: Desk) -> None:
    granted(desk, replace(HOUR, target=TargetName("work")))
    desk.now += 1

    async def scene() -> None:
        # The policy offers another target alone, so the person is asked again.
        with desk.consent.attending(Agent(desk, replace(HOUR, target=TargetName("vault")))):
            await desk.ask(candidates=(VAULT,))

    played(scene)
    (grant,) = desk.grants.all()
    assert grant.target == "vault"
    assert desk.store.grants() == [grant], "or the old one would be back after a restart"
    desk.grants.revoke(grant.id)
    granted(desk, HOUR)
    desk.now += 1
    other = replace(SESSION, target=TargetName("vault"))

    async def session() -> None:
        with desk.consent.attending(Agent(desk, other)):
            await desk.ask(candidates=(VAULT,))

    played(session)
    assert desk.store.grants() == []


def test_a_grant_that_cannot_be_kept_counts_once(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.store.full = True
    assert granted(desk, HOUR) == Consented(WORK, "once")
    assert "counts once only" in caplog.text
    assert desk.grants.all() == []


# ---- notices -------------------------------------------------------------------------------------


def test_notices_reach_every_agent_and_a_chatty_domain_is_cut_short(desk: Desk) -> None:
    async def scene() -> None:
        agent, other = Agent(desk), Agent(desk)
        with desk.consent.attending(agent), desk.consent.attending(other):
            for _ in range(3 * NOTICES_A_MINUTE):
                desk.consent.notify(RANDOM, "it was denied")
            desk.consent.notify(WORK, "it was allowed")
            heard = [one for one in agent.told if isinstance(one, Notice)]
            assert [one.source.name for one in heard] == ["random"] * NOTICES_A_MINUTE + ["work"]
            assert "in the log only" in heard[NOTICES_A_MINUTE - 1].sentence
            assert heard[-1].sentence == "it was allowed"
            assert other.told == agent.told
            desk.now += 60
            desk.consent.notify(RANDOM, "it was denied")
            assert agent.told[-1] == Notice(heard[0].source, "it was denied")

    played(scene)


def test_a_notice_about_a_domain_that_is_gone_harms_nobody(desk: Desk) -> None:
    async def scene() -> None:
        agent = Agent(desk)
        with desk.consent.attending(agent):
            desk.inventory.drop(RANDOM)
            desk.consent.notify(RANDOM, "it was denied")
        assert agent.told == [Attending()]

    played(scene)
