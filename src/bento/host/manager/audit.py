"""The audit log: a line for each decision about a call, written before the call proceeds. No line, no call.

One chain of lines for each source of calls (`chains.py`), with all disposables of one base counting as one source, and
one bound on them together: when it is reached, the longest chain loses its oldest lines. So whoever floods the log
pushes out lines of its own as long as anybody else has fewer. Refused calls cost a guest nothing, so only so many of
one source a minute have a line each, and the others are counted in one. Calls that proceed always have their own.

What holds when: once `record` returns, the line survives the end of this process, however it ends; a power cut may take
lines of the last `SYNC_SECONDS` and what the disk needs then. Waiting for the disk before each call would cost every
call more than all the rest of it.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bento.host.disk.durable import sync
from bento.host.manager.chains import Chain, Snapshot
from bento.host.manager.events import Events
from bento.host.model.audit import Counted, Decided, Entry, Verdict, argument_digest, plain
from bento.host.model.errors import Unavailable
from bento.host.policy.decide import Call
from bento.wire.errors import WireError
from bento.wire.names import DomainName, TargetName

log = logging.getLogger(__name__)

TOTAL = 64 << 20
"""Bytes of all chains together, after which lines fall off. Each chain keeps at least a file of `chains.SEGMENT`."""

REFUSALS = 60
"""Lines about calls that came to nothing, for one source in a minute."""

SECOND = 1_000_000
MINUTE = 60 * SECOND

SYNC_SECONDS = 0.5
"""How long lines may gather before they are put on disk together."""

FAILED = (
    "the audit log cannot be written ({why}), so no call is made; free space on that disk or mend it, then try again"
)
LOST = (
    "the disk did not take what the audit log had given it ({why}), so no call is made any more; mend the disk, then"
    " run 'bento manager stop' and 'bento audit verify'"
)


@dataclass(slots=True)
class _Minute:
    """What one source was refused since `began`: so many `lines` stand in one chain, and `more` are to be counted."""

    began: int
    lines: int = 0
    more: int = 0


class Audit:
    def __init__(
        self,
        directory: Path,
        events: Events,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
        total: int = TOTAL,
    ) -> None:
        """`clock`: microseconds since 1970. A chain that cannot be opened now is tried again when it is needed."""
        self._directory = directory
        self._events = events
        self._clock = clock
        self._total = total
        self._chains: dict[TargetName, Chain] = {}
        self._minutes: dict[tuple[TargetName, DomainName], _Minute] = {}
        """By chain, too: a call that its server spoils stands in that one's, and costs its caller no line."""
        self._failing = False
        """The person was told, and nothing could be written since."""
        self._lost = ""
        self._news = asyncio.Event()
        try:
            directory.mkdir(parents=True, mode=0o700, exist_ok=True)
            for lane in _lanes(directory):
                self._chain(lane, clock())
        except OSError as error:
            self._fail(error)

    def record(
        self,
        lane: TargetName,
        call: Call,
        verdict: Verdict,
        *,
        chosen: TargetName | None = None,
        rule: str = "",
        policy: str = "",
        grant: str = "",
        reason: str = "",
    ) -> None:
        """Write into the chain `lane` what was decided about a call, which may not proceed if this is `Unavailable`."""
        now = self._clock()
        if not verdict.proceeds and self._only_counted(lane, call.source, now):
            return
        self._write(
            lane,
            Decided(
                now,
                call.source,
                call.service,
                argument_digest(call.argument),
                call.target,
                chosen or TargetName(""),
                verdict,
                plain(rule),
                policy,
                plain(grant),
                plain(reason),
            ),
        )

    @contextmanager
    def read(self) -> Iterator[dict[TargetName, Snapshot]]:
        """The chains as they are now, to be read inside of this block, in whatever thread."""
        with ExitStack() as opened:
            yield {lane: opened.enter_context(chain.read()) for lane, chain in sorted(self._chains.items())}

    # ---- keeping ---------------------------------------------------------------------------------

    async def keep(self) -> None:
        """Put on disk what was written, count what is counted, and keep the bound, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience()):
                    await self._news.wait()
            await asyncio.sleep(SYNC_SECONDS)
            await self.settle()

    async def settle(self) -> None:
        """One round of it."""
        self._news.clear()
        now = self._clock()
        for one, minute in tuple(self._minutes.items()):
            if now - minute.began >= MINUTE:
                self._end_minute(*one, now)
        await self._sync()
        while sum(chain.size for chain in self._chains.values()) > self._total:
            largest = max(self._chains.values(), key=lambda chain: chain.size)
            try:
                oldest = largest.fall_off(now)
                if oldest is None:
                    break
                await self._sync()  # first it is said, then done
                oldest.unlink()
            except OSError as error:
                self._fail(error)
                break

    async def close(self) -> None:
        now = self._clock()
        for one in tuple(self._minutes):
            self._end_minute(*one, now)
        await self._sync()
        for chain in self._chains.values():
            chain.close()

    def _patience(self) -> float | None:
        """Seconds until a minute is over that counted something."""
        ends = [minute.began + MINUTE for minute in self._minutes.values() if minute.more]
        return max(0, min(ends) - self._clock()) / SECOND if ends else None

    async def _sync(self) -> None:
        paths: set[Path] = set()
        for chain in self._chains.values():
            paths |= chain.unsynced
            chain.unsynced.clear()
        try:
            await asyncio.to_thread(_sync_all, paths)
        except OSError as error:
            # The kernel tells this once and may have thrown away what it could not write: no second try would know.
            self._lost = LOST.format(why=_why(error))
            self._tell(self._lost)

    # ---- writing ---------------------------------------------------------------------------------

    def _write(self, lane: TargetName, entry: Entry) -> None:
        if self._lost:
            raise Unavailable(self._lost)
        try:
            self._chain(lane, entry.time).append(entry)
        except OSError as error:
            raise Unavailable(self._fail(error)) from error
        self._failing = False
        self._news.set()

    def _chain(self, lane: TargetName, now: int) -> Chain:
        if lane not in self._chains:
            self._chains[lane] = Chain(self._directory / lane, now)
            self._news.set()
        return self._chains[lane]

    def _fail(self, error: OSError) -> str:
        sentence = FAILED.format(why=_why(error))
        if not self._failing:
            self._failing = True
            self._tell(sentence)
        return sentence

    def _tell(self, sentence: str) -> None:
        log.error("%s", sentence)
        self._events.tell("", "audit-failed", reason=sentence)

    # ---- counting --------------------------------------------------------------------------------

    def _only_counted(self, lane: TargetName, source: DomainName, now: int) -> bool:
        minute = self._minutes.get((lane, source))
        if minute and now - minute.began >= MINUTE:
            self._end_minute(lane, source, now)
            minute = None
        if minute is None:
            minute = self._minutes[lane, source] = _Minute(now)
        if minute.lines < REFUSALS:
            minute.lines += 1
            return False
        if not minute.more:
            self._news.set()
        minute.more += 1
        return True

    def _end_minute(self, lane: TargetName, source: DomainName, now: int) -> None:
        minute = self._minutes.pop((lane, source))
        if minute.more:
            with suppress(Unavailable):  # told already; nobody waits for this line
                self._write(lane, Counted(now, source, minute.began, minute.more))


def _lanes(directory: Path) -> list[TargetName]:
    found = []
    for path in directory.iterdir():
        with suppress(WireError):  # nothing of ours
            if path.is_dir():
                found.append(TargetName.parse(path.name))
    return found


def _sync_all(paths: set[Path]) -> None:
    for path in paths:
        sync(path)


def _why(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror or "it failed"
