"""Asking the person: who attends, what is open, and the answer to a call that the policy has asked about.

One question is open at a time, shown to every agent that attends; the first
answer counts. No agent, no answer in time, a call that is gone: no.

A hostile guest must not be able to bury the person, nor to wear them down until
they say yes. So a source has one question in the queue and a few more behind
it, and sources take turns; a no also answers the same question for a while;
and who was not allowed several things in a row is not asked about at all for a
while. All of that is no more than a refusal sooner.
"""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import assert_never
from uuid import UUID

from bento.host.manager.grants import Grants
from bento.host.manager.inventory import Inventory
from bento.host.model.domain import RGB
from bento.host.model.errors import BentoError, Conflict, Invalid
from bento.host.model.grant import Errand
from bento.host.policy.decide import Asking, Call, End
from bento.host.policy.world import Disposable
from bento.host.ports.consent import Agent
from bento.wire.consent import (
    Answer,
    Attending,
    No,
    Notice,
    Outcome,
    Party,
    Question,
    QuestionId,
    Settled,
    Term,
    Told,
    Yes,
)
from bento.wire.names import DomainName, TargetName

log = logging.getLogger(__name__)

ANSWER_SECONDS = 60
MAX_WAITING = 8
"""Questions of one source, the open one included; further ones are refused at once."""

SAME_SECONDS = 10.0
"""How long a no answers the same question again."""

MAX_REFUSED = 3
"""Questions of one source in a row that were not allowed, until it is not asked about for `REST_SECONDS`."""
REST_SECONDS = 60.0

NOTICES_A_MINUTE = 10
"""For one source."""


@dataclass(frozen=True, slots=True)
class Consented:
    """The call may go to `target`. `grant` is for the log: once, session:ID or until:ID."""

    target: End
    grant: str


@dataclass(frozen=True, slots=True)
class Withheld:
    """`sentence` is for the person and the journal."""

    sentence: str


