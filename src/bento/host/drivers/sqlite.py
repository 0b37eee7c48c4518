"""The store in SQLite: write-ahead log, one writer, a schema with a number.

`synchronous=FULL` because a domain that was reported created must be there
after a power cut, not only after a crash. A database of a newer Bento is
refused, never touched.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from uuid import UUID

from bento.host.model.domain import Domain, DomainClass
from bento.host.model.errors import Unavailable
from bento.host.model.grant import Errand, Grant
from bento.host.model.inventory import DomainRecord, Phase, Run, TemplateVersion
from bento.wire.names import DomainName, FeatureName, LabelName, ServiceArgument, ServiceName, Tag, TargetName

SCHEMA = 2
"""Number of the schema below; a change raises it and adds its step to `_MIGRATIONS`."""

_MIGRATIONS: dict[int, str] = {
    0: """
    CREATE TABLE domain (
        uuid TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, class TEXT NOT NULL, label TEXT NOT NULL,
        template TEXT, slot INTEGER NOT NULL UNIQUE, base INTEGER, origin TEXT,
        run_phase TEXT, run_version INTEGER, run_started REAL, run_seconds REAL
    ) STRICT;
    CREATE TABLE property (
        domain TEXT NOT NULL REFERENCES domain ON DELETE CASCADE, name TEXT NOT NULL, value TEXT NOT NULL,
        PRIMARY KEY (domain, name)
    ) STRICT;
    CREATE TABLE tag (
        domain TEXT NOT NULL REFERENCES domain ON DELETE CASCADE, name TEXT NOT NULL, PRIMARY KEY (domain, name)
    ) STRICT;
    CREATE TABLE feature (
        domain TEXT NOT NULL REFERENCES domain ON DELETE CASCADE, name TEXT NOT NULL, value TEXT NOT NULL,
        PRIMARY KEY (domain, name)
    ) STRICT;
    CREATE TABLE version (
        template TEXT NOT NULL, number INTEGER NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL,
        created REAL NOT NULL, flavor TEXT NOT NULL, packages INTEGER NOT NULL, PRIMARY KEY (template, number)
    ) STRICT;
    """,
    # No reference to the domains: putting a record writes its row anew, and what hangs on it would go with the old one.
    1: """
    CREATE TABLE consent (
        id TEXT PRIMARY KEY, source_uuid TEXT NOT NULL, service TEXT NOT NULL, argument TEXT NOT NULL,
        requested TEXT NOT NULL, user TEXT NOT NULL, source TEXT NOT NULL, target TEXT NOT NULL,
        target_uuid TEXT NOT NULL, made REAL NOT NULL, until REAL NOT NULL,
        UNIQUE (source_uuid, service, argument, requested, user)
    ) STRICT;
    """,
}


class SqliteStore:
    """The store in one file at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with _blame(path):
            self._db = sqlite3.connect(path, isolation_level=None)
            try:
                self._open()
            except BaseException:
                self._db.close()
                raise

    def close(self) -> None:
        self._db.close()

    def domains(self) -> list[DomainRecord]:
        with _blame(self._path):
            return self._domains()

    def _domains(self) -> list[DomainRecord]:
        properties = self._pairs("property")
        features = self._pairs("feature")
        tags: dict[str, set[Tag]] = {}
        for uuid, tag in self._db.execute("SELECT domain, name FROM tag"):
            tags.setdefault(uuid, set()).add(Tag(tag))
        records = []
        for row in self._db.execute(
            "SELECT uuid, name, class, label, template, slot, base, origin,"
            " run_phase, run_version, run_started, run_seconds FROM domain ORDER BY slot"
        ):
            uuid, name, klass, label, template, slot, base, origin, phase, version, started, seconds = row
            records.append(
                DomainRecord(
                    Domain(UUID(uuid), DomainName(name), DomainClass(klass), LabelName(label), _name(template)),
                    slot=slot,
                    base=base,
                    origin=_name(origin),
                    properties=MappingProxyType(properties.get(uuid, {})),
                    tags=frozenset(tags.get(uuid, ())),
                    features=MappingProxyType({FeatureName(k): v for k, v in features.get(uuid, {}).items()}),
                    run=Run(Phase(phase), version, started, seconds) if phase else None,
                )
            )
        return records

    def put(self, *records: DomainRecord, version: TemplateVersion | None = None) -> None:
        with self._transaction():
            for record in records:
                self._put(record)
            if version:
                self._db.execute(
                    "INSERT INTO version VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (
                        version.template,
                        version.number,
                        version.digest,
                        version.size,
                        version.created,
                        version.flavor,
                        version.packages,
                    ),
                )

    def drop(self, uuid: UUID) -> None:
        with self._transaction():
            self._db.execute("DELETE FROM domain WHERE uuid = ?", (str(uuid),))

    def versions(self) -> list[TemplateVersion]:
        with _blame(self._path):
            rows = self._db.execute(
                "SELECT template, number, digest, size, created, flavor, packages FROM version"
                " ORDER BY template, number"
            )
            return [TemplateVersion(DomainName(row[0]), *row[1:]) for row in rows]

    def drop_version(self, template: DomainName, number: int) -> None:
        with self._transaction():
            self._db.execute("DELETE FROM version WHERE template = ? AND number = ?", (template, number))

    def grants(self) -> list[Grant]:
        with _blame(self._path):
            rows = self._db.execute(
                "SELECT id, source_uuid, service, argument, requested, user, source, target, target_uuid, made, until"
                " FROM consent ORDER BY made, id"
            )
            return [_grant(*row) for row in rows]

    def put_grant(self, grant: Grant) -> None:
        errand = grant.errand
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO consent VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    grant.id,
                    str(errand.source),
                    errand.service,
                    errand.argument,
                    errand.requested,
                    errand.user,
                    grant.source,
                    grant.target,
                    str(grant.target_uuid),
                    grant.made,
                    grant.until,
                ),
            )

    def drop_grant(self, number: str) -> None:
        with self._transaction():
            self._db.execute("DELETE FROM consent WHERE id = ?", (number,))

    def _put(self, record: DomainRecord) -> None:
        domain, run, uuid = record.domain, record.run, str(record.domain.uuid)
        self._db.execute("DELETE FROM domain WHERE uuid = ?", (uuid,))
        self._db.execute(
            "INSERT INTO domain VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                uuid,
                domain.name,
                domain.klass,
                domain.label,
                domain.template,
                record.slot,
                record.base,
                record.origin,
                run and run.phase,
                run and run.version,
                run and run.started,
                run and run.start_seconds,
            ),
        )
        self._db.executemany("INSERT INTO property VALUES (?, ?, ?)", [(uuid, *p) for p in record.properties.items()])
        self._db.executemany("INSERT INTO tag VALUES (?, ?)", [(uuid, tag) for tag in record.tags])
        self._db.executemany("INSERT INTO feature VALUES (?, ?, ?)", [(uuid, *f) for f in record.features.items()])

    def _pairs(self, table: str) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        for uuid, name, value in self._db.execute(f"SELECT domain, name, value FROM {table}"):
            found.setdefault(uuid, {})[name] = value
        return found

    def _open(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA:
            raise Unavailable(f"{self._path} was written by a newer Bento (schema {version}); use that one")
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=0"):
            self._db.execute(f"PRAGMA {pragma}")
        for step in range(version, SCHEMA):
            # One script is one transaction, so a kill between two steps finds a whole schema.
            self._db.executescript(f"BEGIN IMMEDIATE; {_MIGRATIONS[step]} PRAGMA user_version={step + 1}; COMMIT;")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with _blame(self._path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise


@contextmanager
def _blame(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise Unavailable(f"the state in {path} cannot be used ({error}); {_advice(error)}") from error


def _advice(error: sqlite3.Error) -> str:
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:  # the upper bytes say which call it was
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR:
            return "make room on its disk"
        case sqlite3.SQLITE_BUSY:
            return "another program holds it"
        case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
            return "put a copy from before in its place, or move it away and begin anew"
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return "see to it that you may write there"
        case _:
            return "the manager's log says more"


def _name(text: str | None) -> DomainName | None:
    return None if text is None else DomainName(text)


def _grant(
    number: str,
    source_uuid: str,
    service: str,
    argument: str,
    requested: str,
    user: str,
    source: str,
    target: str,
    target_uuid: str,
    made: float,
    until: float,
) -> Grant:
    errand = Errand(UUID(source_uuid), ServiceName(service), ServiceArgument(argument), TargetName(requested), user)
    return Grant(number, errand, DomainName(source), TargetName(target), UUID(target_uuid), made, until)
