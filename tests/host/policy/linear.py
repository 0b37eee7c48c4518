"""What a rule matches, column by column: what the index is held against."""

from bento.host.policy.decide import Call
from bento.host.policy.rules import Rule
from bento.host.policy.world import Party, World


def matches(rule: Rule, call: Call, target: Party, world: World) -> bool:
    return is_about(rule, call, world) and rule.target.matches(target, world)


def is_about(rule: Rule, call: Call, world: World) -> bool:
    """Whether it would match, were it not for the target."""
    return (
        rule.service in (None, call.service)
        and rule.argument in (None, call.argument)
        and rule.source.matches(call.source, world)
    )
