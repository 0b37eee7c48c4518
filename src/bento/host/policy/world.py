"""What a decision may know of the domains: a snapshot of names, classes and tags.

The manager makes a `World` from its inventory for each decision. Nothing in
it comes from a guest, except where the field lets a guest name a target, and
that is `intended`, the one place where a caller's word is looked up.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from bento.host.model.domain import ADMIN, DomainClass
from bento.wire.names import DomainName, Tag, TargetName


class Keyword(Enum):
    """What stands in a domain's place in a call, without being one."""

    DEFAULT = "@default"
    """The caller named no target, or one that does not exist."""


Party = DomainName | Keyword
"""One side of a call. A source is always a name; the admin domain is its name, `ADMIN`."""


@dataclass(frozen=True, slots=True)
class DomainFacts:
    klass: DomainClass
    tags: frozenset[Tag] = frozenset()


@dataclass(frozen=True, slots=True)
class World:
    """Every domain there is. The admin domain exists whether listed or not."""

    domains: Mapping[DomainName, DomainFacts]

    def has(self, name: DomainName) -> bool:
        return name == ADMIN or name in self.domains

    def facts(self, party: Party) -> DomainFacts | None:
        """What tags and types are matched against; None for keywords, for strangers, and for the admin domain.

        In the field neither `@tag:` nor `@type:AdminVM` ever matches the
        admin domain (qrexec 4.4, its policy test `match_single`), so that a tag
        set by mistake opens no way into it.
        """
        return None if isinstance(party, Keyword) or party == ADMIN else self.domains.get(party)


def intended(target: TargetName, world: World) -> Party | None:
    """Whom the caller means, or None for a keyword that no call may name.

    The field's rules: no target is `@default`; `@adminvm` and `dom0` are one;
    a name that no domain has is `@default` too, so that a caller
    cannot tell the two apart.
    """
    match target:
        case "" | "@default":
            return Keyword.DEFAULT
        case "@adminvm":
            return ADMIN
        case keyword if keyword.startswith("@"):
            return None
        case _:
            name = DomainName(target)  # TargetName's alphabet has nothing else left
            return name if world.has(name) else Keyword.DEFAULT
