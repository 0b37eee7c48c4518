"""The decision on one call: the first rule that matches, and what follows from it. Without a rule: no.

`decide` is total: whatever policy, call and world it is given, it answers. It
trusts the call's source (the manager took it from the broker's socket) and
nothing else in the call. Where the person is to be asked, it says what they may
choose from, and asks nobody.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import assert_never

from bento.host.model.domain import ADMIN
from bento.host.policy.files import Policy, PolicyBroken, PolicyRules
from bento.host.policy.index import Index
from bento.host.policy.rules import (
    Allow,
    Ask,
    Deny,
    Destination,
    DisposableOf,
    Identified,
    Named,
    OwnDisposable,
    Rule,
    withholds_admin,
)
from bento.host.policy.world import Disposable, Keyword, Party, World, intended
from bento.wire.names import DomainName, ServiceArgument, ServiceName, TargetName, UserName, printable


@dataclass(frozen=True, slots=True)
class Call:
    """What a domain asks for. `target` is as the caller gave it: a name, `uuid:`, empty, or an @keyword."""

    source: DomainName
    service: ServiceName
    argument: ServiceArgument
    target: TargetName


class Reason(Enum):
    """Why a call is denied, for programs. None of it is for the guest, which learns only that it was."""

    POLICY_BROKEN = "policy-broken"
    SOURCE_UNKNOWN = "source-unknown"
    TARGET_INVALID = "target-invalid"
    NO_RULE = "no-rule"
    RULE = "rule"
    NO_TARGET = "no-target"
    ITSELF = "itself"
    NOT_RUNNING = "not-running"


End = DomainName | Disposable
"""Where a call can go: an existing domain, or a disposable that is to be made for it."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """The call may go to `target`, which is not the source; a disposable's base exists and may have disposables.

    `user` None means the target's default user. With `autostart` False the
    target runs as far as the world knows, and must not be started if it has
    stopped since. `notify`: tell the person.
    """

    target: End
    user: UserName | None
    autostart: bool
    notify: bool
    rule: Rule


@dataclass(frozen=True, slots=True)
class Asking:
    """The person decides whether the call goes to one of `candidates`: at least one, all as `Allowed.target` is.

    `default` is the one they find chosen. The rest is as in `Allowed`, for
    whichever they choose; `notify`: tell the person also of a denial.
    """

    candidates: tuple[End, ...]
    default: End | None
    user: UserName | None
    autostart: bool
    notify: bool
    rule: Rule


@dataclass(frozen=True, slots=True)
class Denied:
    """`sentence` is for the person and the journal, safe to print. `rule` is the one that led here, if any did."""

    reason: Reason
    sentence: str
    rule: Rule | None = None
    notify: bool = True


Decision = Allowed | Asking | Denied


def decide(policy: Policy, call: Call, world: World) -> Decision:
    match policy:
        case PolicyBroken(fault):
            return _denied(call, Reason.POLICY_BROKEN, f"as every call is until the policy is mended: {fault}")
        case PolicyRules():
            return _by_rules(policy.index, call, world)
        case never:
            assert_never(never)


def _by_rules(rules: Index, call: Call, world: World) -> Decision:
    if not world.has(call.source):
        return _denied(call, Reason.SOURCE_UNKNOWN, f"because there is no domain {printable(call.source)}")
    target = intended(call.target, call.source, world)
    if target is None:
        why = "a call's target is a domain, @adminvm, @default, @dispvm or @dispvm:NAME of a domain for disposables"
        return _denied(call, Reason.TARGET_INVALID, f"because {why}")
    rule = rules.first(call.service, call.argument, call.source, target, world)
    if rule is None:
        lost = target is Keyword.DEFAULT and call.target not in ("", Keyword.DEFAULT.value)
        why = "there is no such domain, and no rule for @default" if lost else "no rule of the policy allows it"
        return _denied(call, Reason.NO_RULE, f"because {why}")
    match rule.action:
        case Deny(notify):
            return _denied(call, Reason.RULE, f"by {rule.place}", rule, notify)
        case Allow() as allow:
            return _allowed(call, target, rule, allow, world)
        case Ask() as ask:
            return _asking(rules, call, rule, ask, world)
        case never:
            assert_never(never)


# ---- where a call goes ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Nowhere:
    """A call cannot go there. `why` completes a sentence that begins with the rule's place."""

    reason: Reason
    why: str


def _allowed(call: Call, wanted: Party, rule: Rule, allow: Allow, world: World) -> Decision:
    """As in the field, what is refused here notifies, whatever the rule says of that; but see `autostart`."""
    end = _end(wanted if allow.target is None else _party(allow.target, call.source, world), call.source, world)
    if isinstance(end, _Nowhere):
        return _denied(call, end.reason, f"because {rule.place} {end.why}", rule)
    if not allow.autostart and not _runs(end, world):
        why = f"because {rule.place} allows it with autostart=no and {end} doesn't run"
        return _denied(call, Reason.NOT_RUNNING, why, rule, allow.notify)
    return Allowed(end, allow.user, allow.autostart, allow.notify, rule)


