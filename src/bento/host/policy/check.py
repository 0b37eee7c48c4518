"""What is odd about a sound policy: rules that can never match, and names that mean nobody.

"Never" is meant strictly: in no world whatever, not only among the domains
there are today. It is found out exactly, without trying calls at random. Every
selector says what a party *is*, never what it is not; so whatever matches a
plain party matches it still when it has more names and tags to it. Of all calls that
a rule matches, the plainest are therefore the hardest for the rules above to
catch: a service, an argument and domains that no rule names, no tags but the
rule's own, one of each class. If the rules above catch all of these, they
catch every call the rule could ever see; if they miss one, that one is its.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from itertools import product
from typing import assert_never

from bento.host.model.domain import ADMIN, ADMIN_UUID, DomainClass
from bento.host.policy.files import Policy, PolicyBroken
from bento.host.policy.rules import (
    AnyDomain,
    Ask,
    Deny,
    DisposableOf,
    DisposableTagged,
    Everything,
    Identified,
    MadeFrom,
    MadeFromTagged,
    Named,
    NoTarget,
    OfClass,
    OwnDisposable,
    Rule,
    Selector,
    Tagged,
)
from bento.host.policy.world import World
from bento.wire.names import DomainName, ServiceArgument, ServiceName, Tag


class Oddity(Enum):
    BROKEN = "broken"
    """The policy is malformed."""
    NEVER = "never"
    """The rule can never match."""
    NAME = "name"
    """There is no such domain."""
    TAG = "tag"
    """No domain carries the tag."""
    SERVICE = "service"
    """The service is not among the known ones, which need not be all."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`line` and `column` count from 1; 0 means the whole file, or the whole line. `sentence` is safe to print."""

    oddity: Oddity
    file: str
    line: int
    column: int
    sentence: str


def check(policy: Policy, world: World, services: frozenset[ServiceName] | None = None) -> tuple[Finding, ...]:
    """What a person should look at, in the policy's order. `services`: all that are known, if any are."""
    if isinstance(policy, PolicyBroken):
        fault = policy.fault
        return (Finding(Oddity.BROKEN, fault.file, fault.line, fault.column, fault.problem),)
    return tuple(_findings(policy.rules, world, services))


def _findings(rules: tuple[Rule, ...], world: World, services: frozenset[ServiceName] | None) -> Iterator[Finding]:
    tags = {tag for name, facts in world.domains.items() if name != ADMIN for tag in facts.tags}
    above = _Above()
    unknown: set[ServiceName] = set()
    for rule in rules:
        if never := _never(rule, above):
            yield _finding(rule, Oddity.NEVER, never)
        above.add(rule)
        for name in _names(rule):
            if not world.has(name):
                yield _finding(rule, Oddity.NAME, f"there is no domain {name}")
        for tag in _tags(rule):
            if tag not in tags:
                yield _finding(rule, Oddity.TAG, f"no domain carries the tag {tag}")
        if services is None or rule.service is None or rule.service in services or rule.service in unknown:
            continue
        unknown.add(rule.service)  # told once, where it first stands
        yield _finding(rule, Oddity.SERVICE, _unknown(rule.service, services))


def _finding(rule: Rule, oddity: Oddity, sentence: str) -> Finding:
    return Finding(oddity, rule.file, rule.line, 0, sentence)


def _unknown(service: ServiceName, services: frozenset[ServiceName]) -> str:
    """A warning, and no more: what is installed in a domain only the domain knows."""
    if near := get_close_matches(service, sorted(services), n=1, cutoff=0.8):
        return f"nobody is known to have the service {service}; did you mean {near[0]}?"
    return (
        f"nobody is known to have the service {service};"
        f" if you installed it, 'bento features TEMPLATE supported-rpc.{service} 1' makes it known"
    )


def _names(rule: Rule) -> Iterable[DomainName]:
    selectors: list[Selector | DomainName | None] = [rule.source, rule.target]
    if not isinstance(rule.action, Deny):
        selectors.append(rule.action.target)
    if isinstance(rule.action, Ask):
        selectors.append(rule.action.default_target)
    named = []
    for selector in selectors:
        match selector:
            case DomainName():
                named.append(selector)
            case Named(name) | MadeFrom(Named(name)) | DisposableOf(Named(name)):
                named.append(name)
    return dict.fromkeys(named)


