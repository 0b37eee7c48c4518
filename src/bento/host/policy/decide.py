"""The decision on one call: the first rule that matches, and what follows from it. Without a rule: no.

`decide` is total: whatever policy, call and world it is given, it answers. It
trusts the call's source (the manager took it from the broker's socket) and
nothing else in the call.
"""

from dataclasses import dataclass
from enum import Enum
from typing import assert_never

from bento.host.policy.files import Policy, PolicyBroken, PolicyRules
from bento.host.policy.rules import Allow, Deny, Rule
from bento.host.policy.world import Keyword, Party, World, intended
from bento.wire.names import DomainName, ServiceArgument, ServiceName, TargetName, UserName, printable


@dataclass(frozen=True, slots=True)
class Call:
    """What a domain asks for. `target` is as the caller gave it: a name, empty, or an @keyword."""

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


@dataclass(frozen=True, slots=True)
class Allowed:
    """The call may go to `target`, an existing domain that is not the source.

    `user` None means the target's default user. With `autostart` False the
    manager must refuse the call if the target is not running when its turn comes:
    only who starts domains can know. `notify`: tell the person.
    """

    target: DomainName
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


Decision = Allowed | Denied


def decide(policy: Policy, call: Call, world: World) -> Decision:
    match policy:
        case PolicyBroken(fault):
            return _denied(call, Reason.POLICY_BROKEN, f"as every call is until the policy is mended: {fault}")
        case PolicyRules(rules):
            return _by_rules(rules, call, world)
        case never:
            assert_never(never)


def _by_rules(rules: tuple[Rule, ...], call: Call, world: World) -> Decision:
    if not world.has(call.source):
        return _denied(call, Reason.SOURCE_UNKNOWN, f"because there is no domain {printable(call.source)}")
    target = intended(call.target, world)
    if target is None:
        return _denied(call, Reason.TARGET_INVALID, "because a call's target is a domain, @adminvm or @default")
    rule = _first_match(rules, call, target, world)
    if rule is None:
        lost = target is Keyword.DEFAULT and call.target not in ("", Keyword.DEFAULT.value)
        why = "there is no such domain, and no rule for @default" if lost else "no rule of the policy allows it"
        return _denied(call, Reason.NO_RULE, f"because {why}")
    match rule.action:
        case Deny(notify):
            return _denied(call, Reason.RULE, f"by {rule.place}", rule, notify)
        case Allow() as allow:
            return _allowed(call, target, rule, allow, world)
        case never:
            assert_never(never)


def _first_match(rules: tuple[Rule, ...], call: Call, target: Party, world: World) -> Rule | None:
    for rule in rules:
        if rule.matches(call.service, call.argument, call.source, target, world):
            return rule
    return None


def _allowed(call: Call, wanted: Party, rule: Rule, allow: Allow, world: World) -> Decision:
    """Where an allowed call goes. As in the field, what is refused here notifies, whatever the rule says of that."""
    target = wanted if allow.target is None else allow.target
    if isinstance(target, Keyword):
        why = f"because {rule.place} allows it but neither the caller nor target= names an existing domain"
        return _denied(call, Reason.NO_TARGET, why, rule)
    if not world.has(target):
        return _denied(call, Reason.NO_TARGET, f"because {rule.place} sends it to {target}, which doesn't exist", rule)
    if target == call.source:
        return _denied(call, Reason.ITSELF, f"because {rule.place} would have a domain call itself", rule)
    return Allowed(target, allow.user, allow.autostart, allow.notify, rule)


def _denied(call: Call, reason: Reason, why: str, rule: Rule | None = None, notify: bool = True) -> Denied:
    what = printable(f"{call.service}+{call.argument}" if call.argument else call.service)
    whom = printable(call.target or Keyword.DEFAULT.value)
    return Denied(reason, f"{what} from {printable(call.source)} to {whom} is denied {why}", rule, notify)
