"""How fast this host's time stamp counter runs, measured: an emulated machine shows its guest the host's own counter.

Linux tells nobody without privilege (the "cpu MHz" of /proc/cpuinfo is another clock), so the counter is read twice by
four machine instructions and compared with the system's clock. A guest that is told wrong has a clock that runs wrong.
"""

import asyncio
import ctypes
import mmap
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass

READ_COUNTER = bytes.fromhex("0f3148c1e2204809d0c3")
"""rdtsc; shl rdx, 32; or rax, rdx; ret"""

SPAN_NS = 50_000_000
"""Time between the two readings. A reading is sure to about a microsecond, so the result to 1 in 50,000."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The counter's value at a moment (nanoseconds), and how long (nanoseconds) the moment was."""

    counter: int
    moment: int
    width: int


class TscMeter:
    """Begins to measure when it is made, so that whoever asks a little later doesn't wait."""

    def __init__(self) -> None:
        self._counter = _counter()
        self._first = self._counter and _read(self._counter)

    async def khz(self) -> int | None:
        """Kilohertz; None where there is no such counter or it may not be read."""
        if not (self._counter and self._first):
            return None
        if (rest := self._first.moment + SPAN_NS - time.monotonic_ns()) > 0:
            await asyncio.sleep(rest / 1e9)
        return frequency_khz(self._first, _read(self._counter))


def frequency_khz(first: Reading, second: Reading) -> int:
    return round((second.counter - first.counter) * 1_000_000 / (second.moment - first.moment))


def _read(counter: Callable[[], int]) -> Reading:
    """The sharpest of a few readings: now and then another program runs between two of these lines."""
    readings = []
    for _ in range(5):
        before = time.monotonic_ns()
        value = counter()
        after = time.monotonic_ns()
        readings.append(Reading(value, (before + after) // 2, after - before))
    return min(readings, key=lambda reading: reading.width)


def _counter() -> Callable[[], int] | None:
    if platform.machine() != "x86_64":
        return None
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError:  # a hardened service may have no executable memory; the guest then measures by itself
        return None
    page.write(READ_COUNTER)
    function = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(ctypes.c_char.from_buffer(page)))

    def read() -> int:
        assert page  # the code lives as long as whoever may call it
        return int(function())

    return read
