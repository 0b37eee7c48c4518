"""The channel to each domain that is not halted: a broker attached, replaced when it dies, waited for meanwhile.

A machine may lose any number of brokers, for any reason but one: a guest that
broke the protocol is cut off until its next start. That a machine is there, and
when it is gone, is the lifecycle's business.
"""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Set
from functools import partial
from typing import Any

from bento.host.manager.brokers import Broker, End, Nursery
from bento.host.manager.events import Events
from bento.host.manager.inventory import Inventory
from bento.host.manager.journals import Journals
from bento.host.manager.live import Live
from bento.host.manager.properties import number
from bento.host.model.domain import PowerState
from bento.host.model.errors import BentoError, Silent, Unavailable
from bento.wire.control import Asked, Ending
from bento.wire.names import DomainName
from bento.wire.rpc import ExitCode

log = logging.getLogger(__name__)

MAX_OUT_OF_STEP = 8
"""Times that a guest's agent may be greeted anew in one run; a guest could ask for it for ever."""

LINGER_SECONDS = 4.0
"""How long a dead machine's broker may take to pass on what its guest said last; it limits itself to less."""

SOUND_SECONDS = 10.0
"""A broker that lived so long was sound: its successor starts at once, while others are kept waiting a little."""

Answer = Callable[[DomainName, Asked], Awaitable[socket.socket | ExitCode]]
"""Decides what a domain's program asked for: see `calls.py`."""


