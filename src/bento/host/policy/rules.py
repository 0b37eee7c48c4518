"""A rule of the policy as a value: who, what, whom, and what then.

Rules come from `grammar.parse` alone. `str` of a rule, or of any part of one, is the
line that parses to it again, in one canonical spelling.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from bento.host.model.domain import ADMIN, DomainClass
from bento.host.policy.world import DefaultDisposable, Disposable, Keyword, Party, World
from bento.wire.names import DomainName, ServiceArgument, ServiceName, Tag, UserName

# ---- selectors: what stands in the columns SOURCE and TARGET -------------------------------------


@dataclass(frozen=True, slots=True)
class Everything:
    """`*`: any domain, the admin domain and `@default` too."""

    def matches(self, _party: Party, _world: World) -> bool:
        return True

    def __str__(self) -> str:
        return "*"


@dataclass(frozen=True, slots=True)
class AnyDomain:
    """`@anyvm`: whatever is not the admin domain. `@default` is not, so it matches."""

    def matches(self, party: Party, _world: World) -> bool:
        return party != ADMIN

    def __str__(self) -> str:
        return "@anyvm"


@dataclass(frozen=True, slots=True)
class NoTarget:
    """`@default`, in the target column only: the caller named nobody, or nobody who exists."""

    def matches(self, party: Party, _world: World) -> bool:
        return party is Keyword.DEFAULT

    def __str__(self) -> str:
        return "@default"


@dataclass(frozen=True, slots=True)
class Named:
    """One domain. `@adminvm` and `dom0` are both spellings of the admin domain's name."""

    name: DomainName

    def matches(self, party: Party, _world: World) -> bool:
        return party == self.name

    def __str__(self) -> str:
        return spelled(self.name)


@dataclass(frozen=True, slots=True)
class Tagged:
    """`@tag:TAG`."""

    tag: Tag

    def matches(self, party: Party, world: World) -> bool:
        facts = world.facts(party)
        return facts is not None and self.tag in facts.tags

    def __str__(self) -> str:
        return f"@tag:{self.tag}"


@dataclass(frozen=True, slots=True)
class OfClass:
    """`@type:CLASS`. The class is a word of the field, which Bento may have no domains of."""

    klass: str

    def matches(self, party: Party, world: World) -> bool:
        facts = world.facts(party)
        return facts is not None and facts.klass.value == self.klass

    def __str__(self) -> str:
        return f"@type:{self.klass}"


@dataclass(frozen=True, slots=True)
class Identified:
    """`uuid:UUID`: one domain, whatever it is called. The admin domain's is all zeros."""

    uuid: UUID

    def matches(self, party: Party, world: World) -> bool:
        return isinstance(party, DomainName) and world.uuid(party) == self.uuid

    def __str__(self) -> str:
        return f"uuid:{self.uuid}"


@dataclass(frozen=True, slots=True)
class MadeFrom:
    """`@dispvm:BASE` as a source: a disposable that was made from BASE.

    The field's parser takes the word for a source but never matches it; a deny line that never matches is a hole.
    """

    base: Named | Identified

    def matches(self, party: Party, world: World) -> bool:
        facts = world.facts(party)
        return facts is not None and facts.base is not None and self.base.matches(facts.base, world)

    def __str__(self) -> str:
        return f"@dispvm:{self.base}"


@dataclass(frozen=True, slots=True)
class MadeFromTagged:
    """`@dispvm:@tag:TAG` as a source: a disposable that was made from a domain which carries the tag."""

    tag: Tag

    def matches(self, party: Party, world: World) -> bool:
        facts = world.facts(party)
        return facts is not None and facts.base is not None and Tagged(self.tag).matches(facts.base, world)

    def __str__(self) -> str:
        return f"@dispvm:@tag:{self.tag}"


@dataclass(frozen=True, slots=True)
class OwnDisposable:
    """`@dispvm`, as a target: the caller said just that. Which base it gets is up to the caller's `default_dispvm`."""

    def matches(self, party: Party, _world: World) -> bool:
        return isinstance(party, DefaultDisposable)

    def __str__(self) -> str:
        return "@dispvm"


