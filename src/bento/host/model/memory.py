"""The host's memory, and what a machine may be expected to take of it: numbers and rules, no I/O. All in bytes.

The rules are estimates, on the careful side, from what machines were seen to take; only what the host then really has
left decides (`manager/admission.py`, `manager/pressure.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from bento.host.model.machine import GuestMemory
from bento.wire.names import DomainName

MIB = 1 << 20

AROUND = 96 * MIB
"""What a machine takes besides its guest's memory: the emulator, and what it translated."""
BOOTED = 256 * MIB
"""What a guest has touched of its memory once it has booted and done a little."""
FORKED = 108 * MIB
"""The same of one that was forked: it shares the rest with its seed (36 to 56 MiB at rest, 108 after work)."""

SPARE = 80 * MIB
"""And what one takes that was forked ahead, and has rehearsed."""

KEPT_LEAST, KEPT_MOST = 256 * MIB, 1024 * MIB
KEPT_PART = 16
"""One part in so many of the host's memory is kept for the person's own programs, within those bounds."""

DISPOSABLES_PART = 2
"""All disposables together may take one part in so many: they can fill their volumes, which lie in memory."""

PRESSED, RELIEVED = 10.0, 1.0
"""Percent of the time: of pressure above the first, memory is reclaimed; below the second, it is given back."""

SLACK = 64 * MIB
"""What a guest keeps free when it is asked for the rest."""
WORTHWHILE = 16 * MIB
"""Less than that is not asked for."""


@dataclass(frozen=True, slots=True)
class HostMemory:
    """`total` and `available`: of the machine, or of the control group that machines run in, whichever is less.

    `pressure`: percent of the last ten seconds in which some program waited for memory (PSI, `some avg10`); 0.0 where
    the kernel does not tell.
    """

    total: int
    available: int
    pressure: float

    @property
    def kept(self) -> int:
        """What no start may take: the person's own programs run, too."""
        return min(max(self.total // KEPT_PART, KEPT_LEAST), KEPT_MOST)

    @property
    def for_disposables(self) -> int:
        return self.total // DISPOSABLES_PART


def need(memory: int, *, forked: bool) -> int:
    """What a start with so much memory takes soon: of a large domain, what it boots in and a part of the rest."""
    touched = min(memory, FORKED) if forked else min(memory, BOOTED) + max(0, memory - BOOTED) // 4
    return touched if forked else touched + AROUND


def is_pressed(host: HostMemory, *, before: bool) -> bool:
    """Whether to reclaim; `before`: whether it was so. Between the two bounds all stays as it is."""
    if host.pressure >= PRESSED or host.available < host.kept:
        return True
    return before and (host.pressure >= RELIEVED or host.available < 2 * host.kept)


def left_to(guest: GuestMemory) -> int | None:
    """What an idle guest is to make do with; None where that brings nothing.

    It follows from what the guest says itself, true or not: one that lies keeps more, or has too little, alone.
    """
    if guest.untrusted_available is None:
        return None
    spare = min(guest.untrusted_available, guest.actual) - SLACK
    return guest.actual - spare // MIB * MIB if spare >= WORTHWHILE else None


def offenders(taken: Mapping[DomainName, int], bound: int) -> list[DomainName]:
    """Which disposables have to go so that the others are within `bound`: the largest first."""
    total, found = sum(taken.values()), []
    for name in sorted(taken, key=lambda name: (-taken[name], name)):
        if total <= bound:
            break
        found.append(name)
        total -= taken[name]
    return found
