"""What a decision may know of the domains, and what a call may mean by its target.

The manager hands in a `World` with each decision. Nothing in it comes from a
guest, except where the field lets a guest name a target, and that is
`intended`, the one place where a caller's word is looked up.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from uuid import UUID

from bento.host.model.domain import ADMIN, ADMIN_UUID, DomainClass
from bento.wire.names import DomainName, DomainUuid, Tag, TargetName


class Keyword(Enum):
    """What stands in a domain's place in a call, without being one."""

    DEFAULT = "@default"
    """The caller named no target, or one that does not exist."""


@dataclass(frozen=True, slots=True)
class Disposable:
    """A domain that is still to be made from `base`, and goes when the call is over."""

    base: DomainName

    def __str__(self) -> str:
        return f"@dispvm:{self.base}"


@dataclass(frozen=True, slots=True)
class DefaultDisposable:
    """`@dispvm` in a call: a disposable of the base that the caller has as its default; None if it has none."""

    base: DomainName | None


Party = DomainName | Keyword | Disposable | DefaultDisposable
"""One side of a call. A source is always a name; the admin domain is its name, `ADMIN`."""


@dataclass(frozen=True, slots=True)
class DomainFacts:
    """`base` is what a disposable was made from, `default_dispvm` what `@dispvm` means when this domain says it.

    Disposables are made from domains that are `template_for_dispvms`, and of no
    others. An `internal` domain is not among what a person may choose from,
    unless the rule that asks names it as its `target=`.
    """

    klass: DomainClass
    tags: frozenset[Tag] = frozenset()
    uuid: UUID | None = None
    running: bool = False
    internal: bool = False
    template_for_dispvms: bool = False
    default_dispvm: DomainName | None = None
    base: DomainName | None = None


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
        return self.domains.get(party) if isinstance(party, DomainName) and party != ADMIN else None

    def uuid(self, name: DomainName) -> UUID | None:
        if name == ADMIN:
            return ADMIN_UUID
        facts = self.domains.get(name)
        return None if facts is None else facts.uuid

    def identified(self, uuid: UUID) -> DomainName | None:
        """The domain that has this UUID."""
        if uuid == ADMIN_UUID:
            return ADMIN
        return next((name for name, facts in self.domains.items() if facts.uuid == uuid), None)

    def makes_disposables(self, base: DomainName) -> bool:
        facts = self.facts(base)
        return facts is not None and facts.template_for_dispvms

    def default_disposable(self, source: DomainName) -> DefaultDisposable:
        facts = self.domains.get(source)
        return DefaultDisposable(None if facts is None else facts.default_dispvm)


def intended(target: TargetName, source: DomainName, world: World) -> Party | None:
    """Whom the caller means, or None for a keyword that no call may name.

    The field's rules: no target is `@default`; `@adminvm` and `dom0` are one;
    a name or UUID that no domain has is `@default` too, so that a caller
    cannot tell the two apart. But `@dispvm:NAME` has to be such a domain.
    """
    match target.partition(":"):
        case "" | "@default", "", "":
            return Keyword.DEFAULT
        case "@adminvm", "", "":
            return ADMIN
        case "@dispvm", "", "":
            return world.default_disposable(source)
        case "@dispvm", ":", base:
            found = _named(base, world)
            return Disposable(found) if found is not None and world.makes_disposables(found) else None
        case keyword, _, _ if keyword.startswith("@"):
            return None
        case _:
            name = _named(target, world)
            return Keyword.DEFAULT if name is None else name


def _named(text: str, world: World) -> DomainName | None:
    """The existing domain that a caller means by a name or a `uuid:`."""
    if text.startswith("uuid:"):
        uuid = text.removeprefix("uuid:")
        return world.identified(UUID(uuid)) if DomainUuid.pattern.fullmatch(uuid) else None
    name = DomainName(text)  # what is no name is no domain's either
    return name if world.has(name) else None