class Channels:
    def __init__(
        self, inventory: Inventory, journals: Journals, nursery: Nursery, events: Events, answer: Answer
    ) -> None:
        self._inventory = inventory
        self._journals = journals
        self._nursery = nursery
        self._events = events
        self._answer = answer
        self._lingering: set[asyncio.Task[None]] = set()

    async def attach(self, live: Live, *, first: bool = False) -> asyncio.Task[End]:
        """A broker for a machine that runs, greeting its agent; the task is its life. `first`: it had none before."""
        assert live.machine
        channel = await live.machine.connect_channel()
        try:
            console = await live.machine.connect_console()
        except BaseException:
            channel.close()
            raise
        domain = self._inventory.get(live.name).domain
        try:
            journal = self._journals.open(domain)
        except BaseException:
            channel.close()
            console.close()
            raise
        broker = await self._nursery.spawn(domain, channel, console, journal)
        serving = asyncio.create_task(broker.serve(partial(self._answer, live.name)))
        try:
            await broker.begin(first=first)
        except BaseException as error:
            serving.cancel()
            if isinstance(error, OSError):
                raise Unavailable(f"the broker of '{live.name}' ended at once; see the manager's log") from error
            raise
        live.broker = broker
        live.tell()
        return serving

    async def answered(self, live: Live, serving: asyncio.Task[End]) -> None:
        """Wait for the agent's first answer; raises what makes it vain: a kill, the machine gone, the broker ended,
        the deadline (`Silent`).
        """
        assert live.machine
        assert live.broker
        name, seconds = live.name, number(self._inventory.get(live.name), "qrexec_timeout")
        gone = asyncio.create_task(live.machine.wait())
        unwanted = asyncio.create_task(live.unwanted.wait())
        try:
            awaited: set[asyncio.Future[Any]] = {live.broker.up, serving, gone, unwanted}
            await asyncio.wait(awaited, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            unwanted.cancel()
        see = f"see 'bento logs {name}'"
        if live.unwanted.is_set():
            raise Unavailable(f"'{name}' was killed while it started")
        # A machine that ends closes its channel a moment before.
        if gone.done() or (serving.done() and await live.is_gone()):
            raise Silent(f"the machine of '{name}' ended while it started; {see}")
        if serving.done():
            sentence = serving.result().sentence
            raise Unavailable(f"the agent in '{name}' was disconnected while it started ({sentence}); {see}")
        if not live.broker.up.done():
            raise Silent(f"'{name}' did not answer within {seconds} s; {see}")

    async def hold_up(self, live: Live, serving: asyncio.Task[End] | None, gone: asyncio.Task[None]) -> None:
        """Replace its broker (`serving`, or None) whenever that ends, until the machine is `gone`."""
        out_of_step, pause, since = 0, 0.0, time.monotonic()
        try:
            while not gone.done():
                if serving is None and not live.cut_off:
                    await asyncio.wait({gone}, timeout=pause)
                    pause = min(2.0, pause * 2 + 0.05)
                    serving = await self._attach_again(live) if not gone.done() else None
                    since = time.monotonic()
                    continue
                if serving and await self._is_deaf(live, serving, gone):
                    log.warning("%s: its agent does not answer and is greeted again", live.name)
                    serving, live.broker = None, None
                    live.tell()
                    continue
                await asyncio.wait({gone, serving} if serving else {gone}, return_when=asyncio.FIRST_COMPLETED)
                if serving and serving.done() and not gone.done():
                    end, serving, live.broker = serving.result(), None, None
                    out_of_step += end.ending is Ending.OUT_OF_STEP
                    pause = 0.0 if time.monotonic() - since > SOUND_SECONDS else pause
                    self._note_end(live, end, out_of_step)
                    live.tell()
        finally:
            if serving and gone.done():
                task = asyncio.create_task(_linger(serving))
                self._lingering.add(task)
                task.add_done_callback(self._lingering.discard)
            elif serving:
                serving.cancel()

    async def _is_deaf(self, live: Live, serving: asyncio.Task[End], gone: asyncio.Task[None]) -> bool:
        """Wait for the agent's answer; True, and the broker ended, if there is none: it died with the greeting read.

        An agent whose machine is paused has all the time it wants.
        """
        assert live.broker
        while not (live.broker.up.done() or serving.done() or gone.done()):
            seconds = number(self._inventory.get(live.name), "qrexec_timeout")
            awaited: set[asyncio.Future[Any]] = {live.broker.up, serving, gone}
            done, _ = await asyncio.wait(awaited, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if not done and live.state is not PowerState.PAUSED:
                serving.cancel()
                await asyncio.wait({serving})
                return True
        return False

    async def _attach_again(self, live: Live) -> asyncio.Task[End] | None:
        try:
            return await self.attach(live)
        except (BentoError, OSError) as error:
            log.info("%s: no broker yet: %s", live.name, error)
            return None

    def _note_end(self, live: Live, end: End, out_of_step: int) -> None:
        if end.ending is Ending.VIOLATION or out_of_step > MAX_OUT_OF_STEP:
            live.cut_off = f"{end.sentence}; 'bento kill {live.name}' and start it again"
            log.error("%s is cut off: %s", live.name, end.sentence)
            self._events.tell(live.name, "domain-cut-off", reason=end.sentence)
        else:
            # A machine that ends closes its channel first, and nobody needs to worry.
            level = logging.INFO if end.ending is Ending.CLOSED else logging.WARNING
            log.log(level, "%s: its broker ended (%s) and is replaced", live.name, end.sentence)

    async def next_broker(self, live: Live, states: Set[PowerState], after: Broker | None = None) -> Broker | None:
        """The broker that it has or gets, another than `after`; None when it is in none of `states`, or cut off."""
        while live.state in states and not live.cut_off:
            if live.broker and live.broker is not after and not live.broker.lost:
                return live.broker
            await live.change()
        return None

    async def power_off(self, live: Live) -> None:
        """Have the guest power off; returns when its machine is gone. A broker that dies may have told it nothing."""
        told: Broker | None = None
        while not live.gone.is_set():
            broker = live.broker
            if broker and broker is not told and not broker.lost and await asyncio.shield(broker.up):
                told = broker
                with contextlib.suppress(OSError):
                    await broker.power_off()
            elif live.broker is broker:
                await live.change()


async def _linger(serving: asyncio.Task[End]) -> None:
    """Callers of a machine that is gone may still be taking what it said last."""
    await asyncio.wait({serving}, timeout=LINGER_SECONDS)
    serving.cancel()
