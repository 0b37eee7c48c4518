"""A grant: what the person allowed for longer than one call. Frozen values, and no clock."""

from dataclasses import dataclass
from uuid import UUID

from bento.wire.names import DomainName, ServiceArgument, ServiceName, TargetName


@dataclass(frozen=True, slots=True)
class Errand:
    """What a grant is for, to the letter: a call that differs in any of it is another errand.

    Domains are meant by their number, so that a new one under an old name inherits nothing. `user` is the account
    that the rule names, empty for the target's default.
    """

    source: UUID
    service: ServiceName
    argument: ServiceArgument
    requested: TargetName
    user: str


@dataclass(frozen=True, slots=True)
class Grant:
    """`target_uuid` is that of the target, or of the base for a new disposable (`@dispvm:BASE`).

    `made` and `until` are seconds since 1970. A grant for a session has no `until`; it has `run`, the time at which
    the calling domain's run began, and counts for that run.
    """

    id: str
    errand: Errand
    source: DomainName
    target: TargetName
    target_uuid: UUID
    made: float
    until: float | None = None
    run: float | None = None
