"""Memory while domains run: who takes how much, what is reclaimed when the host runs short, and who takes too much.

Every two seconds the host is looked at, which is one reading; domains only when it says that there is reason to. Under
pressure, what only saves time is dropped, and domains that idle are asked for what they do not use (the balloon);
they get it back with their next call, or when pressure is over. What guests say of themselves decides about themselves
only. Disposables fill their volumes in the host's memory: all together are bounded, and the largest goes first.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from uuid import UUID

from bento.host.manager.events import Events
from bento.host.manager.live import Live
from bento.host.model.errors import BentoError
from bento.host.model.memory import FORKED, HostMemory, is_pressed, left_to, offenders
from bento.wire.names import DomainName

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
MEASURE_SECONDS = 30.0
"""Disposables are measured so often at least; sooner when the host has lost as much as may bring them to the bound."""
ANSWER_SECONDS = 5.0
"""For one machine; one that does not answer keeps nobody from looking at the next."""
IDLE_SECONDS = 300.0
"""Since its last call a domain idles, if it computes little."""
VAIN_SECONDS = 30.0
"""One that had nothing to give is not asked again so soon."""
BUSY = 0.05
"""Of one processor."""
TRIES, TRY_SECONDS = 6, 1.0
"""How often, and after how long, a start that finds no room looks whether idle domains have given some back."""


@dataclass(frozen=True, slots=True)
class Worked:
    """What a machine had computed when it was looked at."""

    at: float
    cpu_ns: int


class Pressure:
    def __init__(
        self,
        *,
        read: Callable[[], HostMemory],
        lives: Callable[[], Iterable[Live]],
        machines: Callable[[], Iterable[Live]],
        is_disposable: Callable[[DomainName], bool],
        spares: Callable[[], int],
        drop_spares: Callable[[], Awaitable[None]],
        save_memory: Callable[[], None],
        end: Callable[[DomainName], Awaitable[None]],
        events: Events,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`lives`: the domains that run. `machines`: those that have a machine, also such as start, for as long as
        their guests make it last. `spares`: bytes of the disposables that were forked ahead, and are nobody yet;
        `drop_spares` ends those. `save_memory` drops what else only saves time; `end` ends a domain now.
        """
        self._read = read
        self._lives = lives
        self._machines = machines
        self._is_disposable = is_disposable
        self.spares = spares
        self.drop_spares = drop_spares
        self._save_memory = save_memory
        self._end = end
        self._events = events
        self._clock = clock
        self._sleep = sleep
        self._pressed = False
        self._worked: dict[UUID, Worked] = {}
        self._asked: dict[UUID, float] = {}
        """When a domain was asked for memory that it has not got back yet."""
        self._vain: dict[UUID, float] = {}
        """Until when it is in vain to ask a domain; of one that gives nothing back, for ever."""
        self._taken: dict[UUID, int] = {}
        """Bytes of each disposable when it was measured."""
        self._measured, self._available = float("-inf"), 0
        """When all disposables were measured, and what the host had then."""

    async def keep(self) -> None:
        """Look again and again, for ever."""
        await self._relieve(self._lives())  # those of an earlier manager may have been asked for memory
        while True:
            try:
                await self.look()
            except Exception:
                log.exception("looking after the memory failed")
            await self._sleep(LOOK_SECONDS)

    async def look(self) -> None:
        await self._bound_disposables()
        self._pressed = is_pressed(self._read(), before=self._pressed)
        asked = [live for live in self._lives() if live.uuid in self._asked]
        if self._pressed:
            await self._relieve([live for live in asked if not await self._is_idle(live)])
            await self._reclaim()
        else:
            await self._relieve(asked)
        there = {live.uuid for live in self._machines()}
        for known in (self._worked, self._asked, self._vain, self._taken):
            for uuid in known.keys() - there:
                del known[uuid]

    async def make_room(self, enough: Callable[[], bool]) -> None:
        """Reclaim until there is `enough`, for some seconds at most, and not longer than there is hope."""
        for _ in range(TRIES):
            if not await self._reclaim() or enough():
                return
            await self._sleep(TRY_SECONDS)

    async def takers(self) -> list[tuple[DomainName, int]]:
        """What each domain that runs takes of the host's memory, the largest first."""
        lives = tuple(self._lives())
        taken = zip((live.name for live in lives), await self._measure(lives), strict=True)
        return sorted(taken, key=lambda pair: (-pair[1], pair[0]))

    def disposables(self) -> dict[DomainName, int]:
        """What each disposable took when it was measured; what they mostly do, where it never was."""
        return {live.name: self._taken.get(live.uuid, FORKED) for live in self._disposables()}

    async def measure_disposables(self, *, again: bool = True) -> None:
        """Look at each; without `again` only at those that were never looked at."""
        self._available, self._measured = self._read().available, self._clock()
        lives = [live for live in self._disposables() if again or live.uuid not in self._taken]
        for live, taken in zip(lives, await self._measure(lives), strict=True):
            self._taken[live.uuid] = taken

    # Disposables.

    def _disposables(self) -> list[Live]:
        return [live for live in self._machines() if self._is_disposable(live.name)]

    async def _bound_disposables(self) -> None:
        """Have the largest end until the others are within their bound."""
        host = self._read()
        if not self._disposables():
            return
        may_be = sum(self.disposables().values()) + self.spares() + max(0, self._available - host.available)
        if may_be < host.for_disposables * 3 // 4 and self._clock() - self._measured < MEASURE_SECONDS:
            return
        await self.measure_disposables()
        if sum(self.disposables().values()) + self.spares() > host.for_disposables:
            await self.drop_spares()
        for name in offenders(self.disposables(), host.for_disposables):
            bound = f"all disposables together may take {host.for_disposables >> 20} MiB of memory"
            reason = f"{bound}, and '{name}' took the most of it"
            log.error("%s is ended: %s", name, reason)
            self._events.tell(name, "domain-out-of-memory", reason=reason)
            with contextlib.suppress(BentoError):  # it ended by itself
                await self._end(name)

    async def _measure(self, lives: Iterable[Live]) -> list[int]:
        """What each takes. All at once: else some that do not answer would have the others grow unseen."""
        return await asyncio.gather(*map(self._measure_one, lives))

    async def _measure_one(self, live: Live) -> int:
        """Its machine's memory, and of its volumes those that lie in memory."""
        assert live.machine
        usage = await live.machine.usage()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                disks = (await live.machine.disk_usage()).scratch_bytes
        except (BentoError, OSError, TimeoutError):
            disks = 0  # it ends just now, or hangs; the kernel's own figure stays
        return usage.memory_bytes + disks

    # Reclaiming, and giving back.

    async def _reclaim(self) -> bool:
        """Ask whoever idles for what it does not use; whether anybody may yet give something."""
        await self.drop_spares()
        self._save_memory()
        hope = False
        for live in self._lives():
            if live.uuid in self._asked:
                hope = True  # it gives in its own time
            elif self._vain.get(live.uuid, 0.0) > self._clock():
                continue
            elif self._clock() - live.called >= IDLE_SECONDS and live.uuid not in self._worked:
                hope = True
                await self._is_idle(live)  # known at the next look
            elif await self._is_idle(live):
                hope = await self._ask(live) or hope
        return hope

    async def _is_idle(self, live: Live) -> bool:
        assert live.machine
        now = self._clock()
        if now - live.called < IDLE_SECONDS:
            return False
        before, cpu_ns = self._worked.get(live.uuid), (await live.machine.usage()).cpu_ns
        self._worked[live.uuid] = Worked(now, cpu_ns)
        return before is not None and cpu_ns - before.cpu_ns <= BUSY * (now - before.at) * 1e9

    async def _ask(self, live: Live) -> bool:
        assert live.machine
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                if (guest := await live.machine.guest_memory()) is None:
                    self._vain[live.uuid] = float("inf")
                    return False
                if (left := left_to(guest)) is None:
                    self._vain[live.uuid] = self._clock() + VAIN_SECONDS
                    return False
                await live.machine.ask_for_memory(left)
        except (BentoError, OSError, TimeoutError) as error:
            log.info("%s is not asked for memory: %s", live.name, error)
            self._vain[live.uuid] = self._clock() + VAIN_SECONDS
            return False
        self._asked[live.uuid] = self._clock()
        log.info("%s idles and is asked to make do with %d MiB", live.name, left >> 20)
        self._events.tell(live.name, "domain-memory-reclaimed", left=str(left))
        return True

    async def _relieve(self, lives: Iterable[Live]) -> None:
        """Let them have all that they began with."""
        for live in tuple(lives):
            assert live.machine
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await live.machine.ask_for_memory(None)
            except (BentoError, OSError, TimeoutError) as error:
                if live.uuid in self._asked:
                    log.info("%s is not given its memory back yet: %s", live.name, error)
            else:
                if self._asked.pop(live.uuid, None) is not None:
                    self._events.tell(live.name, "domain-memory-returned")
