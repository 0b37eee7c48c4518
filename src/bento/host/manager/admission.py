"""Whether a domain may start: is there the memory that it will take?

A start is refused when that is truly gone: after what can be reclaimed was, and with what starts under way will take
counted in, so that ten at once do not all pass by the same free memory. Something is always kept for the person's own
programs. Disposables are bounded all together besides (`pressure.py`).
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from bento.host.manager.pressure import Pressure
from bento.host.manager.properties import number
from bento.host.model.domain import DomainClass
from bento.host.model.errors import NoMemory
from bento.host.model.inventory import DomainRecord
from bento.host.model.memory import MIB, HostMemory, is_pressed, need
from bento.wire.names import DomainName

NAMED = 3
"""How many of the largest domains a refusal names."""


class Admission:
    def __init__(self, read: Callable[[], HostMemory], pressure: Pressure) -> None:
        self._read = read
        self._pressure = pressure
        self._promised: dict[DomainName, tuple[int, bool]] = {}
        """What starts under way will take, and whether each is of a disposable."""

    @asynccontextmanager
    async def admitted(self, record: DomainRecord, *, forked: bool) -> AsyncIterator[None]:
        """For as long as it starts the domain has its memory promised. Raises `NoMemory` if there is too little."""
        name, disposable = record.name, record.domain.klass is DomainClass.DISPOSABLE
        wanted = need(number(record, "memory") * MIB, forked=forked)

        def fits() -> bool:
            return self._spare() >= wanted

        if disposable:
            await self._require_share(name, wanted)
        if not fits():
            await self._pressure.make_room(fits)
        if not fits():
            takers = await self._pressure.takers()
            if not fits():
                raise NoMemory(_sentence(name, wanted, self._spare(), takers))
        self._promised[name] = wanted, disposable
        try:
            yield
        finally:
            del self._promised[name]

    def leaves_room(self, base: DomainRecord) -> bool:
        """Whether there is room for one more fork that only saves time: nobody gives anything back for that."""
        host, wanted = self._read(), need(number(base, "memory") * MIB, forked=True)
        within = self._with_promised() + wanted <= host.for_disposables
        return within and self._spare() >= wanted and not is_pressed(host, before=True)

    def _spare(self) -> int:
        host = self._read()
        return max(0, host.available - host.kept - sum(wanted for wanted, _ in self._promised.values()))

    async def _require_share(self, name: DomainName, wanted: int) -> None:
        """Raises `NoMemory` if the disposables have all that they may have together."""
        bound = self._read().for_disposables
        if wanted > bound:
            all_of_it = f"it takes some {_size(wanted)} of memory, and disposables may take {_size(bound)} together"
            raise NoMemory(f"'{name}' cannot start: {all_of_it}; give it, or what it is made from, less")
        if self._with_promised() + wanted > bound:
            await self._pressure.drop_spares()
            await self._pressure.measure_disposables(again=False)
        if (taken := self._with_promised()) + wanted > bound:
            share = f"disposables take {_size(taken)} of the {_size(bound)} of memory that they may take together"
            raise NoMemory(f"'{name}' cannot start: {share}; end one of them first")

    def _with_promised(self) -> int:
        taken = self._pressure.disposables()
        for name, (wanted, disposable) in self._promised.items():
            if disposable:  # it may have a machine already
                taken[name] = max(wanted, taken.get(name, 0))
        return sum(taken.values()) + self._pressure.spares()


def _sentence(name: DomainName, wanted: int, spare: int, takers: list[tuple[DomainName, int]]) -> str:
    short = f"'{name}' cannot start: it takes some {_size(wanted)} of memory, and this machine can spare {_size(spare)}"
    if spare + sum(taken for _, taken in takers) < wanted:  # nor would it fit if none of them ran
        return f"{short}; close some of your own programs, or give it less with 'bento prefs {name} memory'"
    largest = ", ".join(f"'{taker}' {_size(taken)}" for taker, taken in takers[:NAMED])
    return f"{short}; {largest} take the most: 'bento shutdown {takers[0][0]}' gives it back"


def _size(count: int) -> str:
    return f"{count >> 20} MiB" if count < 10 << 30 else f"{count / (1 << 30):.1f} GiB"
