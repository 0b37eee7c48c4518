"""Where each thing lies below a home. Only names here: nothing is opened or made."""

from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from bento.wire.home import Home


@dataclass(frozen=True, slots=True)
class Places:
    """`data` outlives reboots, `run` does not; `policy` is the person's, `policies` that and what is beside it.

    `contracts` is the person's, too.
    """

    data: Path
    run: Path
    policy: Path
    policies: tuple[Path, ...]
    contracts: Path
    services: tuple[Path, ...]
    socket: Path
    log: Path

    @classmethod
    def of(cls, home: Home) -> "Places":
        return cls(
            Path(home.data),
            Path(home.run),
            Path(home.policy),
            tuple(map(Path, home.policies)),
            Path(home.contracts),
            tuple(map(Path, home.services)),
            Path(home.manager_socket),
            Path(home.manager_log),
        )

    @property
    def invariants(self) -> Path:
        """What the person says must hold whatever the policy says."""
        return self.policy.parent / "invariants"

    @property
    def database(self) -> Path:
        return self.data / "bento.db"

    @property
    def lock(self) -> Path:
        return self.data / "manager.lock"

    @property
    def host_key(self) -> Path:
        return self.data / "host.key"

    @property
    def audit(self) -> Path:
        return self.data / "audit"

    @property
    def cache(self) -> Path:
        return self.data / "cache"

    @property
    def domains(self) -> Path:
        return self.data / "domains"

    @property
    def templates(self) -> Path:
        return self.data / "templates"

    @property
    def seeds(self) -> Path:
        return self.data / "seeds"

    @property
    def machines(self) -> Path:
        return self.run / "domains"

    def domain(self, uuid: UUID) -> Path:
        return self.domains / str(uuid)

    def private(self, uuid: UUID) -> Path:
        return self.domain(uuid) / "private.img"

    def volatile(self, uuid: UUID) -> Path:
        """Thrown away at each stop."""
        return self.domain(uuid) / "volatile.img"

    def suspended(self, uuid: UUID) -> Path:
        """A suspended domain's machine, sealed."""
        return self.domain(uuid) / "suspended.img"

    def suspended_facts(self, uuid: UUID) -> Path:
        """How to go on from it, with its key."""
        return self.domain(uuid) / "suspended.json"

    def delta(self, uuid: UUID, base: int) -> Path:
        """What a TemplateVM or StandaloneVM changed over version `base`; never applied to another version."""
        return self.domain(uuid) / f"root-delta-{base}.img"

    def next_root(self, uuid: UUID) -> Path:
        """Where a TemplateVM packs its root for the next version."""
        return self.domain(uuid) / "next-root.img"

    def console_log(self, uuid: UUID) -> Path:
        return self.domain(uuid) / "console.log"

    def machine(self, uuid: UUID) -> Path:
        """The run-time directory of a domain's machine: its sockets."""
        return self.machines / str(uuid)

    def version(self, template: str, number: int) -> Path:
        return self.templates / template / str(number)
