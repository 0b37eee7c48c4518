"""A rule of the policy as a value: who, what, whom, and what then.

Rules come from `grammar.parse` alone. `str` of a rule, or of any part of one, is the
line that parses to it again, in one canonical spelling.
"""

from dataclasses import dataclass

from bento.host.model.domain import ADMIN
from bento.host.policy.world import Keyword, Party, World
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


Source = Everything | AnyDomain | Named | Tagged | OfClass
Target = Source | NoTarget

# ---- what then -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Allow:
    """`target` replaces whatever the caller named; `user` is the account in the target (None: its default)."""

    target: DomainName | None = None
    user: UserName | None = None
    notify: bool = False
    autostart: bool = True

    def __str__(self) -> str:
        words = ["allow"]
        if self.target is not None:
            words.append(f"target={spelled(self.target)}")
        if self.user is not None:
            words.append(f"user={self.user}")
        if self.notify:
            words.append("notify=yes")
        if not self.autostart:
            words.append("autostart=no")
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Deny:
    notify: bool = True

    def __str__(self) -> str:
        return "deny" if self.notify else "deny notify=no"


Action = Allow | Deny


@dataclass(frozen=True, slots=True)
class Rule:
    """One line. `service` and `argument` are None for `*`; an empty argument is a bare `+`.

    `line` counts from 1.
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
        return f"{self.file}:{self.line}"

    def matches(
        self, service: ServiceName, argument: ServiceArgument, source: DomainName, target: Party, world: World
    ) -> bool:
        return (
            self.service in (None, service)
            and self.argument in (None, argument)
            and self.source.matches(source, world)
            and self.target.matches(target, world)
        )

    def __str__(self) -> str:
        service = "*" if self.service is None else self.service
        argument = "*" if self.argument is None else f"+{self.argument}"
        return f"{service} {argument} {self.source} {self.target} {self.action}"


def spelled(name: DomainName) -> str:
    """A domain's name as the policy spells it."""
    return "@adminvm" if name == ADMIN else name
