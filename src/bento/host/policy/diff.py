"""What an edit of the policy changes, in domains and services and not in lines.

Two policies are compared by what they make of every call that could be made in
one world. To move a line, split a file or spell a rule in another way is no change.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import chain

from bento.host.policy.decide import End
from bento.host.policy.files import Policy, PolicyRules
from bento.host.policy.outcomes import Outcomes, Terms
from bento.host.policy.rules import Rule
from bento.host.policy.services import Asked, Services, Vocabulary
from bento.host.policy.space import Pairs, Space, by_pair, union
from bento.host.policy.world import World


@dataclass(frozen=True, slots=True)
class Change:
    """Calls from `source` that end at `target`. `before` and `after`: on what terms; empty where they are denied.

    More than one of them where it is up to the caller, by the target it names.
    """

    source: End
    target: End
    services: Services
    before: tuple[Terms, ...]
    after: tuple[Terms, ...]


@dataclass(frozen=True, slots=True)
class Diff:
    """By source and target each. A broken policy denies everything, and that is what it is compared as."""

    allowed: tuple[Change, ...]
    """Without asking. Before they were denied, or the person was asked."""
    asked: tuple[Change, ...]
    """Only if the person agrees. Before they were denied, or allowed without asking."""
    denied: tuple[Change, ...]
    """Before they were allowed, or the person was asked."""
    altered: tuple[Change, ...]
    """Allowed before and after, or asked about, but on other terms."""


def diff(old: Policy, new: Policy, world: World) -> Diff:
    """What `new` makes of the calls in `world` that `old` made something else of."""
    space = Space(world)
    before, after = _rules(old), _rules(new)
    vocabulary = Vocabulary(chain(before, after))
    was, becomes = Outcomes(space, before), Outcomes(space, after)
    changed: dict[tuple[tuple[Terms, ...], tuple[Terms, ...]], dict[Asked, Pairs]] = defaultdict(dict)
    for asked in vocabulary.asked():
        for terms, pairs in _changed(was.of(asked), becomes.of(asked)).items():
            changed[terms][asked] = pairs
    changes = [
        Change(source, target, services, *terms)
        for terms, pairs in changed.items()
        for (source, target), services in by_pair(space, vocabulary, pairs).items()
    ]
    changes.sort(key=lambda change: (str(change.source), str(change.target), change.before, change.after))
    fates = {fate: tuple(change for change in changes if _fate(change) is fate) for fate in _Fate}
    return Diff(fates[_Fate.ALLOWED], fates[_Fate.ASKED], fates[_Fate.DENIED], fates[_Fate.ALTERED])


class _Fate(Enum):
    """`ALTERED` apart, what becomes of a call at the most: the caller picks the target, and with it the terms."""

    ALLOWED = "allowed"
    ASKED = "asked"
    DENIED = "denied"
    ALTERED = "altered"


def _fate(change: Change) -> _Fate:
    before, after = _best(change.before), _best(change.after)
    return _Fate.ALTERED if before is after else after


def _best(terms: tuple[Terms, ...]) -> _Fate:
    if not terms:
        return _Fate.DENIED
    return _Fate.ASKED if all(one.asked for one in terms) else _Fate.ALLOWED


def _rules(policy: Policy) -> tuple[Rule, ...]:
    return policy.rules if isinstance(policy, PolicyRules) else ()


def _changed(
    before: Mapping[Terms, Pairs], after: Mapping[Terms, Pairs]
) -> dict[tuple[tuple[Terms, ...], tuple[Terms, ...]], Pairs]:
    """The pairs that fare otherwise, by their terms before and after."""
    every = sorted({*before, *after})
    differing = union(before.get(terms, 0) ^ after.get(terms, 0) for terms in every)
    parts: dict[tuple[tuple[Terms, ...], tuple[Terms, ...]], Pairs] = {((), ()): differing}
    for terms in every:
        split: dict[tuple[tuple[Terms, ...], tuple[Terms, ...]], Pairs] = {}
        for (old, new), pairs in parts.items():
            had, has = pairs & before.get(terms, 0), pairs & after.get(terms, 0)
            split[(*old, terms), (*new, terms)] = had & has
            split[(*old, terms), new] = had & ~has
            split[old, (*new, terms)] = has & ~had
            split[old, new] = pairs & ~(had | has)
        parts = {key: pairs for key, pairs in split.items() if pairs}
    return {key: pairs for key, pairs in parts.items() if pairs}
