"""Spares: who gets one, and when it is given back. On pretended machines; one that waits is stopped there, too."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid5

import pytest

from bento.host.drivers.sqlite import SqliteStore
from bento.host.manager.events import Events
from bento.host.manager.inventory import Inventory
from bento.host.manager.places import Places
from bento.host.manager.seedfiles import Kind, Seed
from bento.host.manager.spares import IDLE_SECONDS, LOOKS, MOST, SETTLE_SECONDS, USUAL, Spares
from bento.host.model.domain import Domain, DomainClass
from bento.host.model.errors import Unavailable
from bento.host.model.inventory import DomainRecord, Phase, Run
from bento.host.model.machine import Accelerator, DiskUsage, MachineSpec, MachineUsage
from bento.host.model.memory import SPARE
from bento.wire import home as homes
from bento.wire.names import DomainName, LabelName
from tests.crash.invariants import eventually
from tests.host.manager.home import Home, new_home


@pytest.fixture
def based(tmp_path: Path) -> Iterator[Home]:
    """A home with the disposable template `base` and its seed, whose manager makes spares as soon as it may."""
    (tmp_path / "memory").write_text(json.dumps({"total": 64 << 30, "available": 48 << 30, "pressure": 0.0}))
    with new_home() as home:
        home.start_manager(BENTO_TEST_SETTLE="0", BENTO_TEST_MEMORY=str(tmp_path / "memory"))
        home.build()
        home.create("base")
        with home.events() as events:
            home.ask("admin.vm.property.Set", "base", "template_for_dispvms", "True")
            events.until("seed-made", "base")
        yield home


def spare(home: Home) -> set[int]:
    """Have a disposable come and go; the processes of the spares that are there for the next ones."""
    assert home.run("base", "true", disposable="yes").code == 0
    eventually(lambda: len(rows(home)) == USUAL)
    eventually(lambda: none_is_left(home))
    pids = set(home.machine_pids())
    assert pids
    return pids


def rows(home: Home) -> list[dict[str, Any]]:
    """What is told of the spares there are."""
    found: list[dict[str, Any]] = json.loads(home.ask("bento.vm.Usage"))["spares"]
    return found


def none_is_left(home: Home) -> None:
    assert [row["name"] for row in home.table() if row["class"] == "DispVM"] == []


def no_machine(home: Home) -> None:
    assert home.machine_pids() == []
    assert list((home.path / "run/domains").iterdir()) == []


def disposable(home: Home) -> str:
    return home.ask("admin.vm.CreateDisposable", "base")


def is_listed(home: Home) -> bool:
    (seed,) = json.loads(home.ask("bento.seed.List"))
    return bool(seed["spare"])


def test_the_next_disposable_is_the_machine_that_waited(based: Home) -> None:
    waited = spare(based)
    assert is_listed(based)
    name = disposable(based)
    based.start(name)
    assert based.row(name)["pid"] in waited
    assert based.run(name, "true").code == 0
    uuid = based.row(name)["uuid"]
    based.kill(name)
    assert based.machine_pids_of(uuid) == []


def test_one_that_waits_runs_nothing(based: Home) -> None:
    states = [Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] for pid in spare(based)]
    assert states.count("T") == USUAL, "of the two processes of each its box only waits"


def test_of_some_that_start_at_once_the_first_are_the_spares(based: Home) -> None:
    waited = spare(based)
    names = [disposable(based) for _ in range(USUAL + 1)]
    with ThreadPoolExecutor(len(names)) as callers:
        list(callers.map(based.start, names))
    pids = [based.row(name)["pid"] for name in names]
    assert len(set(pids)) == len(names)
    assert [pid in waited for pid in pids] == [True] * USUAL + [False]
    for name in names:
        assert based.run(name, "true").code == 0
        based.kill(name)


@pytest.mark.parametrize("when", ["before it is claimed", "before it starts"])
def test_a_spare_that_died_costs_its_disposable_nothing_but_time(based: Home, when: str) -> None:
    waited = spare(based)
    name = disposable(based) if when == "before it starts" else ""
    for pid in waited:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    name = name or disposable(based)
    based.start(name)
    assert based.row(name)["pid"] not in waited
    assert based.run(name, "true").code == 0
    (seed,) = json.loads(based.ask("bento.seed.List"))
    assert seed["current"], "its seed is not to blame"
    assert "is started without a seed" not in based.log()


def test_a_disposable_of_another_size_is_not_the_spare(based: Home) -> None:
    waited = spare(based)
    name = disposable(based)
    claimed = set(based.machine_pids_of(based.row(name)["uuid"]))
    assert claimed <= waited
    based.ask("admin.vm.property.Set", name, "memory", "444")
    based.start(name)
    assert based.row(name)["pid"] not in waited
    gone(based, claimed)
    assert based.run(name, "true").code == 0


def test_one_that_boots_leaves_the_spare(based: Home) -> None:
    waited = spare(based)
    assert based.run("base", "true", disposable="yes", fresh="yes").code == 0
    eventually(lambda: none_is_left(based))
    assert waited <= set(based.machine_pids())
    assert is_listed(based)


def test_a_disposable_that_stays_leaves_it_too(based: Home) -> None:
    waited = spare(based)
    based.create("named", "base", "DispVM")
    based.start("named")
    assert based.row("named")["pid"] not in waited
    assert is_listed(based)


@pytest.mark.parametrize("change", ["memory", "remove", "no base"])
def test_a_spare_of_what_was_is_given_back(based: Home, change: str) -> None:
    waited = spare(based)
    match change:
        case "memory":
            based.ask("admin.vm.property.Set", "base", "memory", "444")
        case "remove":
            based.ask("admin.vm.Remove", "base")
        case "no base":
            based.ask("admin.vm.property.Set", "base", "template_for_dispvms", "False")
    eventually(lambda: gone(based, waited))


def gone(home: Home, waited: set[int]) -> None:
    assert not waited & set(home.machine_pids())


def test_a_spare_of_a_disposable_that_never_starts_is_given_back(based: Home) -> None:
    spare(based)
    name = disposable(based)
    assert is_listed(based)
    other = disposable(based)
    uuid = based.row(name)["uuid"]
    assert based.machine_pids_of(uuid)
    based.ask("admin.vm.Remove", name)
    eventually(lambda: based.machine_pids_of(uuid) == [])
    based.start(other)
    assert based.run(other, "true").code == 0


def test_when_memory_runs_short_it_goes_first(based: Home, tmp_path: Path) -> None:
    waited = spare(based)
    (tmp_path / "less").write_text(json.dumps({"total": 64 << 30, "available": 1 << 20, "pressure": 0.0}))
    (tmp_path / "less").rename(tmp_path / "memory")
    eventually(lambda: gone(based, waited))
    eventually(lambda: no_machine(based))


def test_what_it_takes_is_told(based: Home) -> None:
    spare(based)
    usage = json.loads(based.ask("bento.vm.Usage"))
    for row in usage["spares"]:
        assert row["base"] == "base"
        assert row["resident_bytes"] > 1 << 20
    assert usage["domains"] == []


def test_it_ends_with_its_manager_and_domains_do_not(based: Home) -> None:
    based.create("work")
    based.start("work")
    stays = set(based.machine_pids())
    waited = spare(based) - stays
    assert waited
    based.stop_manager()
    assert set(based.machine_pids()) == stays


def test_one_that_a_killed_manager_leaves_is_ended(based: Home) -> None:
    spare(based)
    based.kill_manager()
    assert based.machine_pids(), "a stopped machine outlives its manager, too"
    based.start_manager()
    no_machine(based)


# Its rules, with a clock.


@dataclass
class Machine:
    """Its guest is busy for as many looks, and has filled as much of its memory and of its volumes."""

    busy: int = 0
    memory: int = 0
    volumes: int = 0
    looks: int = 0
    story: list[str] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def resume(self) -> None:
        self.story.append("runs")

    async def pause(self) -> None:
        self.story.append("stops")

    async def usage(self) -> MachineUsage:
        self.looks += 1
        return MachineUsage(resident_bytes=self.memory, cpu_ns=min(self.looks, self.busy) * 10**9)

    async def disk_usage(self) -> DiskUsage:
        return DiskUsage(written_bytes=0, scratch_bytes=self.volumes)

    async def kill(self) -> None:
        self.ended.set()

    async def wait(self) -> None:
        await self.ended.wait()


class World:
    """A home with two disposable templates, whose seeds and machines are pretended."""

    def __init__(self, store: SqliteStore, path: Path, accelerator: Accelerator = Accelerator.TCG) -> None:
        self.now, self.room, self.made = 1000.0, True, list[Machine]()
        self.stale, self.fails, self.busy, self.memory, self.volumes = set[str](), False, 0, 0, 0
        self.inventory = Inventory(store)
        for slot, name in enumerate(("a", "b", "c", "d"), start=1):
            domain = Domain(uuid5(UUID(int=1), name), DomainName(name), DomainClass.APP, LabelName("red"), None)
            self.inventory.put(DomainRecord(domain, slot=slot, properties={"template_for_dispvms": "True"}))
        places = PurePosixPath(path)
        stubs: Any = SimpleNamespace(
            prepare=self.prepare, launch=self.launch, version_for=lambda _: None, of_disposables=self.seed,
            holds=lambda seed, base: base.name not in self.stale, accelerator=accelerator,
        )  # fmt: skip  # a list to be read across
        self.spares = Spares(
            inventory=self.inventory,
            places=Places.of(homes.Home(places, places, places, places)),
            hypervisor=stubs,
            machines=stubs,
            templates=stubs,
            seeds=stubs,
            events=Events(),
            leaves_room=lambda _: self.room,
            clock=lambda: self.now,
        )

    async def seed(self, base: DomainRecord) -> Seed:
        return Seed(f"seed of {base.name}", Path("/nowhere"), Kind.DISPOSABLES, base.name, 1, 1, 0.0)

    async def prepare(self, record: DomainRecord, _version: object, seed: Seed) -> MachineSpec:
        nowhere = Path("/nowhere")
        directory = self.spares._places.machine(record.domain.uuid)
        return MachineSpec(
            record.domain.uuid, record.name, directory, record.slot, 400, 1, nowhere, nowhere, "", (), image=seed.image
        )

    async def launch(self, _spec: MachineSpec) -> Machine:
        if self.fails:
            raise Unavailable("no")
        self.made.append(Machine(self.busy, self.memory, self.volumes))
        return self.made[-1]

    async def look(self, *, later: float = 0.0) -> float | None:
        self.now += later
        return await self.spares.look()

    def bases(self) -> list[str]:
        return [spare.base for spare in self.spares.waiting()]

    def record(self, name: str) -> DomainRecord:
        return self.inventory.get(DomainName(name))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with contextlib.closing(SqliteStore(tmp_path / "state")) as store:
        yield World(store, tmp_path)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bento.host.manager.spares.REHEARSAL_SECONDS", 0.0)
    monkeypatch.setattr("bento.host.manager.spares.LOOK_SECONDS", 0.001)


@pytest.mark.parametrize(("busy", "looks"), [(0, 3), (5, 7), (1000, 2 + LOOKS)])
def test_its_guest_rehearses_until_it_rests_and_is_stopped(world: World, busy: int, looks: int) -> None:
    async def story() -> None:
        world.busy = busy
        world.spares.expect(DomainName("a"))
        await world.look(later=SETTLE_SECONDS)
        for machine in world.made:
            assert machine.story == ["runs", "stops"]
            assert machine.looks == looks
        assert world.bases() == ["a"] * USUAL

    asyncio.run(story())


def test_where_nothing_is_translated_it_does_not_run_before_it_is_needed(tmp_path: Path) -> None:
    with contextlib.closing(SqliteStore(tmp_path / "state")) as store:
        world = World(store, tmp_path, Accelerator.KVM)
        world.spares.expect(DomainName("a"))
        asyncio.run(world.look(later=SETTLE_SECONDS))
        assert [machine.story for machine in world.made] == [[]] * USUAL
        assert world.bases() == ["a"] * USUAL


def test_one_that_ends_in_its_rehearsal_is_none(world: World) -> None:
    async def story() -> None:
        async def fail() -> None:
            raise Unavailable("gone")

        launch = world.launch

        async def launch_one_that_fails(spec: MachineSpec) -> Machine:
            machine = await launch(spec)
            machine.pause = fail  # type: ignore[method-assign]  # of this one only
            return machine

        stub = SimpleNamespace(launch=launch_one_that_fails, accelerator=Accelerator.TCG)
        world.spares._hypervisor = cast(Any, stub)
        world.spares.expect(DomainName("a"))
        await world.look(later=SETTLE_SECONDS)
        assert world.bases() == []
        assert [machine.ended.is_set() for machine in world.made] == [True], "nor is another one tried"

    asyncio.run(story())


def test_a_spare_is_made_once_there_is_quiet(world: World) -> None:
    async def story() -> None:
        assert await world.look() is None
        world.spares.expect(DomainName("a"))
        assert await world.look() == SETTLE_SECONDS
        assert world.bases() == []
        world.inventory.change(DomainName("c"), run=Run(Phase.STARTING, 1, 0.0))
        await world.look(later=SETTLE_SECONDS)
        assert world.bases() == [], "somebody starts"
        world.inventory.change(DomainName("c"), run=None)
        await world.look()
        assert world.bases() == ["a"] * USUAL
        await world.look()
        assert world.bases() == ["a"] * USUAL, "and that is enough"

    asyncio.run(story())


def test_the_next_one_is_not_made_while_its_predecessor_begins(world: World) -> None:
    async def story() -> None:
        world.spares.expect(DomainName("a"))
        await world.look(later=SETTLE_SECONDS)
        world.now += 60
        assert world.spares.claim(world.record("a"))
        assert await world.look() == SETTLE_SECONDS
        assert len(world.made) == USUAL
        await world.look(later=SETTLE_SECONDS)
        assert len(world.made) == USUAL + 1

    asyncio.run(story())


def test_one_that_nobody_used_for_ten_minutes_is_given_back(world: World) -> None:
    async def story() -> None:
        world.spares.expect(DomainName("a"))
        left = await world.look(later=SETTLE_SECONDS)
        assert left is not None
        await world.look(later=left - 1)
        assert world.bases() == ["a"] * USUAL
        await world.look(later=1)
        assert world.bases() == []
        assert all(machine.ended.is_set() for machine in world.made)
        assert world.now - 1000.0 == IDLE_SECONDS

    asyncio.run(story())


def test_a_spare_whose_seed_is_another_by_now_is_replaced(world: World) -> None:
    async def story() -> None:
        world.spares.expect(DomainName("a"))
        await world.look(later=SETTLE_SECONDS)
        world.stale.add("a")
        await world.look()
        world.stale.clear()
        await world.look()
        assert world.bases() == ["a"] * USUAL
        assert [machine.ended.is_set() for machine in world.made] == [True] * USUAL + [False] * USUAL

    asyncio.run(story())


def test_who_had_some_started_at_once_finds_as_many_the_next_time(world: World) -> None:
    async def story() -> None:
        for number in range(MOST):
            name, label = DomainName(f"disp{number}"), LabelName("red")
            domain = Domain(uuid5(UUID(int=2), name), name, DomainClass.DISPOSABLE, label, DomainName("a"))
            world.inventory.put(DomainRecord(domain, slot=10 + number, properties={}, run=Run(Phase.STARTING, 1, 0.0)))
        world.spares.expect(DomainName("a"))
        for number in range(MOST):
            world.inventory.drop(DomainName(f"disp{number}"))
        await world.look(later=SETTLE_SECONDS)
        assert world.bases() == ["a"] * MOST
        for _ in range(MOST):
            assert world.spares.claim(world.record("a"))
        assert world.spares.claim(world.record("a")) is None

    asyncio.run(story())


def test_one_of_each_template_comes_before_a_second_of_any(world: World) -> None:
    async def story() -> None:
        for name in "ab":
            world.spares.expect(DomainName(name))
            world.now += 1
        await world.look(later=SETTLE_SECONDS)
        assert world.bases() == ["b", "a", "b"]
        world.spares.expect(DomainName("c"))
        await world.look(later=SETTLE_SECONDS)
        assert world.bases() == ["b", "a", "c"]
        assert [machine.ended.is_set() for machine in world.made].count(True) == 1
        claimed = world.spares.claim(world.record("a"))
        assert claimed
        uuid, slot = claimed
        domain = Domain(uuid, DomainName("disp1"), DomainClass.DISPOSABLE, LabelName("red"), DomainName("a"))
        world.inventory.put(DomainRecord(domain, slot=slot, properties={}))
        world.spares.expect(DomainName("d"))
        await world.look(later=SETTLE_SECONDS)
        assert world.bases() == ["a", "c", "d"], "what a disposable waits for is not given back"

    asyncio.run(story())


def test_there_are_so_many_and_no_more(world: World) -> None:
    async def story() -> None:
        for name in "abcd":
            world.spares.expect(DomainName(name))
            world.now += 1
        await world.look(later=SETTLE_SECONDS)
        assert world.bases() == ["d", "c", "b"], "those used last"
        assert len(world.bases()) == MOST

    asyncio.run(story())


def test_where_there_is_room_for_one_that_one_stays(world: World) -> None:
    async def story() -> None:
        launch = world.launch

        async def launch_the_first(spec: MachineSpec) -> Machine:
            world.fails = bool(world.made)
            return await launch(spec)

        world.spares._hypervisor.launch = launch_the_first  # type: ignore[method-assign,assignment]  # a pretended one
        world.spares.expect(DomainName("a"))
        await world.look(later=SETTLE_SECONDS)
        await world.look()
        assert world.bases() == ["a"]
        assert not world.made[0].ended.is_set()
        world.spares._hypervisor.launch = launch  # type: ignore[method-assign,assignment]  # a pretended one
        world.fails = False
        await world.look()
        assert world.bases() == ["a"], "not tried again and again"
        world.spares.expect(DomainName("a"))
        await world.look(later=SETTLE_SECONDS)
        assert world.bases() == ["a"] * USUAL

    asyncio.run(story())


def test_none_gives_way_to_one_that_is_not_made(world: World) -> None:
    async def story() -> None:
        for name in "ab":
            world.spares.expect(DomainName(name))
            world.now += 1
        await world.look(later=SETTLE_SECONDS)
        world.room = False
        world.spares.expect(DomainName("c"))
        await world.look()
        await world.look(later=SETTLE_SECONDS)
        assert world.bases() == ["b", "a", "b"]
        world.room = True
        world.spares.expect(DomainName("c"))
        await world.look()
        assert world.bases() == ["b", "a", "b"], "not before it is quiet"
        await world.look(later=SETTLE_SECONDS)
        assert world.bases() == ["b", "a", "c"]

    asyncio.run(story())


def test_it_is_claimed_once_and_adopted_once(world: World) -> None:
    async def story() -> None:
        world.spares.expect(DomainName("a"))
        await world.look(later=SETTLE_SECONDS)
        spare, other = world.spares.waiting()
        assert world.spares.claim(world.record("b")) is None
        assert world.spares.claim(world.record("a")) == (spare.spec.uuid, spare.spec.slot)
        assert world.spares.claim(world.record("a")) == (other.spec.uuid, other.spec.slot)
        assert world.spares.claim(world.record("a")) is None
        own = replace(spare.spec, name=DomainName("disp1"))
        adopted: object = await world.spares.adopt(own)
        assert adopted is world.made[0]
        assert await world.spares.adopt(own) is None
        await world.spares.drop_all()
        assert [machine.ended.is_set() for machine in world.made] == [False, True], "the first is the disposable's"

    asyncio.run(story())


@pytest.mark.parametrize("field", [{"memory_bytes": 401}, {"cmdline": "quiet"}, {"image": None}, {"vcpus": 2}])
def test_who_is_to_be_another_machine_does_not_get_it(world: World, field: dict[str, Any]) -> None:
    async def story() -> None:
        world.spares.expect(DomainName("a"))
        await world.look(later=SETTLE_SECONDS)
        spare, other = world.spares.waiting()
        assert await world.spares.adopt(replace(spare.spec, **field)) is None
        assert [machine.ended.is_set() for machine in world.made] == [True, False]
        assert world.spares.waiting() == [other]

    asyncio.run(story())


def test_its_slot_is_nobody_elses_until_it_is_gone(world: World) -> None:
    async def story() -> None:
        world.spares.expect(DomainName("a"))
        await world.look(later=SETTLE_SECONDS)
        slots = [spare.spec.slot for spare in world.spares.waiting()]
        assert world.inventory.free_slot() not in slots
        await world.spares.drop_all()
        assert world.inventory.free_slot() == min(slots)

    asyncio.run(story())


def test_one_that_ends_by_itself_is_none_any_more(world: World) -> None:
    async def story() -> None:
        world.spares.expect(DomainName("a"))
        await world.look(later=SETTLE_SECONDS)
        for machine in world.made:
            machine.ended.set()
        while world.spares.waiting():  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0)
        assert world.spares.claim(world.record("a")) is None

    asyncio.run(story())


def test_none_is_made_without_room_or_again_and_again_where_it_fails(world: World) -> None:
    async def story() -> None:
        world.spares.expect(DomainName("a"))
        world.room = False
        await world.look(later=SETTLE_SECONDS)
        assert world.bases() == []
        world.room, world.fails = True, True
        await world.look()
        world.fails = False
        await world.look()
        assert world.bases() == []
        assert list(world.spares._places.machines.iterdir()) == []
        world.spares.expect(DomainName("a"))
        await world.look(later=SETTLE_SECONDS)
        assert world.bases() == ["a"] * USUAL

    asyncio.run(story())


def test_memory_that_is_needed_is_not_taken_by_one_that_is_just_being_made(world: World) -> None:
    async def story() -> None:
        looking = await being_made(world)
        assert world.spares.taken() == SPARE
        await world.spares.drop_all()
        await looking
        assert (world.bases(), world.spares.taken()) == ([], 0)
        assert list(world.spares._places.machines.iterdir()) == []

    asyncio.run(story())


def test_what_a_template_filled_in_the_rehearsal_counts_as_taken(world: World) -> None:
    async def story() -> None:
        world.spares.expect(DomainName("a"))
        await world.look(later=SETTLE_SECONDS)
        assert world.spares.taken() == USUAL * SPARE, "at least"
        await world.spares.drop_all()
        world.memory, world.volumes = 2 * SPARE, 5 * SPARE
        await world.look()
        assert world.spares.taken() == USUAL * 7 * SPARE

    asyncio.run(story())


def test_one_that_is_being_made_makes_way_for_a_disposable_that_is_asked_for(world: World) -> None:
    async def story() -> None:
        world.spares.expect(DomainName("b"))
        looking = await being_made(world)
        assert world.spares.claim(world.record("a")) is None
        assert await looking == SETTLE_SECONDS
        assert world.bases() == [], "nor is another one begun"

    asyncio.run(story())


def test_one_that_makes_way_is_ended_whole_however_many_are_asked_for(world: World) -> None:
    async def story() -> None:
        begun, undoing, found = asyncio.Event(), asyncio.Event(), asyncio.Event()
        ending: list[str] = []

        async def launch(_spec: MachineSpec) -> Machine:
            try:
                begun.set()
                await asyncio.Event().wait()
                raise AssertionError
            finally:
                ending.append("its box is looked for")
                undoing.set()
                await found.wait()
                ending.append("it is killed")

        world.spares._hypervisor.launch = launch  # type: ignore[method-assign,assignment]  # a pretended one
        world.spares.expect(DomainName("a"))
        looking = asyncio.create_task(world.look(later=SETTLE_SECONDS))
        await begun.wait()
        world.spares.claim(world.record("a"))
        await undoing.wait()
        world.spares.claim(world.record("a"))
        dropping = asyncio.create_task(world.spares.drop_all())
        await asyncio.sleep(0)  # which tells it, too
        found.set()
        await asyncio.gather(looking, dropping)
        assert ending == ["its box is looked for", "it is killed"]

    asyncio.run(story())


async def being_made(world: World) -> "asyncio.Task[float | None]":
    """A look that makes a spare of `a`, which takes for ever."""
    begun = asyncio.Event()

    async def hang(_spec: MachineSpec) -> Machine:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    world.spares._hypervisor.launch = hang  # type: ignore[method-assign,assignment]  # a pretended one
    world.spares.expect(DomainName("a"))
    looking = asyncio.create_task(world.look(later=SETTLE_SECONDS))
    await begun.wait()
    return looking
