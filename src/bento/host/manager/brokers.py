"""The nursery and the brokers, as the manager sees them.

A broker reads a hostile domain's bytes, so it is treated as hostile itself:
its packets are decoded by `wire/control.py`, a packet that is none ends it,
and it may have only so many questions open. Which domain a question comes from
is known from the socket it came by.
"""

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace

from bento.host.manager.children import kill
from bento.host.manager.packets import Packets
from bento.host.model.domain import Domain
from bento.host.model.errors import Unavailable
from bento.wire.control import (
    FROM_BROKER,
    Asked,
    Begin,
    Blame,
    Connect,
    Deny,
    Ended,
    Ending,
    Open,
    OpenConsole,
    Over,
    PowerOff,
    Spawn,
    Spawned,
    Up,
    Withdrawn,
    decode_packet,
)
from bento.wire.errors import WireError
from bento.wire.layout import U32, Message
from bento.wire.rpc import MAX_CALLS, ExitCode

log = logging.getLogger(__name__)

NURSERY_SECONDS = 20.0
"""How long the nursery may take to fork, or to end. It does both in milliseconds; this is for a host that swaps."""

Question = Callable[[Asked], Awaitable[socket.socket | ExitCode]]
"""Decides what a guest asked: the leg to connect, or the code to refuse with."""

OnOver = Callable[[Blame, str], None]
"""Hears, once, that a call is over: who is to blame for how, and a sentence (empty after an exit code)."""

MAX_REPORTS = 1 << 13
"""Calls open at one broker whose end somebody waits for: more than it has slots and room for calls that wait."""


@dataclass(frozen=True, slots=True)
class End:
    """How a broker ended; `ending` None when it did not say (it was killed, or crashed)."""

    ending: Ending | None
    sentence: str


class Broker:
    """One domain's broker. `serve` runs it to its end; the other methods talk to it meanwhile."""

    def __init__(self, domain: Domain, pid: int, control: socket.socket) -> None:
        self.pid = pid
        self.up: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        """True once the agent has taken on its identity; False if the broker ended before."""
        self.lost = False
        """It did not take what it was sent: it is gone, whether or not that was noticed yet."""
        self._domain = domain
        self._packets = Packets(control)
        self._open_questions = 0
        self._deciding: dict[int, asyncio.Task[None]] = {}
        self._withdrawn: set[int] = set()
        self._last_token = 0
        self._reports: dict[int, OnOver] = {}

    @property
    def ready(self) -> bool:
        """It is up, as far as anybody knows."""
        return not self.lost and self.up.done() and self.up.result()

    async def begin(self, *, first: bool) -> None:
        """Have it greet the agent; `first`: no broker has done so in this machine.

        As all methods here, raises `OSError` when the broker is gone.
        """
        domain = self._domain
        await self._send(Begin(os.urandom(16), first, domain.name, domain.klass, os.urandom(32), time.time_ns()))

    async def open(self, request: Open, leg: socket.socket, over: OnOver | None = None) -> None:
        """Have the guest serve a call; `leg` is closed here, the broker has its own.

        Unless this raises, `over` is called once, when the call is over or the broker is. It must not raise.
        """
        with leg:
            if over is None:
                await self._send(request, leg)
                return
            if len(self._reports) >= MAX_REPORTS:
                raise Unavailable(f"'{self._domain.name}' has {MAX_REPORTS} calls that do not end")
            token = self._last_token = self._last_token % U32.limit + 1
            await self._send(replace(request, token=token), leg)
            # Not before: a broker that guesses a token cannot end a call that it has not been sent.
            self._reports[token] = over

    async def console(self, stream: socket.socket) -> None:
        with stream:
            await self._send(OpenConsole(), stream)

    async def power_off(self) -> None:
        await self._send(PowerOff())

    def close(self) -> None:
        """End it: a broker whose control socket closes is gone at once."""
        self._packets.close()
        if not self.up.done():
            self.up.set_result(False)

    async def _send(self, message: Message, *files: socket.socket) -> None:
        try:
            await self._packets.send(message, *files)
        except OSError:
            self.lost = True
            raise

    async def serve(self, answer: Question) -> End:
        """Answer its questions until it ends."""
        ended: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        answering: set[asyncio.Task[None]] = set()

        def hear(untrusted_packet: bytes) -> None:
            try:
                end = self._hear(untrusted_packet, answer, answering)
            except WireError as error:
                end = End(Ending.VIOLATION, f"its broker sent what is no message: {error}")
            if end and not ended.done():
                self._packets.close()
                ended.set_result(end)

        self._packets.listen(hear)
        try:
            return await ended
        finally:
            for task in answering:
                task.cancel()
            self.close()
            while self._reports:
                self._reports.popitem()[1](Blame.SERVER, "its broker is gone")

    def _hear(self, untrusted_packet: bytes, answer: Question, answering: set[asyncio.Task[None]]) -> End | None:
        """How it ended, if it has."""
        if not untrusted_packet:
            return End(None, "its broker is gone without a word")
        match decode_packet(FROM_BROKER, untrusted_packet):
            case Up() if not self.up.done():
                self.up.set_result(True)
            case Asked() as asked if self._open_questions < MAX_CALLS:
                self._open_questions += 1
                task = asyncio.create_task(self._answer(asked, answer))
                self._deciding[asked.token] = task
                answering.add(task)
                task.add_done_callback(answering.discard)
            case Withdrawn(token):
                if deciding := self._deciding.get(token):
                    self._withdrawn.add(token)
                    deciding.cancel()
            case Over(token, blame, sentence) if token in self._reports:
                self._reports.pop(token)(Blame(blame), sentence)
            case Ended() as ended:
                return End(Ending(ended.ending), ended.sentence)
            case other:
                return End(Ending.VIOLATION, f"its broker sent {type(other).__name__} when it may not")
        return None

    async def _answer(self, asked: Asked, answer: Question) -> None:
        try:
            answered = await answer(asked)
        except asyncio.CancelledError:
            if asked.token not in self._withdrawn:
                raise
            answered = ExitCode.FAULT  # to a guest that gave it up: only the broker hears that
        except Exception:
            log.exception("deciding on a call of %s failed", self._domain.name)
            answered = ExitCode.FAULT
        finally:
            # From here on it is answered to the end, whatever the guest does.
            self._deciding.pop(asked.token, None)
            self._withdrawn.discard(asked.token)
        try:
            if isinstance(answered, ExitCode):
                await self._send(Deny(asked.token, answered))
            else:
                with answered:
                    await self._send(Connect(asked.token), answered)
        except OSError:
            log.info("%s: its broker ended before call %d was answered", self._domain.name, asked.token)
        # From the answer on the broker may ask the next one. Not before: one that does not take its answers would have
        # us keep any number of them, each with an open file.
        self._open_questions -= 1


