"""Seeds: machines saved as soon as their agent listens, for others to go on from.

There are two kinds. A disposable template's has a copy of its private volume mounted, and its disposables go on with
that. A template's has let go of its private volume, and AppVMs go on from it that each mount their own: that takes them
a while, which disposables need not take.

Here is which seeds there are to be, how one is made, and what may be gone on from; their files are `seedfiles.py`. A
seed's name is a digest of everything it depends on: another template version, another word in the disposable template's
volume, another QEMU, and the name is another one. So a stale seed is not found. One that is found is read against its
own digest once before its first use, mostly ahead of it, and then lies in memory while there is enough of that. It is
nobody yet: what makes one machine differ from another comes to it with its identity, after the fork.

Seeds are made in the background, whenever something changed, and only ever save time: without one a domain boots.
"""

import asyncio
import contextlib
import json
import logging
import shutil
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable
from contextlib import AsyncExitStack, nullcontext
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

from bento.host.manager.events import Events
from bento.host.manager.inventory import Inventory
from bento.host.manager.machines import Machines
from bento.host.manager.places import Places
from bento.host.manager.properties import makes_disposables, number, truth
from bento.host.manager.seedfiles import Kind, Seed, SeedFiles
from bento.host.manager.templates import Templates
from bento.host.model.domain import DomainClass
from bento.host.model.errors import BentoError, Unavailable
from bento.host.model.inventory import DomainRecord, Phase
from bento.host.model.memory import MIB, HostMemory, is_pressed, need
from bento.host.ports.hypervisor import Hypervisor, Machine
from bento.wire.names import DomainName

log = logging.getLogger(__name__)

FORMAT = 3
TRIES = 3
"""Seeds that are made for one key until none is any more: because none could be, or because they did not answer."""

LOOK_SECONDS = 0.05
"""Between two looks whether a guest listens: nothing tells of it."""

QUIET_SECONDS = 20.0
"""Without a start of an AppVM, before a seed of its template is made: its person may be about to start others."""

PUT_OFF_SECONDS = 60.0
"""How long a seed is put off for domains that start: a guest could have one start at any moment, for ever."""

LATER_SECONDS = 60.0
"""Until another look, where the host had too little memory to make one."""


