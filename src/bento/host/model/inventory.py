"""What is kept of each domain and each template version: the values the store holds and the manager reasons about."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from bento.host.model.domain import Domain
from bento.wire.names import DomainName, FeatureName, Tag


def _nothing() -> Mapping[str, str]:
    return MappingProxyType({})


class Phase(StrEnum):
    """How far a recorded run had come. A run found `STARTING` after a crash was never promised to anyone."""

    STARTING = "starting"
    RUNNING = "running"
    FOR_CALL = "for a call"
    """It runs for one call, and is over with it."""
    SUSPENDING = "suspending"
    """Its machine is stopped while it is written to a file that does not count yet: the machine is the domain."""
    SUSPENDED = "suspended"
    """What was written is the domain. A machine that is still there is none of it any more."""
    RESUMING = "resuming"
    """A machine was made of what was written and may have run since: what was written does not count any more."""


@dataclass(frozen=True, slots=True)
class Run:
    """A domain's current run. `version` is the template version its root came from.

    `started` is seconds since 1970; `start_seconds` is how long it took until
    the agent answered, 0.0 while it has not.
    """

    phase: Phase
    version: int
    started: float
    start_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class DomainRecord:
    """All that is recorded of a domain. `slot` is its number in this home: sub-uid and, for the field's tools, qid.

    `base` is the template version a StandaloneVM's root was made from, or the
    current version of a TemplateVM; None for all others.
    """

    domain: Domain
    slot: int
    base: int | None = None
    origin: DomainName | None = None
    properties: Mapping[str, str] = field(default_factory=_nothing)
    tags: frozenset[Tag] = frozenset()
    features: Mapping[FeatureName, str] = field(default_factory=lambda: MappingProxyType({}))
    run: Run | None = None

    @property
    def name(self) -> DomainName:
        return self.domain.name


@dataclass(frozen=True, slots=True)
class TemplateVersion:
    """An immutable image of a template. `digest` is sha256 over its files; `size` is bytes, `created` epoch seconds."""

    template: DomainName
    number: int
    digest: str
    size: int
    created: float
    flavor: str
    packages: int