@dataclass(slots=True)
class _Source:
    """What is to be remembered of a domain that asks."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0
    refused: int = 0
    """In a row."""
    rests_until: float = 0.0
    denied: dict[Errand, float] = field(default_factory=dict)
    """Until when the no counts."""
    notices: list[float] = field(default_factory=list)


@dataclass(slots=True)
class _Open:
    question: Question
    until: float
    answer: asyncio.Future[Answer | None]
    """None: nobody is left to answer."""


class Consent:
    def __init__(
        self,
        inventory: Inventory,
        grants: Grants,
        *,
        answer_seconds: int = ANSWER_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock`: seconds, never set back."""
        self._inventory = inventory
        self._grants = grants
        self._seconds = answer_seconds
        self._clock = clock
        self._agents: list[Agent] = []
        self._attention = asyncio.Lock()
        self._open: _Open | None = None
        self._sources: dict[DomainName, _Source] = {}

    # What a call gets.

    async def resolve(self, call: Call, asking: Asking) -> Consented | Withheld:
        """What the person says of `call`, now or earlier. Cancel it when the call is gone."""
        errand = self._errand(call, asking)
        if found := self._granted(errand, asking):
            return found
        source = self._sources.setdefault(call.source, _Source())
        if why := self._refusal(source, errand):
            return _withheld(call, why)
        if source.waiting >= MAX_WAITING:
            return _withheld(call, f"because {source.waiting} questions about {call.source} are open already")
        source.waiting += 1
        try:
            async with source.turn, self._attention:
                # The question before this one may have been its answer.
                if found := self._granted(errand, asking):
                    return found
                if why := self._refusal(source, errand):
                    return _withheld(call, why)
                return await self._ask(call, asking, source, errand)
        finally:
            source.waiting -= 1

    def _refusal(self, source: _Source, errand: Errand) -> str:
        """Why nobody is asked, or nothing."""
        now = self._clock()
        if not self._agents:
            return "because nobody is there to ask: run 'bento agent' in a terminal and leave it open"
        if now < source.rests_until:
            return f"because {source.refused} questions in a row were not allowed, so that nobody is asked for a while"
        if now < source.denied.get(errand, now):
            return "because you said no to the same a moment ago"
        return ""

    def _granted(self, errand: Errand, asking: Asking) -> Consented | None:
        if grant := self._grants.find(errand):
            target = _candidates(asking).get(grant.target)
            if target is not None:
                return Consented(target, f"{Term.SESSION if grant.until is None else Term.UNTIL}:{grant.id}")
        return None

    async def _ask(self, call: Call, asking: Asking, source: _Source, errand: Errand) -> Consented | Withheld:
        offered = {name: target for name, target in _candidates(asking).items() if _base(target) in self._inventory}
        if not offered:
            return _withheld(call, "because none of its targets is there any more")
        shown = {name: self._uuid(target) for name, target in offered.items()}
        question = self._question(call, asking, offered)
        self._open = _Open(question, self._clock() + self._seconds, asyncio.get_running_loop().create_future())
        self._tell(question)
        outcome, counts = Outcome.VAIN, True
        try:
            async with asyncio.timeout(self._seconds):
                answer = await self._open.answer
            outcome = Outcome.YES if isinstance(answer, Yes) else Outcome.NO
            counts = answer is not None  # that an agent ends is not the source's doing
        except TimeoutError:
            answer, outcome = No(), Outcome.LATE
        finally:
            self._open = None
            self._tell(Settled(question.id, outcome))
            if counts:
                self._remember(source, errand, outcome)
        match answer:
            case Yes(chosen) if self._uuid(offered[chosen]) != shown[chosen]:
                return _withheld(call, f"because {chosen} is not the domain any more that you were asked about")
            case Yes(chosen):
                return self._agreed(call, errand, offered[chosen], answer)
            case No() if outcome is Outcome.LATE:
                return _withheld(call, f"because nobody answered within {self._seconds} s")
            case No():
                return _withheld(call, "because you said no")
            case None:
                return _withheld(call, "because the agent that asked you ended without an answer")
            case never:
                assert_never(never)

    def _remember(self, source: _Source, errand: Errand, outcome: Outcome) -> None:
        now = self._clock()
        source.denied = {one: until for one, until in source.denied.items() if now < until}
        if outcome is Outcome.YES:
            source.refused = 0
            return
        source.denied[errand] = now + SAME_SECONDS
        source.refused += 1
        if source.refused >= MAX_REFUSED:
            source.rests_until = now + REST_SECONDS

    def _agreed(self, call: Call, errand: Errand, target: End, yes: Yes) -> Consented:
        if yes.term is Term.ONCE:
            return Consented(target, Term.ONCE)
        try:
            grant = self._grants.add(errand, call.source, _base(target), yes)
        except BentoError as error:
            log.error("what you allowed %s counts once only: %s", call.source, error)
            return Consented(target, Term.ONCE)
        return Consented(target, f"{yes.term}:{grant.id}")

    # What agents get and give.

    @contextlib.contextmanager
    def attending(self, agent: Agent) -> Iterator[None]:
        """`agent` is told of questions and notices inside of this block."""
        agent.tell(Attending())
        self._agents.append(agent)
        if self._open and not self._open.answer.done():
            left = max(1, round(self._open.until - self._clock()))
            agent.tell(replace(self._open.question, seconds=left))
        try:
            yield
        finally:
            self._agents.remove(agent)
            if not self._agents and self._open and not self._open.answer.done():
                self._open.answer.set_result(None)

    def answer(self, number: QuestionId, answer: Answer) -> None:
        """`Conflict` if that question is not open any more, `Invalid` for a target that it does not offer."""
        if self._open is None or self._open.question.id != number or self._open.answer.done():
            raise Conflict("that question is answered already, or came to its end", actual="settled", required="open")
        if isinstance(answer, Yes) and answer.target not in {one.name for one in self._open.question.choices}:
            raise Invalid(f"'{answer.target}' is none of the targets that the question offers")
        self._open.answer.set_result(answer)

    def notify(self, source: DomainName, sentence: str) -> None:
        """Have the person told, unless it is about a domain that they are told too much of."""
        if not self._agents or source not in self._inventory:
            return
        known, now = self._sources.setdefault(source, _Source()), self._clock()
        known.notices = [at for at in known.notices if now - at < 60.0]
        if len(known.notices) < NOTICES_A_MINUTE:
            known.notices.append(now)
            if len(known.notices) == NOTICES_A_MINUTE:
                sentence += " (what more it does in this minute is in the log only)"
            self._tell(Notice(self._party(source, source), sentence))

    def _tell(self, told: Told) -> None:
        for agent in tuple(self._agents):
            agent.tell(told)

    # Values.

    def _errand(self, call: Call, asking: Asking) -> Errand:
        source = self._inventory.get(call.source).domain.uuid
        return Errand(source, call.service, call.argument, TargetName(call.target or "@default"), asking.user or "")

    def _uuid(self, target: End) -> UUID | None:
        """Which domain the name means now. It can become another one's while the person thinks."""
        base = _base(target)
        return self._inventory.get(base).domain.uuid if base in self._inventory else None

    def _question(self, call: Call, asking: Asking, offered: dict[str, End]) -> Question:
        suggested = "" if asking.default is None else str(asking.default)
        return Question(
            QuestionId(secrets.token_hex(8)),
            self._party(call.source, call.source),
            call.service,
            call.argument,
            call.target,
            asking.user or "",
            tuple(self._party(name, _base(target)) for name, target in offered.items()),
            TargetName(suggested) if suggested in offered else None,
            self._seconds,
        )

    def _party(self, shown: str, base: DomainName) -> Party:
        label = self._inventory.get(base).domain.label
        return Party(TargetName(shown), label, RGB[label])


def _candidates(asking: Asking) -> dict[str, End]:
    return {str(target): target for target in asking.candidates}


def _base(target: End) -> DomainName:
    return target.base if isinstance(target, Disposable) else target


def _withheld(call: Call, why: str) -> Withheld:
    target = call.target or "@default"
    return Withheld(f"{call.service} from {call.source} to {target} is denied {why}")
