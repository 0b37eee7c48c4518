"""The store in SQLite: what was put comes back, whole or not at all, also after a kill and on a full disk."""

import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.host.drivers.sqlite import SCHEMA, SqliteStore
from bento.host.model.domain import LABELS, Domain, DomainClass
from bento.host.model.errors import Unavailable
from bento.host.model.inventory import DomainRecord, Phase, Run, TemplateVersion
from bento.host.ports.store import Store
from bento.wire.names import DomainName, FeatureName, Tag
from tests.examples import examples
from tests.wire.strategies import DOMAINS, SPELLING

RED = LABELS[0].name
NAMESPACE = UUID(int=0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.sqlite"


def record(name: str, slot: int, size: int = 0) -> DomainRecord:
    """An AppVM with `size` properties, tags and features that belong together."""
    return DomainRecord(
        Domain(uuid5(NAMESPACE, name), DomainName(name), DomainClass.APP, RED, DomainName("debian-12")),
        slot=slot,
        properties=MappingProxyType({f"property-{n}": str(size) for n in range(size)}),
        tags=frozenset(Tag(f"{size}-{n}") for n in range(size)),
        features=MappingProxyType({FeatureName(f"feature-{n}"): str(size) for n in range(size)}),
    )


def version(number: int) -> TemplateVersion:
    return TemplateVersion(DomainName("debian-12"), number, "sha256:0", 1 << 40, 1234.5, "minimal", 200)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAMES = DOMAINS.map(DomainName)
COUNTS = st.integers(0, (1 << 63) - 1)
TIMES = st.floats(0, 1e12)
RECORDS = st.builds(
    DomainRecord,
    st.builds(
        Domain,
        st.uuids(),
        NAMES,
        st.sampled_from(DomainClass),
        st.sampled_from([label.name for label in LABELS]),
        st.none() | NAMES,
    ),
    slot=COUNTS,
    base=st.none() | COUNTS,
    origin=st.none() | NAMES,
    properties=st.dictionaries(TEXT, TEXT, max_size=4).map(MappingProxyType),
    tags=st.frozensets(SPELLING[Tag].map(Tag), max_size=4),
    features=st.dictionaries(SPELLING[FeatureName].map(FeatureName), TEXT, max_size=4).map(MappingProxyType),
    run=st.none() | st.builds(Run, st.sampled_from(Phase), COUNTS, TIMES, TIMES),
)
VERSIONS = st.builds(TemplateVersion, NAMES, COUNTS, TEXT, COUNTS, TIMES, TEXT, COUNTS)


def key_of(made: TemplateVersion) -> tuple[str, int]:
    return made.template, made.number


@examples(40)
@given(
    records=st.lists(RECORDS, max_size=4, unique_by=(lambda r: r.slot, lambda r: r.name, lambda r: r.domain.uuid)),
    versions=st.lists(VERSIONS, max_size=3, unique_by=key_of),
)
def test_everything_that_is_put_comes_back_in_order_also_to_the_next_manager(
    records: list[DomainRecord], versions: list[TemplateVersion]
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "state.sqlite"
        with closing(SqliteStore(path)) as store:
            store.put(*records)
            for made in versions:
                store.put(version=made)
            held = store.domains(), store.versions()
        with closing(SqliteStore(path)) as store:
            assert (store.domains(), store.versions()) == held
    assert held == (sorted(records, key=lambda r: r.slot), sorted(versions, key=key_of))
    for back in held[0]:
        assert {type(back.name), *map(type, back.tags)} <= {DomainName, Tag}


def test_it_is_the_store_that_the_manager_asks_for(path: Path) -> None:
    with closing(SqliteStore(path)) as made:
        store: Store = made
        assert (store.domains(), store.versions()) == ([], [])


def test_a_record_put_again_replaces_all_of_the_old_one(path: Path) -> None:
    with closing(SqliteStore(path)) as store:
        store.put(record("work", 1, size=5), record("bank", 2, size=1))
        smaller = replace(record("work", 1, size=2), run=Run(Phase.RUNNING, 3, 99.5, 1.25))
        store.put(smaller)
        assert store.domains() == [smaller, record("bank", 2, size=1)]


def test_a_dropped_record_leaves_nothing_behind(path: Path) -> None:
    with closing(SqliteStore(path)) as store:
        store.put(record("work", 1, size=3), record("bank", 2, size=3))
        store.drop(record("work", 1).domain.uuid)
        store.drop(record("never", 9).domain.uuid)
        assert store.domains() == [record("bank", 2, size=3)]
        store.put(record("work", 1))
        assert store.domains()[0] == record("work", 1)


def test_a_template_version_can_be_dropped(path: Path) -> None:
    with closing(SqliteStore(path)) as store:
        for number in (1, 2):
            store.put(version=version(number))
        store.drop_version(DomainName("debian-12"), 1)
        store.drop_version(DomainName("debian-13"), 2)
        assert store.versions() == [version(2)]


def test_records_and_a_version_are_put_together_or_not_at_all(path: Path) -> None:
    with closing(SqliteStore(path)) as store:
        store.put(record("work", 1), version=version(1))
        with pytest.raises(Unavailable):
            store.put(record("bank", 2), version=version(1))  # that version is there already
        with pytest.raises(Unavailable):
            store.put(record("bank", 2), record("vault", 2))  # two in one slot
        assert store.domains() == [record("work", 1)]
        store.put(record("bank", 2), version=version(2))
        assert [one.name for one in store.domains()] == ["work", "bank"]


def test_what_is_not_of_sqlite_interrupts_a_put_as_well(path: Path) -> None:
    with closing(SqliteStore(path)) as store:
        with pytest.raises(OverflowError):
            store.put(record("work", 1), record("bank", 1 << 64))
        assert store.domains() == []
        store.put(record("work", 1))
        assert store.domains() == [record("work", 1)]


def test_a_database_of_a_newer_bento_is_refused_and_not_touched(path: Path) -> None:
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("CREATE TABLE something (new TEXT)")
        newer.execute(f"PRAGMA user_version={SCHEMA + 1}")
    before = path.read_bytes()
    with pytest.raises(Unavailable, match=rf"was written by a newer Bento \(schema {SCHEMA + 1}\)"):
        SqliteStore(path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_the_schema_is_made_once_and_its_number_kept(path: Path) -> None:
    with closing(SqliteStore(path)):
        pass
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (SCHEMA,)
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    with closing(SqliteStore(path)) as store:
        assert store.domains() == []


def test_a_file_that_is_no_database_is_refused_with_what_to_do(path: Path) -> None:
    path.write_bytes(b"this is no database, and longer than the header of one" * 100)
    with pytest.raises(Unavailable, match="move it away"):
        SqliteStore(path)


def test_a_place_where_nothing_can_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="see to it that you may write there"):
        SqliteStore(tmp_path / "missing" / "state.sqlite")


def test_a_second_writer_is_told_that_there_is_one(path: Path) -> None:
    with closing(SqliteStore(path)) as store, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="another program holds it"):
            store.put(record("work", 1))
        other.execute("ROLLBACK")
        store.put(record("work", 1))
        assert store.domains() == [record("work", 1)]


def test_a_store_that_is_closed_says_so(path: Path) -> None:
    store = SqliteStore(path)
    store.close()
    for ask in (store.domains, store.versions):
        with pytest.raises(Unavailable, match="closed"):
            ask()


@contextmanager
def no_room_beyond(size: int) -> Iterator[None]:
    """No file of this process can grow beyond `size` bytes: writing more fails, as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_costs_the_put_that_met_it_and_nothing_else(path: Path) -> None:
    kept = [record(f"kept-{slot}", slot, size=2) for slot in range(3)]
    with closing(SqliteStore(path)) as store:
        store.put(*kept)
        written = path.with_name(f"{path.name}-wal").stat().st_size
        with no_room_beyond(written + 10_000), pytest.raises(Unavailable, match="make room on its disk"):
            store.put(record("large", 9, size=3000))
        assert store.domains() == kept
        store.put(record("later", 9, size=3000))
        assert store.domains() == [*kept, record("later", 9, size=3000)]


def test_a_disk_that_is_full_from_the_first_leaves_nothing_half_made(path: Path) -> None:
    for room in (0, 5_000, 20_000):
        with no_room_beyond(room), pytest.raises(Unavailable, match="make room on its disk"):
            SqliteStore(path)
    with closing(SqliteStore(path)) as store:
        store.put(record("work", 1))
        assert store.domains() == [record("work", 1)]


WRITER = """
import sys
from pathlib import Path
from bento.host.drivers.sqlite import SqliteStore
from tests.host.drivers.test_sqlite import record, version

print("ready", flush=True)
store = SqliteStore(Path(sys.argv[1]))
number = int(sys.argv[2])
while True:
    number += 1
    # A domain changes with all that belongs to it, and a version is made; each fourth time it is the next domain.
    made = version(number) if number % 4 else None
    store.put(record(f"domain-{number // 4}", number // 4, number % 50), version=made)
    print(number, flush=True)
"""


def killed(path: Path, start: int, lines: int, chance: random.Random) -> list[str]:
    """All that a writer said which was killed some way behind its first `lines` lines."""
    argv = [sys.executable, "-c", WRITER, str(path), str(start)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        said = [writer.stdout.readline() for _ in range(lines)]
        for _ in range(chance.randrange(100_000)):
            pass
        writer.send_signal(signal.SIGKILL)
        said += writer.stdout  # said before the kill, read after it
    assert writer.returncode == -signal.SIGKILL
    return said


@pytest.mark.slow
def test_a_killed_writer_loses_nothing_it_acknowledged_and_tears_no_record(path: Path) -> None:
    chance = random.Random(7)
    number = 0
    for _ in range(10):
        number = int(killed(path, number, chance.randint(2, 12), chance)[-1])
        with closing(SqliteStore(path)) as store:
            last = store.domains()[-1]
            size = len(last.properties)
            number = next(n for n in (number, number + 1) if n // 4 == last.slot and n % 50 == size)
            assert last == record(f"domain-{last.slot}", last.slot, size), "a record is torn"
            assert [one.slot for one in store.domains()] == list(range(last.slot + 1))
            made = {one.number for one in store.versions()}
            assert made == {n for n in range(1, number + 1) if n % 4}, "a record and its version are apart"


@pytest.mark.slow
def test_a_writer_killed_while_it_makes_the_schema_is_followed_by_one_that_can(tmp_path: Path) -> None:
    chance = random.Random(8)
    for number in range(6):
        path = tmp_path / f"state-{number}.sqlite"
        killed(path, 0, 1, chance)
        with closing(SqliteStore(path)) as store:
            store.put(record("later", 1 << 20))
            assert store.domains()[-1] == record("later", 1 << 20)
