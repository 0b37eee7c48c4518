"""Memory while domains run: reclaimed from who idles, given back, refused to who starts, bounded for disposables."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from uuid import UUID, uuid4

import pytest

from bento.host.drivers.fake.hypervisor import FakeMachine
from bento.host.manager.admission import Admission
from bento.host.manager.events import Events
from bento.host.manager.live import Live
from bento.host.manager.pressure import BUSY, IDLE_SECONDS, TRIES, Pressure
from bento.host.model.domain import Domain, DomainClass, PowerState
from bento.host.model.errors import NoMemory, Unavailable
from bento.host.model.inventory import DomainRecord
from bento.host.model.machine import DiskUsage, GuestMemory, MachineUsage
from bento.host.model.memory import MIB, SLACK, SPARE, HostMemory, need
from bento.wire.names import DomainName, LabelName

GIB = 1024 * MIB
ROOMY = HostMemory(16 * GIB, 8 * GIB, 0.0)
SHORT = HostMemory(16 * GIB, 512 * MIB, 0.0)
FULL = 400 * MIB


class Machine(FakeMachine):
    """One without a process, whose figures the test says."""

    def __init__(self, *, gives_back: bool = True) -> None:
        self.cpu_ns = 0
        self.memory = 100 * MIB
        self.scratch = 0
        self.left = FULL
        self.available: int | None = 300 * MIB
        self.gives_back = gives_back

    async def usage(self) -> MachineUsage:
        return MachineUsage(self.memory, self.cpu_ns)

    async def disk_usage(self) -> DiskUsage:
        return DiskUsage(self.scratch, self.scratch)

    async def guest_memory(self) -> GuestMemory | None:
        return GuestMemory(self.left, self.available) if self.gives_back else None

    async def ask_for_memory(self, left: int | None) -> None:
        if not self.gives_back:
            raise Unavailable("it has no balloon")
        self.left = FULL if left is None else left


@dataclass
class World:
    """A host, the domains that run on it, and what the clock says."""

    host: HostMemory = ROOMY
    now: float = 1000.0
    lives: list[Live] = field(default_factory=list)
    drops: int = 0
    spares: int = 0
    ended: list[str] = field(default_factory=list)
    slept: int = 0
    when_slept: Callable[[], object] = bool
    disposable: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.pressure = Pressure(
            read=lambda: self.host,
            lives=lambda: [live for live in self.lives if live.state is PowerState.RUNNING],
            machines=lambda: self.lives,
            is_disposable=lambda name: name in self.disposable,
            spares=lambda: self.spares,
            drop_spares=self.drop_spares,
            save_memory=self.save_memory,
            end=self.end,
            events=Events(),
            clock=lambda: self.now,
            sleep=self.sleep,
        )
        self.admission = Admission(lambda: self.host, self.pressure)

    def add(self, name: str, *, disposable: bool = False, gives_back: bool = True) -> Machine:
        machine = Machine(gives_back=gives_back)
        self.lives.append(Live(DomainName(name), uuid4(), PowerState.RUNNING, machine, called=self.now))
        if disposable:
            self.disposable.add(name)
        return machine

    async def drop_spares(self) -> None:
        self.host = replace(self.host, available=self.host.available + self.spares)
        self.spares = 0

    def save_memory(self) -> None:
        assert not self.spares, "spares are given back first"
        self.drops += 1

    async def end(self, name: DomainName) -> None:
        self.ended.append(name)
        self.lives = [live for live in self.lives if live.name != name]

    async def sleep(self, seconds: float) -> None:
        self.slept += 1
        self.now += seconds
        self.when_slept()
        await asyncio.sleep(0)

    def look(self, times: int = 1, *, later: float = 2.0) -> None:
        for _ in range(times):
            self.now += later
            asyncio.run(self.pressure.look())

    def idle(self) -> None:
        self.now += IDLE_SECONDS


@pytest.fixture
def world() -> World:
    return World()


def test_nobody_is_asked_for_memory_while_there_is_enough(world: World) -> None:
    work = world.add("work")
    world.idle()
    world.look(3)
    assert (work.left, world.drops) == (FULL, 0)


def test_under_pressure_an_idle_domain_keeps_what_it_uses(world: World) -> None:
    work = world.add("work")
    world.idle()
    world.host = SHORT
    world.look(2)
    assert work.left == 100 * MIB + SLACK
    assert world.drops > 0, "and what only saves time was dropped"


def test_waiting_programs_are_pressure_too(world: World) -> None:
    work = world.add("work")
    world.idle()
    world.host = HostMemory(16 * GIB, 8 * GIB, 20.0)
    world.look(2)
    assert work.left < FULL


def test_who_was_called_lately_is_left_alone(world: World) -> None:
    work = world.add("work")
    world.host = SHORT
    world.look(3)
    assert work.left == FULL


def test_who_computes_is_left_alone(world: World) -> None:
    work = world.add("work")
    world.idle()
    world.host = SHORT
    for _ in range(3):
        world.look()
        work.cpu_ns += int(2 * BUSY * 2e9)
    assert work.left == FULL


def test_what_was_asked_for_is_given_back_when_pressure_is_over(world: World) -> None:
    work = world.add("work")
    world.idle()
    world.host = SHORT
    world.look(2)
    world.host = HostMemory(16 * GIB, 1500 * MIB, 0.0)
    world.look()
    assert work.left < FULL, "a little better is not over"
    world.host = ROOMY
    world.look()
    assert work.left == FULL


def test_a_call_gives_a_domain_its_memory_back(world: World) -> None:
    work, vault = world.add("work"), world.add("vault")
    world.idle()
    world.host = SHORT
    world.look(2)
    world.lives[0].called = world.now
    world.look()
    assert work.left == FULL
    assert vault.left < FULL


def test_a_domain_is_asked_once_whatever_its_guest_goes_on_to_say(world: World) -> None:
    work = world.add("work")
    world.idle()
    world.host = SHORT
    world.look(2)
    left = work.left
    work.available = left
    world.look(5)
    assert work.left == left


@pytest.mark.parametrize("said", [None, 0, SLACK])
def test_a_guest_that_says_it_needs_all_keeps_all(world: World, said: int | None) -> None:
    work = world.add("work")
    work.available = said
    world.idle()
    world.host = SHORT
    world.look(3)
    assert work.left == FULL


def test_one_that_gives_nothing_back_does_not_keep_others_from_it(world: World) -> None:
    world.add("fork", gives_back=False)
    work = world.add("work")
    world.idle()
    world.host = SHORT
    world.look(2)
    assert work.left < FULL


def test_who_had_nothing_to_give_is_not_looked_at_again_and_again(world: World) -> None:
    class Counting(Machine):
        looked = 0

        async def guest_memory(self) -> GuestMemory | None:
            self.looked += 1
            return await super().guest_memory()

    fork, full = Counting(gives_back=False), Counting()
    full.available = 0
    for machine in (fork, full):
        world.add(f"d{len(world.lives)}")
        world.lives[-1].machine = machine
    world.idle()
    world.host = SHORT
    world.look(12)
    assert (fork.looked, full.looked) == (1, 1)
    world.look(later=30.0)
    assert (fork.looked, full.looked) == (1, 2), "it may have something by now"


def test_a_machine_that_does_not_answer_is_passed_over(world: World) -> None:
    class Hung(Machine):
        async def guest_memory(self) -> GuestMemory | None:
            raise Unavailable("QEMU does not answer")

    world.add("hung")
    world.lives[0].machine = Hung()
    work = world.add("work")
    world.idle()
    world.host = SHORT
    world.look(2)
    assert work.left < FULL


def test_a_new_manager_gives_back_what_the_last_one_asked_for(world: World) -> None:
    work = world.add("work")
    work.left = 100 * MIB

    async def begin() -> None:
        keeping = asyncio.create_task(world.pressure.keep())
        world.when_slept = keeping.cancel
        await asyncio.wait([keeping])

    asyncio.run(begin())
    assert work.left == FULL


# Starting.


def record(name: str, klass: DomainClass = DomainClass.APP) -> DomainRecord:
    return DomainRecord(Domain(UUID(int=0), DomainName(name), klass, LabelName("red"), None), slot=1)


NEED = need(400 * MIB, forked=False)


def available(spare: int) -> HostMemory:
    return HostMemory(16 * GIB, ROOMY.kept + spare, 0.0)


async def start(world: World, name: str = "new", *, meanwhile: Callable[[], Awaitable[None]] | None = None) -> None:
    async with world.admission.admitted(record(name), forked=False):
        if meanwhile:
            await meanwhile()


def test_a_domain_starts_in_just_enough_memory(world: World) -> None:
    world.host = available(NEED)
    asyncio.run(start(world))


def test_a_start_without_room_is_refused_with_who_takes_it(world: World) -> None:
    world.add("small").memory = 300 * MIB
    world.add("large").memory = 2000 * MIB
    world.host = available(NEED - 1)
    with pytest.raises(NoMemory) as refused:
        asyncio.run(start(world))
    assert str(refused.value) == (
        f"'new' cannot start: it takes some {NEED >> 20} MiB of memory, and this machine can spare "
        f"{(NEED - 1) >> 20} MiB; 'large' 2000 MiB, 'small' 300 MiB take the most: 'bento shutdown large' gives it back"
    )


def test_where_nothing_runs_a_refusal_says_what_else_helps(world: World) -> None:
    world.host = available(0)
    with pytest.raises(NoMemory, match="close some of your own programs"):
        asyncio.run(start(world))


def test_where_no_shutdown_would_be_enough_none_is_advised(world: World) -> None:
    world.add("large").memory = 300 * MIB
    world.host = available(NEED - 301 * MIB)
    with pytest.raises(NoMemory, match=r"or give it less with 'bento prefs new memory'$"):
        asyncio.run(start(world))


def test_of_starts_at_once_no_more_pass_than_there_is_room_for(world: World) -> None:
    world.host = available(3 * NEED)

    async def ten() -> list[BaseException | None]:
        done = asyncio.Event()
        starts = [asyncio.create_task(start(world, f"d{n}", meanwhile=lambda: waited(done))) for n in range(10)]
        while sum(each.done() for each in starts) < 7:  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0)
        done.set()
        return await asyncio.gather(*starts, return_exceptions=True)

    refused = [each for each in asyncio.run(ten()) if isinstance(each, NoMemory)]
    assert len(refused) == 7


async def waited(event: asyncio.Event) -> None:
    await event.wait()


def test_a_start_that_is_over_keeps_no_memory_promised(world: World) -> None:
    world.host = available(NEED)
    for _ in range(2):
        asyncio.run(start(world))


def test_a_start_without_room_takes_what_idle_domains_give_back(world: World) -> None:
    work = world.add("work")
    world.idle()
    world.host = available(NEED - 100 * MIB)

    def give() -> None:
        if work.left < FULL:
            world.host = available(NEED)

    world.when_slept = give
    asyncio.run(start(world))
    assert work.left < FULL


def test_a_start_does_not_wait_for_what_nobody_can_give(world: World) -> None:
    world.add("work")
    world.host = available(0)
    with pytest.raises(NoMemory):
        asyncio.run(start(world))
    assert world.slept == 0


def test_nor_for_ever_for_what_somebody_might(world: World) -> None:
    world.add("work")
    world.idle()
    world.host = available(0)
    with pytest.raises(NoMemory):
        asyncio.run(start(world))
    assert 0 < world.slept <= TRIES


# Disposables.

BOUND = ROOMY.for_disposables


def test_a_disposable_that_grows_beyond_the_bound_of_all_is_the_one_that_ends(world: World) -> None:
    small, large = world.add("disp1", disposable=True), world.add("disp2", disposable=True)
    world.add("work").memory = BOUND
    small.scratch, large.scratch = BOUND // 4, BOUND // 2
    world.look()
    assert world.ended == []
    large.scratch = BOUND
    world.host = HostMemory(16 * GIB, 8 * GIB - BOUND // 2, 0.0)
    world.look()
    assert world.ended == ["disp2"]


def test_disposables_are_measured_now_and_then_whatever_the_host_says(world: World) -> None:
    disposable = world.add("disp1", disposable=True)
    world.look()
    disposable.scratch = BOUND  # and somebody else gave as much back
    world.look()
    assert world.ended == []
    world.look(later=30.0)
    assert world.ended == ["disp1"]


def test_a_disposable_whose_machine_hides_its_disks_still_counts_its_memory(world: World) -> None:
    class Silent(Machine):
        async def disk_usage(self) -> DiskUsage:
            raise Unavailable("QEMU does not answer")

    world.add("disp1", disposable=True)
    silent = Silent()
    silent.memory = BOUND + 1
    world.lives[0].machine = silent
    world.look()
    assert world.ended == ["disp1"]


def test_a_disposable_that_does_not_answer_keeps_nobody_from_looking_at_the_others(world: World) -> None:
    asked = asyncio.Event()

    class Slow(Machine):
        async def disk_usage(self) -> DiskUsage:
            await asked.wait()
            return await super().disk_usage()

    class Next(Machine):
        async def disk_usage(self) -> DiskUsage:
            asked.set()
            return await super().disk_usage()

    slow = Slow()
    for name, machine in (("disp1", slow), ("disp2", Next())):
        world.add(name, disposable=True)
        world.lives[-1].machine = machine
    slow.scratch = BOUND + 1
    world.look()
    assert world.ended == ["disp1"]


def test_a_disposable_whose_guest_never_says_that_it_has_started_is_bounded_too(world: World) -> None:
    world.add("disp1", disposable=True).scratch = BOUND + 1
    world.lives[0].state = PowerState.TRANSIENT
    world.look()
    assert world.ended == ["disp1"]


def test_a_disposable_that_starts_is_counted_once(world: World) -> None:
    share = need(400 * MIB, forked=True)
    world.add("disp2", disposable=True).memory = BOUND - share

    async def fork() -> None:
        async with world.admission.admitted(record("disp1", DomainClass.DISPOSABLE), forked=True):
            world.add("disp1", disposable=True).memory = share
            await world.pressure.measure_disposables()
            async with world.admission.admitted(record("disp3", DomainClass.DISPOSABLE), forked=True):
                pass

    with pytest.raises(NoMemory, match=f"take {BOUND >> 20} MiB of"):
        asyncio.run(fork())


def test_a_new_disposable_is_refused_when_all_have_their_share(world: World) -> None:
    world.add("disp1", disposable=True).scratch = BOUND - 150 * MIB
    world.look()

    async def fork() -> None:
        async with world.admission.admitted(record("disp2", DomainClass.DISPOSABLE), forked=True):
            pass

    with pytest.raises(NoMemory, match="that they may take together; end one of them first"):
        asyncio.run(fork())


def test_a_disposable_that_is_larger_than_all_may_be_is_told_so(world: World) -> None:
    large = replace(record("disp1", DomainClass.DISPOSABLE), properties={"memory": "1048576"})

    async def fork() -> None:
        async with world.admission.admitted(large, forked=False):
            pass

    with pytest.raises(NoMemory, match=r"together; give it, or what it is made from, less$"):
        asyncio.run(fork())


def test_disposables_that_begin_together_are_counted_together(world: World) -> None:
    async def forks(number: int) -> None:
        if number:
            async with world.admission.admitted(record(f"disp{number}", DomainClass.DISPOSABLE), forked=True):
                await forks(number - 1)

    share = need(400 * MIB, forked=True)
    world.host = HostMemory(16 * GIB, 16 * GIB, 0.0)
    asyncio.run(forks(BOUND // share))
    with pytest.raises(NoMemory, match="may take together"):
        asyncio.run(forks(BOUND // share + 1))


def test_what_was_forked_ahead_is_given_back_before_anything_else(world: World) -> None:
    world.spares = SPARE
    world.host = SHORT
    world.look()
    assert (world.spares, world.drops) == (0, 1)


def test_a_start_finds_the_room_that_a_spare_took(world: World) -> None:
    world.spares = SPARE
    world.host = available(NEED - SPARE)
    asyncio.run(start(world))
    assert (world.spares, world.slept) == (0, 0)


def test_a_start_that_finds_room_leaves_the_spare(world: World) -> None:
    world.spares = SPARE
    world.host = available(NEED)
    asyncio.run(start(world))
    assert world.spares == SPARE


def test_a_spare_counts_among_disposables_and_makes_way_for_one(world: World) -> None:
    share = need(400 * MIB, forked=True)
    world.add("disp1", disposable=True).memory = BOUND - share
    world.look()
    world.spares = SPARE

    async def fork() -> None:
        async with world.admission.admitted(record("disp2", DomainClass.DISPOSABLE), forked=True):
            pass

    asyncio.run(fork())
    assert world.spares == 0


def test_spares_go_before_any_disposable_that_has_too_much_with_them(world: World) -> None:
    world.add("disp1", disposable=True).memory = BOUND
    world.spares = SPARE
    world.look(later=30.0)
    assert (world.spares, world.ended) == (0, [])


def test_only_what_is_left_over_goes_to_spares(world: World) -> None:
    base, share = record("base", DomainClass.APP), need(400 * MIB, forked=True)
    assert world.admission.leaves_room(base)
    world.host = replace(ROOMY, pressure=2.0)
    assert not world.admission.leaves_room(base)
    world.host = available(share - 1)
    assert not world.admission.leaves_room(base)
    world.host = ROOMY
    world.add("disp1", disposable=True).memory = BOUND - share + 1
    world.look()
    assert not world.admission.leaves_room(base)
