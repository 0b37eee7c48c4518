"""Which rule is the first to match, without trying them one after the other.

Every selector says what a party is: this name, this class, this tag. So a party
can say in a few words all that a column may hold for it to match, and a rule
matches where each of its columns is among them. Those words are looked up:
how many rules there are does not matter. `tests/host/policy/test_index.py` holds the
outcome against trying each rule.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import assert_never

from bento.host.model.domain import ADMIN, ADMIN_UUID
from bento.host.policy.rules import Rule, spelled
from bento.host.policy.world import DefaultDisposable, Disposable, DomainFacts, Keyword, Party, World
from bento.wire.names import DomainName, ServiceArgument, ServiceName

Words = list[str]
"""Spellings of selectors, as `str` of them gives them. As texts they are quicker to look up than as values."""


@dataclass(slots=True)
class _Rules:
    """Those of one service, argument and source: their places in the policy, and the first one for each target."""

    places: list[int] = field(default_factory=list)
    first: dict[str, int] = field(default_factory=dict)


class Index:
    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self._rules = rules
        self._by_call: dict[tuple[ServiceName | None, ServiceArgument | None], dict[str, _Rules]] = {}
        for place, rule in enumerate(rules):
            by_source = self._by_call.setdefault((rule.service, rule.argument), defaultdict(_Rules))
            found = by_source[str(rule.source)]
            found.places.append(place)
            found.first.setdefault(str(rule.target), place)

    def first(
        self, service: ServiceName, argument: ServiceArgument, source: DomainName, target: Party, world: World
    ) -> Rule | None:
        """The first rule that matches."""
        words = _as_target(target, world)
        places = [
            place
            for rules in self._about(service, argument, source, world)
            for word in words
            if (place := rules.first.get(word)) is not None
        ]
        return self._rules[min(places)] if places else None

    def about(
        self, service: ServiceName, argument: ServiceArgument, source: DomainName, world: World
    ) -> Iterator[Rule]:
        """All rules that would match but for the target, in their order."""
        places = (place for rules in self._about(service, argument, source, world) for place in rules.places)
        return (self._rules[place] for place in sorted(places))

    def _about(
        self, service: ServiceName, argument: ServiceArgument, source: DomainName, world: World
    ) -> Iterable[_Rules]:
        words = _as_source(source, world)
        for call in ((service, argument), (service, None), (None, None)):  # with any service goes any argument
            if by_source := self._by_call.get(call):
                for word in words:
                    if rules := by_source.get(word):
                        yield rules


def _as_source(name: DomainName, world: World) -> Words:
    facts = world.facts(name)
    words = _as_domain(name, facts)
    if facts is not None and facts.base is not None:
        words += _as_disposable_of(facts.base, world)
        if (base := world.facts(facts.base)) is not None:
            words += [f"@dispvm:@tag:{tag}" for tag in base.tags]
    return words


def _as_target(party: Party, world: World) -> Words:
    match party:
        case DomainName():
            return _as_domain(party, world.facts(party))
        case Keyword():
            return ["*", "@anyvm", "@default"]
        case DefaultDisposable(base):
            return ["*", "@anyvm", "@dispvm", *(_as_new_disposable(base, world) if base else ())]
        case Disposable(base):
            return ["*", "@anyvm", *_as_new_disposable(base, world)]
        case never:
            assert_never(never)


def _as_domain(name: DomainName, facts: DomainFacts | None) -> Words:
    if name == ADMIN:
        return ["*", "@adminvm", f"uuid:{ADMIN_UUID}"]
    words = ["*", "@anyvm", name]
    if facts is not None:
        words += [f"@type:{facts.klass.value}", f"uuid:{facts.uuid}"]
        words += [f"@tag:{tag}" for tag in facts.tags]
    return words


def _as_disposable_of(base: DomainName, world: World) -> Words:
    return [f"@dispvm:{spelled(base)}", f"@dispvm:uuid:{world.uuid(base)}"]


def _as_new_disposable(base: DomainName, world: World) -> Words:
    words = _as_disposable_of(base, world)
    if (facts := world.facts(base)) is not None and facts.template_for_dispvms:
        words += [f"@dispvm:@tag:{tag}" for tag in facts.tags]
    return words
