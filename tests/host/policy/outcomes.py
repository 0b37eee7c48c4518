"""What a policy makes of all calls, by asking `decide` about each of them."""

from dataclasses import replace
from itertools import product

from bento.host.model.domain import ADMIN
from bento.host.policy.decide import Allowed, Asking, Call, Denied, End, decide
from bento.host.policy.rules import Rule
from bento.host.policy.services import Asked, Services
from bento.host.policy.space import Terms
from bento.host.policy.world import World
from bento.wire.names import DomainName, ServiceArgument, ServiceName, TargetName
from tests.host.policy.made import policy_of

FRESH = {"service": ServiceName("fresh"), "argument": ServiceArgument("fresh")}


def concrete(asked: Asked) -> tuple[ServiceName, ServiceArgument]:
    service = FRESH["service"] if asked.service is None else asked.service
    argument = FRESH["argument"] if asked.argument is None else asked.argument
    return ServiceName(service), ServiceArgument(argument)


def outcomes(made: list[Rule], world: World, asked: Asked) -> set[tuple[DomainName, DomainName, Terms]]:
    """What `decide` says to every source about every target it could name, were all domains running."""
    world = World({name: replace(facts, running=True) for name, facts in world.domains.items()})
    service, argument = concrete(asked)
    found: set[tuple[DomainName, DomainName, Terms]] = set()
    for source, target in product(set(world.domains) - {ADMIN}, [*world.domains, ADMIN, "", "@default", "gone"]):
        decided = decide(policy_of(made), Call(source, service, argument, TargetName(target)), world)
        ends: tuple[End, ...] = ()
        if isinstance(decided, Allowed):
            ends = (decided.target,)
        elif isinstance(decided, Asking):
            ends = decided.candidates
        if not isinstance(decided, Denied):
            terms = Terms(decided.user or "", decided.autostart, decided.notify, isinstance(decided, Asking))
            found |= {(source, end, terms) for end in ends if isinstance(end, DomainName)}
    return found


def allows(services: Services, asked: Asked) -> bool:
    """Whether the words of `services` mean `asked`, by their reading in docs/policy.md."""
    for span in services.spans:
        if span.service == asked.service:
            named = "other" if asked.argument is None else f"+{asked.argument}"
            if span.argument in ("*", named):
                return not services.but
    return services.but