class Nursery:
    """The warm parent that brokers are forked from. Starts when first needed, and again when it died."""

    def __init__(self, argv: Callable[[int], list[str]]) -> None:
        """`argv` gives the command line for a nursery whose control socket is the given file number."""
        self._argv = argv
        self._packets: Packets | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    async def begin(self) -> None:
        """Start it ahead of its first need. A failure is for who needs it to tell."""
        async with self._turn:
            if not self._packets:
                with contextlib.suppress(Unavailable):
                    await self._start()

    async def spawn(self, domain: Domain, channel: socket.socket, console: socket.socket, journal: int) -> Broker:
        """A broker for `domain`; takes the two sockets over, and the open file that its console goes to.

        Raises `Unavailable`.
        """
        with ExitStack() as mine:
            mine.enter_context(channel)
            mine.enter_context(console)
            mine.callback(os.close, journal)
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            mine.enter_context(theirs)
            try:
                async with self._turn:
                    pid = await self._fork(Spawn(domain.name), theirs, channel, console, journal)
            except BaseException:
                ours.close()
                raise
            return Broker(domain, pid, ours)

    async def close(self) -> None:
        await self._end()

    async def _fork(self, spawn: Spawn, *files: socket.socket | int) -> int:
        for _ in range(2):  # a nursery that was killed meanwhile is started once more
            packets = self._packets or await self._start()
            try:
                async with asyncio.timeout(NURSERY_SECONDS):
                    await packets.send(spawn, *files)
                    match decode_packet(FROM_BROKER, await packets.receive()):
                        case Spawned(pid):
                            return pid
                        case other:
                            log.error("the nursery answered %s", type(other).__name__)
            except (OSError, WireError) as error:  # TimeoutError is an OSError
                log.warning("the nursery does not answer (%r) and is started anew", error)
            await self._end()
        raise Unavailable("the broker nursery does not start; see the manager's log")

    async def _start(self) -> Packets:
        with ExitStack() as undo:
            try:
                ours, theirs = map(undo.enter_context, socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
                argv = self._argv(theirs.fileno())
                self._process = await asyncio.create_subprocess_exec(
                    *argv, pass_fds=(theirs.fileno(),), stdin=asyncio.subprocess.DEVNULL, start_new_session=True
                )
            except OSError as error:
                raise Unavailable(f"the broker nursery does not start ({error}); run 'bento doctor'") from error
            undo.pop_all()
            theirs.close()
        self._packets = Packets(ours)
        return self._packets

    async def _end(self) -> None:
        """It goes when its socket does; one that hangs is killed, and its brokers with it."""
        if self._packets:
            self._packets.close()
            self._packets = None
        if self._process:
            process, self._process = self._process, None
            try:
                async with asyncio.timeout(NURSERY_SECONDS):
                    await process.wait()
            except TimeoutError:
                kill(process)
                await process.wait()
