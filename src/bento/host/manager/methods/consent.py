"""The person's agents, and what the person allowed for longer: `bento.consent.*`, `bento.grants.*`."""

import asyncio
import json
from collections.abc import AsyncGenerator

from bento.host.manager.methods.kinds import Manager, Method, Reply, Stream
from bento.host.model.errors import Conflict, Invalid
from bento.host.model.grant import Grant
from bento.wire.admin import Event, Request
from bento.wire.consent import QuestionId, Told, encode_told, parse_answer
from bento.wire.errors import WireError

MAX_BEHIND = 256
"""What an agent may lag behind before it is dropped."""


async def attend(manager: Manager, request: Request) -> Reply:
    """Questions and notices as events (`wire/consent.py`), for as long as the agent stays."""
    return Stream(_attend(manager))


async def _attend(manager: Manager) -> AsyncGenerator[Event, None]:
    agent = _Attendant()
    with manager.consent.attending(agent):
        while told := await agent.queue.get():
            yield encode_told(told)
    raise Conflict("this agent does not keep up with what it is told", actual="behind", required="attending")


class _Attendant:
    """The port's `Agent`, as the far end of a connection."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Told | None] = asyncio.Queue()

    def tell(self, told: Told) -> None:
        if (behind := self.queue.qsize()) <= MAX_BEHIND:
            self.queue.put_nowait(told if behind < MAX_BEHIND else None)


async def answer(manager: Manager, request: Request) -> Reply:
    """`argument`: the question's number."""
    try:
        manager.consent.answer(QuestionId.parse(request.argument), parse_answer(request.payload))
    except WireError as error:
        raise Invalid(str(error)) from None
    return b""


async def grants(manager: Manager, request: Request) -> Reply:
    return json.dumps([_row(grant) for grant in manager.grants.all()]).encode()


def _row(grant: Grant) -> dict[str, object]:
    """Times are seconds since 1970; `until` is null for one that counts for a session."""
    errand = grant.errand
    return {
        "id": grant.id,
        "source": grant.source,
        "service": errand.service,
        "argument": errand.argument,
        "requested": errand.requested,
        "target": grant.target,
        "user": errand.user,
        "made": grant.made,
        "until": grant.until,
    }


async def revoke(manager: Manager, request: Request) -> Reply:
    """`argument`: a grant's id, or empty for all there are. The ids of those that are no more, as JSON."""
    numbers = [request.argument] if request.argument else [grant.id for grant in manager.grants.all()]
    for number in numbers:
        manager.grants.revoke(number)
    return json.dumps(numbers).encode()


METHODS: dict[str, Method] = {
    "bento.consent.Attend": attend,
    "bento.consent.Answer": answer,
    "bento.grants.List": grants,
    "bento.grants.Revoke": revoke,
}
