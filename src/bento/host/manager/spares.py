"""Spares: machines forked ahead of the disposables that will be them, each stopped before it hears who it is.

Most of what a start from a seed takes on this side depends on no name: the box, QEMU, its volumes, loading the seed. So
for each disposable template that was used lately that is done in advance, by the same steps as in any start
(`launches.py`), and the next disposable of it takes the machine over: it is *adopted*. There are two for a template,
since one is often wanted right after another; where more were started at once, as many for the next time. Each has its
own uuid and host user, and nothing of any disposable is in it.

Where the processor is emulated the guest runs for a moment before that. Nobody can speak to it yet, so its agent does
once more what it did in the seed (`guest/rehearsal.py`), and what a disposable's first moments take is translated then:
two thirds of a start. Then it is stopped, as nobody as its seed. With KVM it has not run at all.

A spare is a machine that is no domain's. A new disposable is given its uuid and slot (*claimed*), and its start takes
the machine only if that is, word for word, the one it would launch itself: so a spare of a seed, a size or a template
of before is never used. What only saves time is given back first: when memory runs short, when a start finds no room,
when its seed is no more, when nobody used it for ten minutes, and with the manager; a template's second one also for
the first of another. One that a killed manager leaves belongs to nobody, and is ended at recovery.
"""

import asyncio
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, replace
from uuid import UUID, uuid4

from bento.host.manager.events import Events
from bento.host.manager.inventory import Inventory
from bento.host.manager.machines import Machines
from bento.host.manager.places import Places
from bento.host.manager.properties import inherited, makes_disposables
from bento.host.manager.seedfiles import Seed
from bento.host.manager.seeds import Seeds
from bento.host.manager.templates import Templates
from bento.host.model.domain import Domain, DomainClass
from bento.host.model.errors import BentoError
from bento.host.model.inventory import DomainRecord, Phase
from bento.host.model.machine import Accelerator, MachineSpec
from bento.host.model.memory import SPARE
from bento.host.ports.hypervisor import Hypervisor, Machine
from bento.wire.names import DomainName

log = logging.getLogger(__name__)

MOST = 3
"""Spares at any time: each takes some memory, and a person seldom wants more disposables at once."""

USUAL = 2
"""Spares of one template that is used, as far as others leave room for them."""

IDLE_SECONDS = 600.0
"""After the last disposable of its template a spare is given back: the next one takes some tenths of a second more."""

SETTLE_SECONDS = 1.0
"""Since the last start of a disposable, before a spare is made: that start's call, and others that are asked for at the
same moment, have the processors to themselves."""

REHEARSAL_SECONDS = 1.5
"""For which the guest of a spare runs at least. Its agent waits a second for a greeting before it rehearses."""

LOOK_SECONDS = 0.25
LOOKS = 20
"""How long, and how often at most, it is looked at after that, until its processor rests."""

RESTS = 0.2
"""The part of a processor that a machine at rest takes at most."""


@dataclass(slots=True)
class Spare:
    """`takes`: bytes of memory, as measured. `lent`: its slot, until a domain's record has that, or nobody."""

    seed: Seed
    spec: MachineSpec
    machine: Machine
    takes: int
    lent: ExitStack
    claimed: bool = False
    """A disposable has its uuid."""
    watch: asyncio.Task[None] | None = None

    @property
    def base(self) -> DomainName:
        return self.seed.base


@dataclass(slots=True)
class Use:
    """Of a base's seed by disposables. `last`: seconds of the clock. `together`: so many spares it is to have."""

    last: float = 0.0
    together: int = USUAL