def _tags(rule: Rule) -> Iterable[Tag]:
    tagged = (Tagged, MadeFromTagged, DisposableTagged)
    return dict.fromkeys(selector.tag for selector in (rule.source, rule.target) if isinstance(selector, tagged))


# ---- can a rule match at all? --------------------------------------------------------------------

NEW = None
"""In place of a service, argument or domain: one that no rule names. There is always another."""

SHOWN = 3
"""How many of the rules above a finding names."""

CLASSES = tuple(klass for klass in DomainClass if klass is not DomainClass.ADMIN)
"""What a domain can be that is not the admin domain; that one has no class as far as rules go (`World.facts`)."""


def _never(rule: Rule, above: "_Above") -> str:
    """Why `rule` can never match, or nothing if it can."""
    sources = [party for party in _plainest(rule.source) if party not in NO_DOMAINS]  # a domain always calls
    targets = _plainest(rule.target)
    for parties, selector in ((sources, rule.source), (targets, rule.target)):
        if not parties:
            return f"it can never match: {selector} means nobody"
    catching: dict[int, Rule] = {}
    for source, target in product(sources, targets):
        if isinstance(rule.source, Named | Identified) and rule.source == rule.target and source != target:
            continue  # one domain, which cannot be of two classes
        caught = above.first(rule.service, rule.argument, source, target)
        if caught is None:
            return ""
        catching[caught[0]] = caught[1]
    places = [catching[at].place for at in sorted(catching)]
    shown = " and ".join(places) if len(places) <= SHOWN else f"{', '.join(places[:SHOWN])} and others"
    return f"it can never match: every call it means is decided above, by {shown}"


@dataclass(frozen=True, slots=True)
class _Plain:
    """A party by the selectors that match it."""

    selectors: tuple[Selector, ...]


def _domain(klass: DomainClass, *more: Selector) -> _Plain:
    return _Plain((Everything(), AnyDomain(), OfClass(klass.value), *more))


THE_ADMIN = _Plain((Everything(), Named(ADMIN), Identified(ADMIN_UUID)))
NOBODY = _Plain((Everything(), AnyDomain(), NoTarget()))
A_DISPOSABLE = _Plain((Everything(), AnyDomain()))
"""A new one, of a domain that no rule names."""
OWN_DISPOSABLE = _Plain((Everything(), AnyDomain(), OwnDisposable()))
NO_DOMAINS = (NOBODY, A_DISPOSABLE, OWN_DISPOSABLE)


def _plainest(selector: Selector) -> list[_Plain]:
    """Parties that `selector` matches, such that every other one it matches has all the selectors of one of these."""
    match selector:
        case Everything():
            return [THE_ADMIN, *_plainest(AnyDomain())]
        case AnyDomain():
            return [*(_domain(klass) for klass in CLASSES), *NO_DOMAINS]
        case NoTarget():
            return [NOBODY]
        case OwnDisposable():
            return [OWN_DISPOSABLE]
        case DisposableOf() | DisposableTagged():
            return [_Plain((*A_DISPOSABLE.selectors, selector))]
        case Named(name) if name == ADMIN:
            return [THE_ADMIN]
        case Identified(uuid) if uuid == ADMIN_UUID:
            return [THE_ADMIN]
        case Named() | Identified() | Tagged() | MadeFrom() | MadeFromTagged():
            return [_domain(klass, selector) for klass in CLASSES]
        case OfClass(word):
            return [_domain(klass) for klass in CLASSES if klass.value == word]
        case never:
            assert_never(never)


class _Above:
    """The rules above one, by what stands in their columns: to find the first for a party is a few look-ups."""

    def __init__(self) -> None:
        self._rules: dict[tuple[ServiceName | None, ServiceArgument | None, Selector, Selector], tuple[int, Rule]] = {}
        self._count = 0

    def add(self, rule: Rule) -> None:
        columns = (rule.service, rule.argument, rule.source, rule.target)
        self._rules.setdefault(columns, (self._count, rule))
        self._count += 1

    def first(
        self, service: ServiceName | None, argument: ServiceArgument | None, source: _Plain, target: _Plain
    ) -> tuple[int, Rule] | None:
        """The first rule, with its position, that decides such a call. A `*` matches `NEW`, and nothing else does."""
        columns = product({service, None}, {argument, None}, source.selectors, target.selectors)
        found = [caught for column in columns if (caught := self._rules.get(column))]
        return min(found, key=lambda caught: caught[0], default=None)
