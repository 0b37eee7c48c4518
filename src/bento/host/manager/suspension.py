"""Suspending and resuming: in which order, so that a manager killed anywhere leaves a domain once, and whole.

A domain is its machine until the store says `SUSPENDED`, and what was saved from then on; it is its machine again when
the store says `RESUMING`, and that comes before the first instruction of the guest: what was saved is gone on from
once, or a guest's random numbers would come again and its disks would be another's. The store's word is the only one.
"""

import asyncio
import contextlib
import logging
import shutil
from dataclasses import replace

from bento.host.manager.brokers import End
from bento.host.manager.channels import Channels
from bento.host.manager.events import Events
from bento.host.manager.inventory import Inventory
from bento.host.manager.live import Live
from bento.host.manager.passage import Progress
from bento.host.manager.places import Places
from bento.host.manager.saved import Saved
from bento.host.model.domain import Step
from bento.host.model.errors import BentoError, Unavailable
from bento.host.model.inventory import DomainRecord, Phase, Run
from bento.host.model.machine import MachineSpec
from bento.host.ports.hypervisor import Machine
from bento.wire.names import DomainName

log = logging.getLogger(__name__)


class Suspension:
    def __init__(self, inventory: Inventory, places: Places, channels: Channels, saved: Saved, events: Events) -> None:
        self._inventory = inventory
        self._places = places
        self._channels = channels
        self._saved = saved
        self._events = events

    def note(self, spec: MachineSpec) -> None:
        """Of a machine that is about to start: what it is, in case it is suspended."""
        self._saved.note(spec)

    async def suspend(self, live: Live, progress: Progress) -> None:
        """Write all that a running domain is, and end its machine. Where that fails it runs on, and this raises.

        Its calls are held while it is written, and end with its machine.
        """
        assert live.machine
        name, record = live.name, self._inventory.get(live.name)
        run = _run(record)
        try:
            async with live.turn:
                self._inventory.change(name, run=replace(run, phase=Phase.SUSPENDING))
                await self._saved.save(record, live.machine, progress)
                self._inventory.change(name, run=replace(run, phase=Phase.SUSPENDED))
        except (BentoError, OSError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            self.discard(record)
            if await live.is_gone():
                raise Unavailable(f"'{name}' ended while it was suspended: {reason}") from error
            await self._run_on(live, run)
            self._events.tell(name, "domain-suspend-failed", reason=reason)
            raise Unavailable(f"'{name}' runs on, it could not be suspended: {reason}") from error
        live.saved = True
        await live.machine.kill()

    async def restore(self, live: Live, progress: Progress) -> None:
        """Give a suspended domain its machine again, which is still stopped. Where this raises it stays suspended."""
        record = self._inventory.get(live.name)
        machine: Machine | None = None
        try:
            machine = await self._saved.restore(record, progress)
            if live.unwanted.is_set():
                raise Unavailable(f"'{live.name}' was killed while it was resumed")
            self._inventory.change(live.name, run=replace(_run(record), phase=Phase.RESUMING))
        except BaseException as error:
            if machine:
                await machine.kill()
            shutil.rmtree(self._places.machine(live.uuid), ignore_errors=True)
            if isinstance(error, OSError):
                raise Unavailable(f"'{live.name}' cannot go on: {error.filename}: {error.strerror}") from error
            raise
        live.machine = machine

    async def go_on(self, live: Live) -> tuple[asyncio.Task[End] | None, BentoError | None]:
        """Let its guest go on, and forget what was saved: its broker's life, and why its agent has not answered."""
        assert live.machine
        serving: asyncio.Task[End] | None = None
        failure: BentoError | None = None
        try:
            await live.machine.resume()
            serving = await self._channels.attach(live)
            await self._channels.answered(live, serving)
        except (BentoError, OSError) as error:
            failure = Unavailable(f"'{live.name}' goes on, but {error}")
        if live.unwanted.is_set():
            await live.machine.kill()
        record = self._inventory.get(live.name)
        self.discard(record)
        with contextlib.suppress(BentoError):  # a full disk: the next manager finds it resuming, and knows what to do
            self._inventory.change(live.name, run=replace(_run(record), phase=Phase.RUNNING))
        return serving, failure

    def is_whole(self, record: DomainRecord) -> bool:
        """Whether there is what a suspended domain could go on from."""
        return self._saved.is_there(record.domain.uuid)

    async def recover(self, record: DomainRecord, machine: Machine) -> DomainRecord:
        """A manager died while this domain was on its way to rest or back, and its machine is still the domain."""
        log.info("%s was %s, and runs", record.name, _run(record).phase)
        try:
            await machine.resume()
        except BentoError as error:  # it ends just now, or hangs
            log.warning("%s does not go on: %s", record.name, error)
        self.discard(record)
        return self._inventory.change(record.name, run=replace(_run(record), phase=Phase.RUNNING))

    def discard(self, record: DomainRecord) -> None:
        """Nobody goes on from what was saved."""
        try:
            self._saved.discard(record.domain.uuid)
        except OSError as error:
            log.error("what was saved of %s cannot be removed: %s", record.name, error)

    async def _run_on(self, live: Live, run: Run) -> None:
        assert live.machine
        with contextlib.suppress(BentoError):  # the state cannot be written: the next manager has it run on, too
            self._inventory.change(live.name, run=run)
        live.move(Step.READY)
        try:
            await live.machine.resume()
        except BentoError as error:
            log.error("%s was stopped to be suspended, and does not go on: %s", live.name, error)
            live.move(Step.PAUSE)


def _run(record: DomainRecord) -> Run:
    assert record.run, f"{record.name} runs, or is suspended"
    return record.run


def is_suspended(record: DomainRecord) -> bool:
    return record.run is not None and record.run.phase is Phase.SUSPENDED


def how_it_goes_on(name: DomainName) -> str:
    return f"'bento resume {name}' lets it go on, 'bento kill {name}' throws its saved state away"
