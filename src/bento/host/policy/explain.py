"""Why a call is decided as it is: the decision, and the rules above it that nearly matched, each with what kept it.

`explain` does not decide: it asks `decide`, then reads the rules above the one
that decided. A rule nearly matched if one column alone kept it from matching,
or if it names the call's service and fits its argument: those are the rules
that a person has in mind who asks "but why?".
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import assert_never

from bento.host.model.domain import ADMIN
from bento.host.policy.decide import Call, Decision, decide
from bento.host.policy.files import Policy, PolicyBroken
from bento.host.policy.rules import (
    AnyDomain,
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
    spelled,
)
from bento.host.policy.world import DefaultDisposable, Disposable, Keyword, Party, World, intended
from bento.wire.names import DomainName


class Column(Enum):
    SERVICE = "service"
    ARGUMENT = "argument"
    SOURCE = "source"
    TARGET = "target"


@dataclass(frozen=True, slots=True)
class Miss:
    """A rule that nearly matched. `why` says of each of its `columns` what kept it, safe to print."""

    rule: Rule
    columns: tuple[Column, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """`nearly`: in the policy's order, all above the rule that decided; all there are if none did."""

    decision: Decision
    nearly: tuple[Miss, ...]


def explain(policy: Policy, call: Call, world: World) -> Explanation:
    decision = decide(policy, call, world)
    target = intended(call.target, call.source, world)
    if isinstance(policy, PolicyBroken) or target is None or not world.has(call.source):
        return Explanation(decision, ())  # no rule was ever looked at
    above = policy.rules
    if decision.rule:
        # By identity: the same line may stand in the policy twice, and only the first of them decided.
        above = above[: next(at for at, rule in enumerate(above) if rule is decision.rule)]
    return Explanation(decision, tuple(_misses(above, call, target, world)))


def _misses(rules: tuple[Rule, ...], call: Call, target: Party, world: World) -> Iterator[Miss]:
    for rule in rules:
        reasons = dict(_reasons(rule, call, target, world))
        fits = rule.service == call.service and Column.ARGUMENT not in reasons
        if fits or len(reasons) == 1:
            yield Miss(rule, tuple(reasons), ", and ".join(reasons.values()))


def _reasons(rule: Rule, call: Call, target: Party, world: World) -> Iterator[tuple[Column, str]]:
    """The columns that do not match, and what a person would say of each."""
    if rule.service not in (None, call.service):
        yield Column.SERVICE, f"it is about the service {rule.service}"
    if rule.argument not in (None, call.argument):
        argument = f"the argument +{rule.argument[:64]}" if rule.argument else "calls without an argument"
        yield Column.ARGUMENT, f"it is about {argument}"
    if not rule.source.matches(call.source, world):
        yield Column.SOURCE, _why_not(rule.source, call.source, "caller")
    if not rule.target.matches(target, world):
        yield Column.TARGET, _why_not(rule.target, target, "target")


def _why_not(selector: Selector, party: Party, side: str) -> str:
    """Why `selector` does not match `party`, which it does not."""
    whom = _called(party)
    match selector:
        case Named(name):
            return f"its {side} is {spelled(name)}, not {whom}"
        case Identified():
            return f"its {side} is {selector}, which is not {whom}"
        case NoTarget():
            return f"it is for calls without an existing target, and this one is for {whom}"
        case OwnDisposable():
            return f"it is for calls that say just @dispvm, and this one is for {whom}"
        case DisposableOf() | DisposableTagged():
            return f"it is for calls to a new disposable {_of(selector)}, and this one is for {whom}"
        case MadeFrom() | MadeFromTagged():
            return f"{whom} as its {side} would have to be a disposable {_of(selector)}"
        case AnyDomain() | Everything():  # in truth the former: there is nobody whom * does not match
            return f"{selector} as its {side} does not mean {whom}"
        case Tagged() | OfClass() if not isinstance(party, DomainName) or party == ADMIN:
            return f"{selector} as its {side} never means {whom}"
        case Tagged(tag):
            return f"{whom} as its {side} would have to carry the tag {tag}"
        case OfClass(klass):
            return f"{whom} as its {side} would have to be of class {klass}"
        case never:
            assert_never(never)


def _of(selector: DisposableOf | DisposableTagged | MadeFrom | MadeFromTagged) -> str:
    match selector:
        case DisposableOf(base) | MadeFrom(base):
            return f"of {base}"
        case DisposableTagged(tag) | MadeFromTagged(tag):
            return f"of a domain with the tag {tag}"
        case never:
            assert_never(never)


def _called(party: Party) -> str:
    match party:
        case Keyword():
            return "a call without an existing target"
        case Disposable():
            return f"a new disposable of {party.base}"
        case DefaultDisposable(None):
            return "@dispvm, for which the caller has no base"
        case DefaultDisposable(base):
            return f"@dispvm, which is one of {base}"
        case DomainName():
            return spelled(party)
        case never:
            assert_never(never)
