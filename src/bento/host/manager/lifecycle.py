"""Start, shutdown, kill, pause: what a domain's power goes through.

`start` is a list of steps on one `AsyncExitStack`; each registers its undo
beside its do, so a start that fails anywhere leaves nothing. A started domain
has one keeper task, which holds its broker up and buries it when its machine is
gone, whoever ended it. What is legal when stands in `model.domain.TRANSITIONS`.
"""

import asyncio
import logging
import shutil
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from bento.host.manager.brokers import Broker, End, Nursery
from bento.host.manager.events import Events
from bento.host.manager.inventory import Inventory
from bento.host.manager.places import Places
from bento.host.manager.properties import number
from bento.host.manager.templates import Templates
from bento.host.model.domain import ADMIN, TRANSITIONS, DomainClass, PowerState, Step
from bento.host.model.errors import BentoError, Conflict, Refused, Unavailable
from bento.host.model.inventory import DomainRecord, Phase, Run, TemplateVersion
from bento.host.model.machine import Disk, MachineSpec, MachineState
from bento.host.ports.hypervisor import Hypervisor, Machine
from bento.host.ports.storage import Storage
from bento.host.ports.templates import ROOT_KEPT
from bento.wire.control import Asked, Ending
from bento.wire.names import DomainName
from bento.wire.rpc import ExitCode

log = logging.getLogger(__name__)

MIB = 1 << 20
PRIVATE_SIZE = 2 << 30
VOLATILE_SIZE = 10 << 30
"""Sizes of new volumes, in bytes (the field's defaults). They are sparse: a blank volume takes no disk."""

MAX_OUT_OF_STEP = 8
"""Times that a guest's agent may be greeted anew in one run; a guest could ask for it for ever."""

Answer = Callable[[DomainName, Asked], Awaitable[socket.socket | ExitCode]]
"""Decides what a domain's program asked for: see `calls.py`."""


@dataclass(slots=True)
class Live:
    """What there is of a domain while it is not halted."""

    record: DomainRecord
    state: PowerState = PowerState.HALTED
    machine: Machine | None = None
    broker: Broker | None = None
    cut_off: str = ""  # why its broker was not replaced
    starting: asyncio.Task[None] | None = None
    packed: bool = False  # a TemplateVM's root lies packed on its next-root volume
    halted: asyncio.Event = field(default_factory=asyncio.Event)