class Seeds:
    def __init__(
        self,
        *,
        inventory: Inventory,
        places: Places,
        hypervisor: Hypervisor,
        machines: Machines,
        templates: Templates,
        events: Events,
        memory: Callable[[], HostMemory],
    ) -> None:
        self._inventory = inventory
        self._places = places
        self._files = SeedFiles(places.seeds)
        self._hypervisor = hypervisor
        self._machines = machines
        self._templates = templates
        self._events = events
        self._memory = memory
        self._sound: set[str] = set()
        """Keys of seeds that were read against their digest by this manager."""
        self._reading = asyncio.Lock()
        self._ready: dict[str, int] = {}
        """Those that were put into memory ahead, by key: their bytes."""
        self._failed: Counter[str] = Counter()
        """By key: how often no seed could be made, or one did not answer."""
        self._put_off: float | None = None
        """Since when domains that start have kept seeds from being made: seconds of the monotonic clock."""

    def kept(self) -> list[Seed]:
        """All there are, those of today's templates and others that are not removed yet."""
        return self._files.kept()

    async def take(self, record: DomainRecord) -> Seed | None:
        """What this domain can go on from, if there is one that is up to date, whole and of its shape."""
        match record.domain.klass:
            case DomainClass.DISPOSABLE:
                assert record.domain.template
                kind, base = Kind.DISPOSABLES, self._inventory.get(record.domain.template)
            case _ if starts_fast(record):
                kind, base = Kind.APPS, record
            case _:
                return None
        self._files.use(kind, base.domain.uuid)
        return await self._find(self.key(base, kind, shape=record))

    async def of_disposables(self, base: DomainRecord) -> Seed | None:
        """What a disposable of `base` could go on from now."""
        return await self._find(self.key(base, Kind.DISPOSABLES))

    def holds(self, seed: Seed, base: DomainRecord) -> bool:
        """Whether it is still what a disposable of `base` could go on from."""
        with contextlib.suppress(BentoError):
            return seed.key == self.key(base, Kind.DISPOSABLES) and seed.directory.exists()
        return False

    def is_current(self, seed: Seed) -> bool:
        """Whether it is one of those there should be."""
        return seed.key in self._wanted()

    def distrust(self, seed: Seed) -> None:
        """A machine that went on from it was not what it should be, or it is not what it was: it is not used again."""
        if not seed.directory.exists():
            return  # several went on from it at once, and it failed once
        log.error("the seed of %s did not work, and is not used again", seed.base)
        self._failed[seed.key] += 1
        self._remove(seed.key)

    def save_memory(self) -> None:
        """Give back the memory that seeds are kept in between two forks, where none of its forks lives or begins."""
        used = {record.domain.template for record in self._inventory if record.run}
        for seed in self.kept():
            if seed.base not in used:
                self._rest(seed.key)

    def key(self, base: DomainRecord, kind: Kind, *, shape: DomainRecord | None = None) -> str:
        """The digest of all that a seed depends on, in hex. `shape`: a domain of whose size it is to be, else `base`.

        Of disposables `base` is the template; of AppVMs it is one of them, and those of the same template and size
        have the same seed.
        """
        version = self._templates.version_for(base)
        size = [number(shape or base, "memory"), number(shape or base, "vcpus")]
        boot = [version.digest, self._templates.cmdline(version)]
        terms: list[object] = [FORMAT, self._hypervisor.fingerprint, kind, boot, size]
        if kind is Kind.DISPOSABLES:
            terms += [str(base.domain.uuid), _state(self._places.private(base.domain.uuid))]
        return sha256(json.dumps(terms).encode()).hexdigest()

    # In the background.

    async def keep(self) -> None:
        """Make what is missing and remove what is stale, now and whenever something has happened, for ever."""
        await self._events.attend(self._look, "looking after the seeds")

    async def _look(self) -> float | None:
        """How many seconds from now to look again, if that is not only when something happens."""
        wanted, patience = self._wanted(), None
        self._tidy(wanted)
        for key, (base, kind) in wanted.items():
            copied = kind is Kind.DISPOSABLES and base.run
            if self._failed[key] >= TRIES or copied or self._files.get(key):
                continue
            if (left := self._put_off_for()) > 0:  # mostly there is news before, of how that start went
                patience = min(patience or left, left)
                break
            since = time.time() - self._last_used(base, kind)
            if kind is Kind.APPS and 0 <= since < QUIET_SECONDS:
                patience = min(patience or QUIET_SECONDS, QUIET_SECONDS - since)
                continue
            if not self._files.has_room():
                break
            if self._is_short(base):
                patience = LATER_SECONDS
                break
            try:
                await self._make(key, base, kind)
            except (BentoError, OSError) as error:
                self._failed[key] += 1
                log.warning("no seed for %s of %s: %s", kind, _of(base, kind), error)
        if not self._somebody_starts():
            await self._make_ready(wanted)
        return patience

    def _put_off_for(self) -> float:
        """Seconds for which a domain that starts may still keep a seed from being made."""
        if not self._somebody_starts():
            self._put_off = None
            return 0.0
        now = time.monotonic()
        self._put_off = self._put_off or now
        return self._put_off + PUT_OFF_SECONDS - now

    def _tidy(self, wanted: Container[str]) -> None:
        """Remove all but the seeds wanted, what cannot be read as one, and the marks of domains that are gone."""
        for name in self._files.names():
            if name not in wanted or self._files.get(name) is None:
                self._remove(name)
        self._files.forget_all_but(record.domain.uuid for record in self._inventory)

    def _somebody_starts(self) -> bool:
        return any(record.run and record.run.phase is Phase.STARTING for record in self._inventory)

    def _is_short(self, base: DomainRecord) -> bool:
        """Whether the host has too little memory for a machine of this size that only saves time."""
        host = self._memory()
        wanted = need(number(base, "memory") * MIB, forked=False)
        return is_pressed(host, before=False) or host.available - host.kept < wanted

    def _wanted(self) -> dict[str, tuple[DomainRecord, Kind]]:
        """The seeds that there should be, by key, as far as the quota goes: those used last come first.

        For disposables there should always be one; for AppVMs if one of them was started.
        """
        bases = [(record, Kind.DISPOSABLES) for record in self._inventory if makes_disposables(record)]
        apps = [record for record in self._inventory if starts_fast(record)]
        bases += [(app, Kind.APPS) for app in apps if self._last_used(app, Kind.APPS)]
        bases.sort(key=lambda one: -self._last_used(*one))
        by_key: dict[str, tuple[DomainRecord, Kind]] = {}
        for base, kind in bases:
            with contextlib.suppress(BentoError):  # a template without an image, say: nothing to make a seed of
                by_key.setdefault(self.key(base, kind), (base, kind))
        return {key: by_key[key] for key in self._files.within_quota(by_key)}

    async def _make(self, key: str, base: DomainRecord, kind: Kind) -> None:
        """Written aside, on disk when it gets its name."""
        began = time.monotonic()
        uuid = uuid4()
        async with AsyncExitStack() as undo:
            slot = undo.enter_context(self._inventory.slot())
            aside = undo.enter_context(self._files.aside())
            undo.callback(shutil.rmtree, self._places.machine(uuid), ignore_errors=True)
            self._places.machine(uuid).mkdir(parents=True, mode=0o700)
            version = self._templates.version_for(base)
            for_apps = kind is Kind.APPS
            with nullcontext() if for_apps else self._inventory.copied(base.name):
                spec = await self._machines.prepare_seed(base, version, aside, uuid, slot, for_apps=for_apps)
            machine = await self._hypervisor.launch(spec)
            undo.push_async_callback(machine.kill)
            await _until_it_listens(machine, number(base, "qrexec_timeout"))
            await machine.save(aside / "state")
            await machine.kill()
            await self._machines.thin(spec)
            await asyncio.to_thread(self._files.finish, aside, kind, _of(base, kind), version.number)
            if key != self.key(base, kind):
                return  # what it was made of changed meanwhile; the news of that is waiting
            self._files.name(aside, key)
        self._sound.add(key)
        log.info("a seed for %s of %s was made in %.1f s", kind, _of(base, kind), time.monotonic() - began)
        self._events.tell(_of(base, kind), "seed-made", key=key)

    async def _make_ready(self, keys: Iterable[str]) -> None:
        """Do ahead what the first that goes on from each would wait for: read it, and have it in memory."""
        for key in keys:
            seed = self._files.get(key)
            if seed is None or key in self._ready or not self._has_memory(seed) or not await self._is_sound(seed):
                continue
            try:
                await self._hypervisor.remember(seed.image)
            except BentoError as error:
                log.warning("the seed of %s is not kept in memory: %s", seed.base, error)
                return
            self._ready[key] = seed.size
            if not seed.directory.exists():  # it was removed meanwhile
                self._rest(seed.key)

    async def _find(self, key: str) -> Seed | None:
        seed = self._files.get(key)
        return seed if seed and await self._is_sound(seed) else None

    def _has_memory(self, seed: Seed) -> bool:
        """Whether the host has some to spare for it, and not too much of that is spent on seeds already."""
        host = self._memory()
        spare = min(host.available - 2 * host.kept, host.kept - sum(self._ready.values()))
        return not is_pressed(host, before=True) and seed.size <= spare

    async def _is_sound(self, seed: Seed) -> bool:
        async with self._reading:
            if seed.key not in self._sound:
                if not await asyncio.to_thread(self._files.is_whole, seed):
                    self.distrust(seed)
                    return False
                self._sound.add(seed.key)
        return True

    def _remove(self, name: str) -> None:
        self._files.remove(name)
        self._sound.discard(name)
        self._rest(name)

    def _rest(self, name: str) -> None:
        self._ready.pop(name, None)
        self._hypervisor.forget(self._files.image(name))

    def _last_used(self, base: DomainRecord, kind: Kind) -> float:
        return self._files.last_used(kind, base.domain.uuid)


def starts_fast(record: DomainRecord) -> bool:
    """Whether it may go on from a seed of its template."""
    return record.domain.klass is DomainClass.APP and truth(record, "fast_start")


def _of(base: DomainRecord, kind: Kind) -> DomainName:
    """What the seed is one of."""
    return base.domain.template if kind is Kind.APPS and base.domain.template else base.name


async def _until_it_listens(machine: Machine, seconds: int) -> None:
    try:
        async with asyncio.timeout(seconds):
            while not await machine.listens():  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        raise Unavailable(f"its guest was not ready within {seconds} s") from None


def _state(volume: Path) -> list[int]:
    """What is another as soon as somebody wrote to the volume; nothing if there is none yet."""
    try:
        status = volume.stat()
    except FileNotFoundError:
        return []
    return [status.st_ino, status.st_size, status.st_mtime_ns]
