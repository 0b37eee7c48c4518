"""Sets of services and arguments, as a policy can tell them apart and as a person reads them."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bento.host.policy.rules import Rule
from bento.wire.names import ServiceArgument, ServiceName


@dataclass(frozen=True, slots=True)
class Asked:
    """A service and an argument. None: any that the policy does not name (an argument: not for this service)."""

    service: ServiceName | None
    argument: ServiceArgument | None


OTHER = Asked(None, None)
"""Any service that the policy does not name. Rules have no way to tell its arguments apart."""


class Vocabulary:
    """What some rules name."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._arguments: dict[ServiceName, set[ServiceArgument]] = defaultdict(set)
        self._spans: dict[tuple[ServiceName, str], Span] = {}
        for rule in rules:
            if rule.service is not None:
                self.tell_apart(rule.service, rule.argument)

    def tell_apart(self, service: ServiceName, argument: ServiceArgument | None = None) -> None:
        """Have the service, and the argument if there is one, be pieces of their own."""
        self._arguments[service].update(() if argument is None else (argument,))

    def asked(self) -> Iterator[Asked]:
        """Every piece of the space of services and arguments; together they are all of it."""
        for service in sorted(self._arguments):
            yield from self.of(service)
        yield OTHER

    def of(self, service: ServiceName) -> Iterator[Asked]:
        for argument in sorted(self._arguments[service]):
            yield Asked(service, argument)
        yield Asked(service, None)

    def services(self, but: bool, listed: Sequence[Asked]) -> "Services":
        """Those `listed`, in the order of `asked`; or, with `but`, all that are not."""
        spans: list[Span] = []
        at = 0
        while at < len(listed) and (service := listed[at].service) is not None:
            last = at + len(self._arguments[service])
            if last < len(listed) and listed[last].service == service:  # all its pieces are there
                spans.append(self._span(service, "*"))
                at = last + 1
            else:
                argument = listed[at].argument
                spans.append(self._span(service, "other" if argument is None else f"+{argument}"))
                at += 1
        return Services(but, tuple(spans))

    def _span(self, service: ServiceName, argument: str) -> "Span":
        """One of a few, each of which is wanted many times."""
        key = (service, argument)
        if key not in self._spans:
            self._spans[key] = Span(service, argument)
        return self._spans[key]


@dataclass(frozen=True, slots=True)
class Span:
    """`argument` is `*` for any, `+ARG` for one (a bare `+` for none), `other` for any not in the policy."""

    service: ServiceName
    argument: str

    def __str__(self) -> str:
        match self.argument:
            case "*":
                return self.service
            case "other":
                return f"{self.service} (any other argument)"
            case "+":
                return f"{self.service} (without argument)"
            case argument:
                return f"{self.service}{argument}"


@dataclass(frozen=True, slots=True)
class Services:
    """The `spans`, or with `but` every service there could be but those."""

    but: bool
    spans: tuple[Span, ...]

    def __str__(self) -> str:
        listed = ", ".join(map(str, self.spans))
        if not self.but:
            return listed
        return f"any service but {listed}" if listed else "any service"
