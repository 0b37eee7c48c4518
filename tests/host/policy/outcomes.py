"""What a policy makes of all calls, by asking `decide` about each of them."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

from bento.host.model.domain import ADMIN
from bento.host.policy.decide import Allowed, Asking, Call, End, decide
from bento.host.policy.outcomes import Terms
from bento.host.policy.rules import Rule
from bento.host.policy.services import Asked, Services
from bento.host.policy.space import stand_in, with_disposables
from bento.host.policy.world import Disposable, World
from bento.wire.names import ServiceArgument, ServiceName, TargetName
from tests.host.policy.made import policy_of

FRESH = {"service": ServiceName("fresh"), "argument": ServiceArgument("fresh")}

Outcome = tuple[End, End, Terms]


def concrete(asked: Asked) -> tuple[ServiceName, ServiceArgument]:
    service = FRESH["service"] if asked.service is None else asked.service
    argument = FRESH["argument"] if asked.argument is None else asked.argument
    return ServiceName(service), ServiceArgument(argument)


def nodes(world: World) -> list[End]:
    bases = [base for base in world.domains if world.makes_disposables(base)]
    return [*dict.fromkeys((ADMIN, *world.domains)), *map(Disposable, bases)]


def outcomes(made: list[Rule], world: World, asked: Asked) -> set[Outcome]:
    """What `decide` says to every source about every target it could name, if all domains ran."""
    service, argument = concrete(asked)
    facts = {name: replace(facts, running=True) for name, facts in with_disposables(world).domains.items()}
    running = World(facts)
    targets = [*map(str, nodes(world)), "", "@default", "@dispvm", "gone"]
    return {
        (source, *end)
        for source, target in product(nodes(world), targets)
        if source != ADMIN
        for end in _ends(made, Call(stand_in(source), service, argument, TargetName(target)), running)
    }


def _ends(made: list[Rule], call: Call, world: World) -> Iterator[tuple[End, Terms]]:
    match decide(policy_of(made), call, world):
        case Allowed(target, user, autostart, notify, _):
            yield target, Terms(user or "", autostart, notify)
        case Asking(candidates, default, user, autostart, notify, _):
            for end in candidates:
                # The stand-ins are there to call. The person is offered what exists and what can be made.
                if isinstance(end, Disposable) or not end.startswith("@"):
                    yield end, Terms(user or "", autostart, notify, asked=True, chosen=end == default)


def pairs(found: set[Outcome]) -> set[tuple[End, End]]:
    return {(source, target) for source, target, _ in found}


def allows(services: Services, asked: Asked) -> bool:
    """Whether the words of `services` mean `asked`, by their reading in docs/policy.md."""
    for span in services.spans:
        if span.service == asked.service:
            named = "other" if asked.argument is None else f"+{asked.argument}"
            if span.argument in ("*", named):
                return not services.but
    return services.but