def _party(destination: Destination, source: DomainName, world: World) -> Party | _Nowhere:
    """Whom `target=` or `default_target=` means."""
    match destination:
        case DomainName():
            return destination
        case Identified(uuid):
            name = world.identified(uuid)
            return name or _Nowhere(Reason.NO_TARGET, f"sends it to {destination}, which doesn't exist")
        case OwnDisposable():
            return world.default_disposable(source)
        case DisposableOf(base):
            found = base.name if isinstance(base, Named) else world.identified(base.uuid)
            return Disposable(found) if found else _Nowhere(Reason.NO_TARGET, f"wants {destination}, which isn't there")
        case never:
            assert_never(never)


def _end(party: Party | _Nowhere, source: DomainName, world: World) -> End | _Nowhere:
    match party:
        case _Nowhere():
            return party
        case Keyword():
            return _Nowhere(Reason.NO_TARGET, "allows it but neither the caller nor target= names an existing domain")
        case DomainName() if not world.has(party):
            return _Nowhere(Reason.NO_TARGET, f"sends it to {party}, which doesn't exist")
        case DomainName() if party == source:
            return _Nowhere(Reason.ITSELF, "would have a domain call itself")
        case DomainName():
            return party
        case _ if party.base is None:
            return _Nowhere(Reason.NO_TARGET, f"wants a disposable, and {source} has no default_dispvm to make it from")
        case _ if not world.makes_disposables(party.base):
            return _Nowhere(Reason.NO_TARGET, f"wants a disposable of {party.base}, which is no template_for_dispvms")
        case _:
            return Disposable(party.base)


def _runs(end: End, world: World) -> bool:
    if isinstance(end, Disposable):
        return False
    facts = world.facts(end)
    return facts is None or facts.running  # without facts only the admin domain exists, and it runs


# ---- whom the person may choose ------------------------------------------------------------------


def _asking(rules: Index, call: Call, rule: Rule, ask: Ask, world: World) -> Decision:
    if ask.target is None:
        ends: set[End] = set(candidates(rules, call, world))
    else:
        end = _end(_party(ask.target, call.source, world), call.source, world)
        if isinstance(end, _Nowhere):
            return _denied(call, end.reason, f"because {rule.place} {end.why}", rule)
        ends = {end}
    if not ask.autostart:
        ends = {end for end in ends if _runs(end, world)}
    if not ends:
        left = "to choose from" if ask.autostart else "that runs and may be chosen"
        why = f"because {rule.place} asks, but the policy leaves nothing {left}"
        return _denied(call, Reason.NO_TARGET, why, rule)
    default = None
    if ask.default_target is not None:
        default = _end(_party(ask.default_target, call.source, world), call.source, world)
    chosen = None if isinstance(default, _Nowhere) or default not in ends else default
    return Asking(
        tuple(sorted(ends, key=lambda end: (isinstance(end, Disposable), str(end)))),
        chosen,
        ask.user,
        ask.autostart,
        ask.notify,
        rule,
    )


def candidates(rules: Index, call: Call, world: World) -> Iterator[End]:
    """Whom a person who is asked about this call may send it to: all that some rule, asked for it, would not deny.

    As in the field, every rule for this service, argument and source counts, those above the one that asks too. The
    first that means somebody decides about them, and one with `target=` means that domain instead of those in
    its column. In one thing Bento is stricter: to deny `@dispvm:NAME` also
    takes away `@dispvm` where that is the same.
    """
    open_ones = dict.fromkeys(_parties(call.source, world))
    for rule in rules.about(call.service, call.argument, call.source, world):
        if isinstance(rule.action, Deny) or rule.action.target is None:
            settled = [party for party in open_ones if rule.target.matches(party, world)]
            if ADMIN in open_ones and withholds_admin(rule, world):
                settled.append(ADMIN)
        else:
            there = _party(rule.action.target, call.source, world)
            settled = [party for party in open_ones if party == there]
        for party in settled:
            del open_ones[party]
            end = _end(party, call.source, world)
            if not isinstance(rule.action, Deny) and not isinstance(end, _Nowhere):
                yield end


def _parties(source: DomainName, world: World) -> Iterator[Party]:
    yield ADMIN
    for name, facts in world.domains.items():
        if name not in (ADMIN, source) and not facts.internal:
            yield name
        if facts.template_for_dispvms and not facts.internal:
            yield Disposable(name)
    own = world.default_disposable(source)
    base = None if own.base is None else world.facts(own.base)
    if base is None or not base.internal:
        yield own


def _denied(call: Call, reason: Reason, why: str, rule: Rule | None = None, notify: bool = True) -> Denied:
    what = printable(f"{call.service}+{call.argument}" if call.argument else call.service)
    whom = printable(call.target or Keyword.DEFAULT.value)
    return Denied(reason, f"{what} from {printable(call.source)} to {whom} is denied {why}", rule, notify)
