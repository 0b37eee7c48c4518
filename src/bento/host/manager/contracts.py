"""The contracts of services: those that Bento brings along, and the person's own, read again when one changed.

A file SERVICE.contract in the person's directory shadows the one of that name
that Bento has. A contract that cannot be read, or is not sound, is not passed
over: its service cannot be called until it is mended.
"""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

import bento.host.contract
from bento.host.contract.grammar import MAX_TEXT
from bento.host.contract.table import examine, make
from bento.host.manager.edited import Stamp, read, stamp
from bento.host.model.errors import Unavailable
from bento.host.model.fault import Fault
from bento.wire.errors import WireError
from bento.wire.names import ServiceName, printable

log = logging.getLogger(__name__)

SUFFIX = ".contract"
SHIPPED = Path(bento.host.contract.__file__).parent / "shipped"


@dataclass(frozen=True, slots=True)
class Found:
    """One file. `table` is what a broker gets; where there are `faults`, none, and the service cannot be called."""

    service: str
    own: bool
    path: Path
    text: bytes
    table: bytes
    faults: tuple[Fault, ...]


class Contracts:
    def __init__(self, directory: Path) -> None:
        """`directory` is the person's; it need not exist."""
        self._directory = directory
        self._shipped = {found.service: found for found in map(_read, sorted(SHIPPED.glob(f"*{SUFFIX}")))}
        self._own: dict[str, Found] = {}
        self._signature: frozenset[tuple[str, Stamp]] = frozenset()

    def table(self, service: ServiceName) -> bytes:
        """What a broker gets with a call of `service`: empty without a contract. Raises `Unavailable`."""
        self._look()
        found = self._own.get(service) or self._shipped.get(service)
        if found is None:
            return b""
        if found.faults:
            raise Unavailable(
                f"{service} cannot be called, because its contract is wrong: {found.faults[0]};"
                f" mend {found.path} or remove it"
            )
        return found.table

    def all(self) -> list[Found]:
        """One for each service that has a contract, by name. Raises `Unavailable`."""
        self._look()
        return sorted((self._shipped | self._own).values(), key=lambda found: found.service)

    def services(self) -> frozenset[ServiceName]:
        """Whose calls are held to a contract."""
        return frozenset(ServiceName(found.service) for found in self.all() if not found.faults)

    def _look(self) -> None:
        try:
            names = [name for name in os.listdir(self._directory) if name.endswith(SUFFIX) and name[0] != "."]
        except FileNotFoundError:
            names = []
        except OSError as error:
            why = f"{error.filename}: {error.strerror}"
            raise Unavailable(f"no service can be called, because its contract cannot be read: {why}") from error
        paths = [self._directory / name for name in sorted(names)]
        signature = frozenset(map(_mark, paths))
        if signature != self._signature:
            self._own = {found.service: found for found in map(_read, paths)}
            self._signature = signature
            for found in self._own.values():
                for fault in found.faults:
                    log.error("%s cannot be called until its contract is mended: %s", found.service, fault)


def _mark(path: Path) -> tuple[str, Stamp]:
    """What cannot be looked at counts as there: it is for `_read` to say why."""
    try:
        return path.name, stamp(path)
    except OSError:
        return path.name, None


def _read(path: Path) -> Found:
    own = path.parent != SHIPPED
    service, text, table = path.name.removesuffix(SUFFIX), b"", b""
    try:
        ServiceName.parse(service)
        text = read(path, MAX_TEXT + 1)
        faults = examine(path.name, text)
    except (OSError, WireError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        faults = (Fault(printable(path.name), 0, 0, f"cannot be read: {why}"),)
    else:
        table = b"" if faults else make(path.name, text)
    return Found(service, own, path, text, table, faults)