class Lifecycle:
    """Every domain's power. All methods run in the manager's one thread."""

    def __init__(
        self,
        *,
        inventory: Inventory,
        places: Places,
        hypervisor: Hypervisor,
        storage: Storage,
        nursery: Nursery,
        templates: Templates,
        events: Events,
        answer: Answer,
    ) -> None:
        self._inventory = inventory
        self._places = places
        self._hypervisor = hypervisor
        self._storage = storage
        self._nursery = nursery
        self._templates = templates
        self._events = events
        self._answer = answer
        self._live: dict[DomainName, Live] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # What others may know.

    def state(self, name: DomainName) -> PowerState:
        if name == ADMIN:
            return PowerState.RUNNING
        live = self._live.get(name)
        return live.state if live else PowerState.HALTED

    def machine(self, name: DomainName) -> Machine | None:
        live = self._live.get(name)
        return live.machine if live else None

    async def broker(self, name: DomainName) -> Broker:
        """The broker of a running domain, once its agent has answered."""
        live = self._require(name, PowerState.RUNNING)
        if live.broker is None:
            why = live.cut_off or "it is being replaced; try again"
            raise Conflict(f"the channel to '{name}' is closed: {why}", actual="closed", required="Running")
        try:
            async with asyncio.timeout(number(live.record, "qrexec_timeout")):
                await asyncio.shield(live.broker.up)
        except (TimeoutError, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and not live.broker.up.cancelled():
                raise
            raise Unavailable(f"the agent in '{name}' does not answer; see 'bento logs {name}'") from None
        return live.broker

    # What can be asked for.

    async def start(self, name: DomainName) -> None:
        """Start a halted domain; returns when its agent has answered."""
        record = self._inventory.get(name)
        if name == ADMIN:
            raise Refused(f"'{ADMIN}' is this machine itself; it runs as long as you do")
        if (state := self.state(name)) is not PowerState.HALTED:
            raise Conflict(f"'{name}' is not halted, it is {state.lower()}", actual=state, required=PowerState.HALTED)
        live = Live(record)
        self._live[name] = live
        self._move(live, Step.LAUNCH)
        live.starting = self._spawn(self._start(live))
        await self._started(live)

    async def ensure_running(self, name: DomainName) -> None:
        """Start it, or wait for the start or stop that is under way and then see."""
        live = self._live.get(name)
        if live and live.starting and not live.starting.done():
            await self._started(live)
        elif live and live.state is PowerState.TRANSIENT:
            await live.halted.wait()
            await self.ensure_running(name)
        elif self.state(name) is PowerState.HALTED:
            await self.start(name)
        else:
            self._require(name, PowerState.RUNNING)

    async def shutdown(self, name: DomainName, *, wait: bool) -> None:
        """Ask a domain to end. With `wait` returns when it is halted, and raises when that takes too long."""
        live = self._require(name, PowerState.RUNNING)
        broker = await self.broker(name)
        self._move(live, Step.STOP)
        ending = self._spawn(self._shut_down(live, broker))
        if wait:
            await asyncio.shield(ending)

    async def kill(self, name: DomainName) -> None:
        """End a domain now, whatever it does; returns when it is halted."""
        live = self._live.get(name)
        if live is None:
            raise Conflict(f"'{name}' does not run", actual=PowerState.HALTED, required=PowerState.RUNNING)
        if live.starting and not live.starting.done():
            live.starting.cancel()
        elif live.machine:
            await live.machine.kill()
        await live.halted.wait()

    async def pause(self, name: DomainName) -> None:
        live = self._require(name, PowerState.RUNNING)
        assert live.machine
        await live.machine.pause()
        self._move(live, Step.PAUSE)
        self._events.tell(name, "domain-paused")

    async def unpause(self, name: DomainName) -> None:
        live = self._require(name, PowerState.PAUSED)
        assert live.machine
        await live.machine.resume()
        self._move(live, Step.UNPAUSE)
        self._events.tell(name, "domain-unpaused")

    async def console(self, name: DomainName, stream: socket.socket) -> None:
        """Join `stream` (taken over) to the domain's serial console. Works as soon as there is a broker."""
        live = self._live.get(name)
        if live is None or live.broker is None:
            stream.close()
            raise Conflict(f"'{name}' has no console now; 'bento start {name}'", actual="Halted", required="Running")
        await live.broker.console(stream)

    async def adopt(self, record: DomainRecord, machine: Machine) -> None:
        """Go on with a machine that an earlier manager started."""
        paused = await machine.state() is MachineState.PAUSED
        live = Live(record, PowerState.PAUSED if paused else PowerState.RUNNING, machine)
        self._live[record.name] = live
        self._spawn(self._keep(live, None))

    async def close(self) -> None:
        """Let go of everything; machines run on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # How a domain starts.

    async def _start(self, live: Live) -> None:
        began = time.monotonic()
        name, uuid = live.record.name, live.record.domain.uuid
        self._events.tell(name, "domain-pre-start")
        try:
            async with AsyncExitStack() as undo:
                undo.callback(self._forget, live)

                version = self._templates.version_for(live.record)
                run = Run(Phase.STARTING, version.number, time.time())
                live.record = self._inventory.change(name, run=run)
                undo.callback(self._inventory.change, name, run=None)

                run_dir = self._places.machine(uuid)
                undo.callback(shutil.rmtree, run_dir, ignore_errors=True)
                run_dir.mkdir(parents=True, mode=0o700, exist_ok=True)

                undo.push_async_callback(self._storage.remove, self._places.volatile(uuid))
                undo.push_async_callback(self._storage.remove, self._places.next_root(uuid))
                disks = await self._disks(live.record, version)

                # Whatever machine of this domain is left from a crash was reaped at recovery.
                live.machine = await self._hypervisor.launch(self._spec(live.record, version, disks))
                undo.push_async_callback(live.machine.kill)

                serving = await self._attach(live)
                undo.callback(serving.cancel)
                await self._agent_answers(live, serving)

                run = replace(run, phase=Phase.RUNNING, start_seconds=time.monotonic() - began)
                live.record = self._inventory.change(name, run=run)
                undo.pop_all()
        except BaseException as error:
            log.warning("start of %s failed: %s", name, error)
            self._events.tell(name, "domain-start-failed", reason=str(error))
            raise
        self._move(live, Step.READY)
        self._spawn(self._keep(live, serving))
        log.info("%s started in %.2f s", name, run.start_seconds)
        self._events.tell(name, "domain-start")

    async def _started(self, live: Live) -> None:
        assert live.starting
        try:
            await asyncio.shield(live.starting)
        except asyncio.CancelledError:
            if not live.starting.cancelled():
                raise
            raise Unavailable(f"'{live.record.name}' was killed while it started") from None

    async def _disks(self, record: DomainRecord, version: TemplateVersion) -> tuple[Disk, ...]:
        """The machine's disks in order (vda ...), made where they are missing."""
        places, uuid, image = self._places, record.domain.uuid, self._templates.directory(version)
        await self._ensure_volume(places.private(uuid), PRIVATE_SIZE)
        if _keeps_root(record):
            changes = places.delta(uuid, version.number)
            await self._ensure_volume(changes, VOLATILE_SIZE)
        else:
            changes = places.volatile(uuid)
            await self._storage.remove(changes)
            await self._storage.create(changes, VOLATILE_SIZE)
        disks: tuple[Disk, ...] = (
            Disk(image / "root.erofs", read_only=True),
            Disk(places.private(uuid), read_only=False),
            Disk(changes, read_only=False),
            Disk(image / "modules.erofs", read_only=True),
        )
        if record.domain.klass is DomainClass.TEMPLATE:
            await self._storage.remove(places.next_root(uuid))
            await self._storage.create(places.next_root(uuid), VOLATILE_SIZE)
            disks += (Disk(places.next_root(uuid), read_only=False),)
        return disks

    async def _ensure_volume(self, path: Path, size: int) -> None:
        if not path.exists():
            await self._storage.create(path, size)

    def _spec(self, record: DomainRecord, version: TemplateVersion, disks: tuple[Disk, ...]) -> MachineSpec:
        image = self._templates.directory(version)
        return MachineSpec(
            uuid=record.domain.uuid,
            name=record.name,
            run_dir=self._places.machine(record.domain.uuid),
            slot=record.slot,
            memory_bytes=number(record, "memory") * MIB,
            vcpus=number(record, "vcpus"),
            kernel=image / "kernel",
            initrd=image / "initrd",
            cmdline=self._templates.cmdline(version) + (f" {ROOT_KEPT}" if _keeps_root(record) else ""),
            disks=disks,
        )

    async def _attach(self, live: Live) -> asyncio.Task[End]:
        """A broker for a machine that runs, greeting its agent; the task is its life."""
        assert live.machine
        name = live.record.name
        channel = await live.machine.connect_channel()
        try:
            console = await live.machine.connect_console()
        except BaseException:
            channel.close()
            raise
        log_file = self._places.console_log(live.record.domain.uuid)
        live.broker = await self._nursery.spawn(live.record.domain, channel, console, log_file)
        serving = asyncio.create_task(live.broker.serve(partial(self._answer, name)))
        await live.broker.begin()
        return serving

    async def _agent_answers(self, live: Live, serving: asyncio.Task[End]) -> None:
        """Wait for it; or for what makes it vain: the machine gone, the broker ended, the deadline."""
        assert live.machine
        assert live.broker
        name, seconds = live.record.name, number(live.record, "qrexec_timeout")
        gone = asyncio.create_task(live.machine.wait())
        try:
            awaited: set[asyncio.Future[Any]] = {live.broker.up, serving, gone}
            done, _ = await asyncio.wait(awaited, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if gone in done:
                raise Unavailable(f"the machine of '{name}' ended while it started; see 'bento logs {name}'")
            if serving in done:
                raise Unavailable(f"the agent in '{name}' was disconnected: {serving.result().sentence}")
            if not done:
                raise Unavailable(f"'{name}' did not answer within {seconds} s; see 'bento logs {name}'")
        finally:
            gone.cancel()

    # How it is kept, and how it ends.

    async def _keep(self, live: Live, serving: asyncio.Task[End] | None) -> None:
        """Hold the broker up until the machine is gone; then bury it."""
        assert live.machine
        gone = asyncio.create_task(live.machine.wait())
        out_of_step, pause = 0, 0.0
        try:
            while not gone.done():
                if serving is None and not live.cut_off:
                    await asyncio.wait({gone}, timeout=pause)
                    pause = min(2.0, pause * 2 + 0.05)
                    serving = await self._attach_again(live) if not gone.done() else None
                    continue
                await asyncio.wait({gone, serving} if serving else {gone}, return_when=asyncio.FIRST_COMPLETED)
                if serving and serving.done():
                    end, serving, live.broker = serving.result(), None, None
                    out_of_step += end.ending is Ending.OUT_OF_STEP
                    self._note_end(live, end, out_of_step)
        finally:
            gone.cancel()
            if serving:
                serving.cancel()
        await self._bury(live)

    async def _attach_again(self, live: Live) -> asyncio.Task[End] | None:
        try:
            return await self._attach(live)
        except (BentoError, OSError) as error:
            log.info("%s: no broker yet: %s", live.record.name, error)
            return None

    def _note_end(self, live: Live, end: End, out_of_step: int) -> None:
        name = live.record.name
        if end.ending is Ending.VIOLATION or out_of_step > MAX_OUT_OF_STEP:
            live.cut_off = f"{end.sentence}; shut '{name}' down or kill it, and start it again"
            log.error("%s is cut off: %s", name, end.sentence)
            self._events.tell(name, "domain-cut-off", reason=end.sentence)
        else:
            log.warning("%s: its broker ended (%s) and is replaced", name, end.sentence)

    async def _shut_down(self, live: Live, broker: Broker) -> None:
        name, seconds = live.record.name, number(live.record, "shutdown_timeout")
        try:
            if live.record.domain.klass is DomainClass.TEMPLATE:
                await self._templates.pack(live.record, broker)
                live.packed = True
            await broker.power_off()
            async with asyncio.timeout(seconds):
                await live.halted.wait()
        except (BentoError, OSError, TimeoutError) as error:
            if live.halted.is_set():
                raise Unavailable(f"'{name}' ended before it was shut down: {error}") from error
            self._move(live, Step.READY)
            self._events.tell(name, "domain-shutdown-failed", reason=str(error))
            if isinstance(error, BentoError):
                raise
            raise Unavailable(
                f"'{name}' did not shut down within {seconds} s; 'bento kill {name}' ends it now"
            ) from None

    async def _bury(self, live: Live) -> None:
        """Its machine is gone: take away what a run leaves, commit what a template packed, say so."""
        name, uuid = live.record.name, live.record.domain.uuid
        try:
            await self._storage.remove(self._places.volatile(uuid))
            shutil.rmtree(self._places.machine(uuid), ignore_errors=True)
            if live.packed:
                await self._templates.commit(live.record)
            await self._storage.remove(self._places.next_root(uuid))
            self._inventory.change(name, run=None)
        except BentoError as error:
            log.error("%s ended, but not all of it could be put away: %s", name, error)
        finally:
            self._forget(live)
        log.info("%s is halted", name)
        self._events.tell(name, "domain-shutdown")
        await self._templates.sweep()

    def _forget(self, live: Live) -> None:
        self._move(live, Step.GONE)
        del self._live[live.record.name]
        live.halted.set()

    # Small things.

    def _require(self, name: DomainName, state: PowerState) -> Live:
        self._inventory.get(name)
        live = self._live.get(name)
        if live is None or live.state is not state:
            actual = self.state(name)
            wanted = "running" if state is PowerState.RUNNING else state.lower()
            raise Conflict(f"'{name}' is not {wanted}, it is {actual.lower()}", actual=actual, required=state)
        return live

    def _move(self, live: Live, step: Step) -> None:
        after = TRANSITIONS.get((live.state, step))
        if after is None:
            raise Conflict(
                f"'{live.record.name}' cannot {step} now, it is {live.state.lower()}", actual=live.state, required=step
            )
        live.state = after

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._reap)
        return task

    def _reap(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) and not isinstance(error, BentoError):
            log.error("a task of the manager failed", exc_info=error)


def _keeps_root(record: DomainRecord) -> bool:
    """Whether changes to the root outlive a run."""
    return record.domain.klass in (DomainClass.TEMPLATE, DomainClass.STANDALONE)