class Spares:
    def __init__(
        self,
        *,
        inventory: Inventory,
        places: Places,
        hypervisor: Hypervisor,
        machines: Machines,
        templates: Templates,
        seeds: Seeds,
        events: Events,
        leaves_room: Callable[[DomainRecord], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`leaves_room`: whether the host has memory for such a machine that only saves time."""
        self._inventory = inventory
        self._places = places
        self._hypervisor = hypervisor
        self._machines = machines
        self._templates = templates
        self._seeds = seeds
        self._events = events
        self._leaves_room = leaves_room
        self._clock = clock
        self._waiting: dict[UUID, Spare] = {}
        self._ending: dict[UUID, asyncio.Task[None]] = {}
        self._making: asyncio.Task[None] | None = None
        self._used: dict[UUID, Use] = {}
        """By base."""
        self._disturbed = float("-inf")
        """When any last did, or was about to."""

    def __contains__(self, uuid: UUID) -> bool:
        return uuid in self._waiting

    def waiting(self) -> list[Spare]:
        """The oldest first."""
        return list(self._waiting.values())

    def taken(self) -> int:
        """Bytes of memory that spares take, about, with one that is being made."""
        making = self._making is not None and not self._making.done()
        return sum(spare.takes for spare in self._waiting.values()) + making * SPARE

    def expect(self, base: DomainName) -> None:
        """A disposable of `base`, which starts, went on from its seed: see to a spare for the next, once it is quiet.

        For the next ones, where others start beside it: who wants some at once will want as many again.
        """
        use = self._used.setdefault(self._inventory.get(base).domain.uuid, Use())
        use.last = self._disturbed = self._clock()
        at_once = sum(1 for record in self._starting() if record.domain.template == base)
        use.together = max(use.together, at_once, USUAL)

    # How one is used.

    def claim(self, base: DomainRecord) -> tuple[UUID, int] | None:
        """The uuid and slot of a spare, for a disposable that is made of `base` just now; nobody else gets them.

        Whether there is one or not, none is being made while that disposable starts.
        """
        self._disturbed = self._clock()
        self._make_way()
        for spare in self._waiting.values():
            if spare.base == base.name and not spare.claimed:
                spare.claimed = True
                return spare.spec.uuid, spare.spec.slot
        return None

    async def adopt(self, spec: MachineSpec) -> Machine | None:
        """The machine that waits to be launched as `spec`, the caller's from now on; it is stopped.

        None if there is none, and then no process is left under its uuid. It is given away once.
        """
        uuid = spec.uuid
        if uuid in self._ending:
            await asyncio.shield(self._ending[uuid])
        spare = self._waiting.get(uuid)
        if spare is None:
            return None
        if replace(spare.spec, name=spec.name) != spec:
            await self._drop(spare, "it is not what its disposable is to be")
            return None
        self._let_go(spare)
        spare.lent.close()
        return spare.machine

    # How they come and go.

    async def keep(self) -> None:
        """Make those that are wanted, and end what is not, now and whenever something has happened, for ever."""
        await self._events.attend(self.look, "looking after the spares")

    async def look(self) -> float | None:
        """Seconds until the next look, if that is not only when something happens."""
        now = self._clock()
        for uuid in [uuid for uuid, use in self._used.items() if now - use.last >= IDLE_SECONDS]:
            del self._used[uuid]
        bases = self._bases()
        for spare in self.waiting():
            if reason := self._fault(spare, bases):
                await self._drop(spare, reason)
        missing, _ = self._balance(bases)
        for base in missing:
            if base not in self._balance(bases)[0]:
                continue  # the one before could not be made
            if left := self._until_quiet():
                return left
            self._making = asyncio.create_task(self._try(base))
            await asyncio.wait({self._making})
            if self._making.cancelled():
                return SETTLE_SECONDS
            self._making.result()
        return min((use.last + IDLE_SECONDS - now for use in self._used.values()), default=None)

    async def drop_all(self) -> None:
        """Give back all that they take, also one that is being made; on return it is the host's again."""
        if self._making and not self._making.done():
            self._make_way()
            await asyncio.wait({self._making})
        await asyncio.gather(*(self._drop(spare, "its memory is needed") for spare in self.waiting()))

    async def close(self) -> None:
        """Machines of domains outlive the manager; these are nobody's."""
        await self.drop_all()
        if self._ending:
            await asyncio.wait(self._ending.values())

    def _make_way(self) -> None:
        """Have the one that is being made ended. Told once: told again it would leave what it is just ending."""
        if self._making and not self._making.cancelling():
            self._making.cancel()

    def _until_quiet(self) -> float:
        """Seconds; 0.0 when nobody starts, and no disposable did or was about to a moment ago."""
        if any(self._starting()):
            return SETTLE_SECONDS
        return max(0.0, self._disturbed + SETTLE_SECONDS - self._clock())

    def _starting(self) -> Iterator[DomainRecord]:
        return (record for record in self._inventory if record.run and record.run.phase is Phase.STARTING)

    def _balance(self, bases: list[DomainRecord]) -> tuple[list[DomainRecord], list[Spare]]:
        """Of which bases a spare is to be made, and which spares give way to those.

        There is to be one of each base, used last first, then what else they have used, while there is room.
        """
        turns = [base for number in range(MOST) for base in bases if number < self._used[base.domain.uuid].together]
        waiting = [spare for spare in self.waiting() if not spare.claimed]
        missing = []
        for base in turns[: MOST - (len(self._waiting) - len(waiting))]:
            if spare := next((spare for spare in waiting if spare.base == base.name), None):
                waiting.remove(spare)
            else:
                missing.append(base)
        return missing, waiting

    def _bases(self) -> list[DomainRecord]:
        """Those whose next disposable is to find a spare, used last first."""
        used = [record for record in self._inventory if record.domain.uuid in self._used and makes_disposables(record)]
        return sorted((base for base in used if not base.run), key=lambda base: -self._used[base.domain.uuid].last)

    def _fault(self, spare: Spare, bases: list[DomainRecord]) -> str:
        """Why it is not wanted any more; empty if it is."""
        base = next((base for base in bases if base.name == spare.base), None)
        if base is None:
            return "no disposable was made of its template for a while, or none can be"
        if not self._seeds.holds(spare.seed, base):
            return "its seed is not the one of today"
        if spare.claimed and not any(record.domain.uuid == spare.spec.uuid for record in self._inventory):
            return "its disposable was never started"
        return ""

    async def _try(self, base: DomainRecord) -> None:
        try:
            seed = await self._seeds.of_disposables(base)
            if seed and self._leaves_room(base):
                await self._give_way()
                await self._make(base, seed)
        except (BentoError, OSError) as error:
            # Tried again after the next disposable, which goes without or takes one that could be made.
            unclaimed = sum(1 for spare in self.waiting() if spare.base == base.name and not spare.claimed)
            self._used[base.domain.uuid].together = unclaimed
            log.warning("no disposable of %s was forked ahead: %s", base.name, error)

    async def _give_way(self) -> None:
        """Have room for one more."""
        _, surplus = self._balance(self._bases())
        if surplus and len(self._waiting) >= MOST:
            await self._drop(surplus[0], "another template's disposables were used since")

    async def _make(self, base: DomainRecord, seed: Seed) -> None:
        """The first half of a start; the second is a disposable's."""
        async with AsyncExitStack() as undo:
            lent = undo.enter_context(ExitStack())
            slot = lent.enter_context(self._inventory.slot())
            domain = Domain(uuid4(), DomainName("spare"), DomainClass.DISPOSABLE, base.domain.label, base.name)
            record = DomainRecord(domain, slot=slot, properties=inherited(base), features=base.features)
            run_dir = self._places.machine(domain.uuid)
            undo.callback(shutil.rmtree, run_dir, ignore_errors=True)
            run_dir.mkdir(parents=True, mode=0o700)
            spec = await self._machines.prepare(record, self._templates.version_for(base), seed)
            machine = await self._hypervisor.launch(spec)
            undo.push_async_callback(machine.kill)
            if self._hypervisor.accelerator is Accelerator.TCG:
                await _let_rehearse(machine)
            # A template's own programs may have filled its memory meanwhile, and its volumes, which lie in memory.
            takes = max(SPARE, (await machine.usage()).memory_bytes + (await machine.disk_usage()).scratch_bytes)
            spare = self._waiting[domain.uuid] = Spare(seed, spec, machine, takes, lent.pop_all())
            undo.pop_all()
        spare.watch = asyncio.create_task(self._watch(spare))
        log.info("machine %s waits for a disposable of %s", domain.uuid, base.name)
        self._events.tell(base.name, "spare-made")

    async def _watch(self, spare: Spare) -> None:
        await spare.machine.wait()
        if spare.spec.uuid in self._waiting:
            await self._drop(spare, "it ended by itself", level=logging.WARNING)

    def _let_go(self, spare: Spare) -> None:
        """From here on nobody else can have it."""
        del self._waiting[spare.spec.uuid]
        if spare.watch and spare.watch is not asyncio.current_task():
            spare.watch.cancel()

    async def _drop(self, spare: Spare, reason: str, *, level: int = logging.INFO) -> None:
        uuid = spare.spec.uuid
        if uuid in self._waiting:
            self._let_go(spare)
            log.log(level, "machine %s waits for no disposable of %s any more: %s", uuid, spare.base, reason)
            ending = self._ending[uuid] = asyncio.create_task(self._end(spare))
            ending.add_done_callback(lambda _: self._ending.pop(uuid))
        if uuid in self._ending:
            await asyncio.shield(self._ending[uuid])

    async def _end(self, spare: Spare) -> None:
        with spare.lent:  # no other machine runs as its user before it is gone
            await spare.machine.kill()
            # A disposable that has its uuid and starts just now has the directory, too, and sees to it.
            if not any(record.domain.uuid == spare.spec.uuid and record.run for record in self._inventory):
                shutil.rmtree(spare.spec.run_dir, ignore_errors=True)


async def _let_rehearse(machine: Machine) -> None:
    """How long that takes is for the host's load to say. One that does not rest has rehearsed all the same, or part."""
    await machine.resume()
    await asyncio.sleep(REHEARSAL_SECONDS)
    used = (await machine.usage()).cpu_ns
    for _ in range(LOOKS):
        await asyncio.sleep(LOOK_SECONDS)
        before, used = used, (await machine.usage()).cpu_ns
        if used - before <= RESTS * LOOK_SECONDS * 1e9:
            break
    await machine.pause()