@dataclass(frozen=True, slots=True)
class DisposableOf:
    """`@dispvm:BASE`, as a target: a new disposable of BASE, also where that is what the caller's `@dispvm` means."""

    base: Named | Identified

    def matches(self, party: Party, world: World) -> bool:
        base = _base(party)
        return base is not None and self.base.matches(base, world)

    def __str__(self) -> str:
        return f"@dispvm:{self.base}"


@dataclass(frozen=True, slots=True)
class DisposableTagged:
    """`@dispvm:@tag:TAG`, as a target: a new disposable of a base that carries the tag."""

    tag: Tag

    def matches(self, party: Party, world: World) -> bool:
        base = _base(party)
        return base is not None and world.makes_disposables(base) and Tagged(self.tag).matches(base, world)

    def __str__(self) -> str:
        return f"@dispvm:@tag:{self.tag}"


def _base(party: Party) -> DomainName | None:
    return party.base if isinstance(party, Disposable | DefaultDisposable) else None


Both = Everything | AnyDomain | Named | Tagged | OfClass | Identified
Source = Both | MadeFrom | MadeFromTagged
Target = Both | NoTarget | OwnDisposable | DisposableOf | DisposableTagged
Selector = Source | Target

# ---- what then -----------------------------------------------------------------------------------

Destination = DomainName | Identified | OwnDisposable | DisposableOf
"""Where `target=` and `default_target=` send a call."""


@dataclass(frozen=True, slots=True)
class Allow:
    """`target` replaces whatever the caller named; `user` is the account in the target (None: its default)."""

    target: Destination | None = None
    user: UserName | None = None
    notify: bool = False
    autostart: bool = True

    def __str__(self) -> str:
        return " ".join(["allow", *_parameters(self)])


@dataclass(frozen=True, slots=True)
class Ask:
    """The person decides: about `target`, or if that is None, about whom the source may reach at all.

    `default_target` is what they find chosen.
    """

    target: Destination | None = None
    default_target: Destination | None = None
    user: UserName | None = None
    notify: bool = False
    autostart: bool = True

    def __str__(self) -> str:
        return " ".join(["ask", *_parameters(self)])


@dataclass(frozen=True, slots=True)
class Deny:
    notify: bool = True

    def __str__(self) -> str:
        return "deny" if self.notify else "deny notify=no"


Action = Allow | Ask | Deny


@dataclass(frozen=True, slots=True)
class Rule:
    """One line. `service` and `argument` are None for `*`; an empty argument is a bare `+`.

    `line` counts from 1; 0 is no line but the file as such, which implies the rule (`includes.py`, the old policy).
    """

    service: ServiceName | None
    argument: ServiceArgument | None
    source: Source
    target: Target
    action: Action
    file: str
    line: int

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file

    def __str__(self) -> str:
        service = "*" if self.service is None else self.service
        argument = "*" if self.argument is None else f"+{self.argument}"
        return f"{service} {argument} {self.source} {self.target} {self.action}"


def withholds_admin(rule: Rule, world: World) -> bool:
    """Whether a `deny` by a tag that the admin domain carries, or by its class, keeps it from being offered.

    Such a rule never matches a call to it (`World.facts`); but in the field it counts where the choices of a question
    are gathered, and the host is the last that may be offered against a rule. To `ask` by tag or class offers it never.
    """
    admin = world.domains.get(ADMIN)
    match rule:
        case Rule(target=Tagged(tag), action=Deny()):
            return admin is not None and tag in admin.tags
        case Rule(target=OfClass(klass), action=Deny()):
            return klass == DomainClass.ADMIN
        case _:
            return False


def spelled(name: DomainName) -> str:
    """A domain's name as the policy spells it."""
    return "@adminvm" if name == ADMIN else name


def _spelled(destination: Destination) -> str:
    return spelled(destination) if isinstance(destination, DomainName) else str(destination)


def _parameters(action: Allow | Ask) -> Iterator[str]:
    """Those that are not as if left out."""
    if action.target is not None:
        yield f"target={_spelled(action.target)}"
    if isinstance(action, Ask) and action.default_target is not None:
        yield f"default_target={_spelled(action.default_target)}"
    if action.user is not None:
        yield f"user={action.user}"
    if action.notify:
        yield "notify=yes"
    if not action.autostart:
        yield "autostart=no"
