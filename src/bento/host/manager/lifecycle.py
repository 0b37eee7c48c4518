"""Start, shutdown, kill, pause: what a domain's power goes through.

`start` is a list of steps on one `AsyncExitStack`; each registers its undo
beside its do, so a start that fails anywhere leaves nothing. The machine comes from `launches.py`. A started domain
has one keeper task, which holds its channel up (`channels.py`) and has it buried (`burials.py`)
when its machine is gone, whoever ended it. What is legal when stands in `model.domain.TRANSITIONS`.
"""

import asyncio
import logging
import shutil
import socket
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

from bento.host.manager.admission import Admission
from bento.host.manager.brokers import Broker, End
from bento.host.manager.burials import Burials
from bento.host.manager.channels import Channels
from bento.host.manager.events import Events
from bento.host.manager.inventory import Inventory
from bento.host.manager.launches import Launches
from bento.host.manager.live import Live
from bento.host.manager.machines import Machines
from bento.host.manager.passage import Progress
from bento.host.manager.places import Places
from bento.host.manager.properties import number
from bento.host.manager.reports import Reports
from bento.host.manager.suspension import Suspension, how_it_goes_on, is_suspended
from bento.host.manager.templates import Templates
from bento.host.model.domain import ADMIN, DomainClass, PowerState, Step
from bento.host.model.errors import BentoError, Conflict, Unavailable
from bento.host.model.inventory import DomainRecord, Phase, Run
from bento.host.model.machine import MachineState
from bento.host.ports.hypervisor import Machine
from bento.wire.names import DomainName

log = logging.getLogger(__name__)


class Lifecycle:
    """Every domain's power. All methods run in the manager's one thread."""

    def __init__(
        self,
        *,
        inventory: Inventory,
        places: Places,
        machines: Machines,
        channels: Channels,
        templates: Templates,
        suspension: Suspension,
        admission: Admission,
        launches: Launches,
        burials: Burials,
        events: Events,
    ) -> None:
        self._inventory = inventory
        self._places = places
        self._machines = machines
        self._channels = channels
        self._templates = templates
        self._suspension = suspension
        self._admission = admission
        self._launches = launches
        self._burials = burials
        self._events = events
        self._live: dict[DomainName, Live] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._reports = Reports()

    # What others may know.

    def state(self, name: DomainName) -> PowerState:
        if name == ADMIN:
            return PowerState.RUNNING
        if live := self._live.get(name):
            return live.state
        at_rest = name in self._inventory and is_suspended(self._inventory.get(name))
        return PowerState.SUSPENDED if at_rest else PowerState.HALTED

    def machine(self, name: DomainName) -> Machine | None:
        live = self._live.get(name)
        return live.machine if live else None

    def running(self) -> list[Live]:
        """Those that have a machine which computes."""
        return [live for live in self._live.values() if live.state is PowerState.RUNNING and live.machine]

    def with_machines(self) -> list[Live]:
        """Those that have a machine, whatever state they are in."""
        return [live for live in self._live.values() if live.machine]

    async def broker(self, name: DomainName) -> Broker:
        """The broker of a running domain, once its agent has answered."""
        live = self._require(name, PowerState.RUNNING)
        live.called = time.monotonic()
        if live.broker and live.broker.ready:
            return live.broker
        try:
            async with asyncio.timeout(self._number(live, "qrexec_timeout")):
                broker = await self._channels.next_broker(live, {PowerState.RUNNING})
                while broker and not await asyncio.shield(broker.up):
                    broker = await self._channels.next_broker(live, {PowerState.RUNNING}, after=broker)
        except TimeoutError:
            raise Unavailable(f"the agent in '{name}' does not answer; see 'bento logs {name}'") from None
        if broker:
            return broker
        self._require(name, PowerState.RUNNING)
        raise Conflict(f"the channel to '{name}' is closed: {live.cut_off}", actual="closed", required="open")

    # What can be asked for.

    async def start(self, name: DomainName, *, for_call: bool = False, fresh: bool = False) -> None:
        """Start a halted domain, or resume a suspended one; returns when its agent has answered.

        `for_call`: only for one call. `fresh`: it boots, even where it could go on from a seed.
        """
        await self._inventory.at_rest(name)
        record = self._inventory.get(name)
        if name == ADMIN:
            # As in the field, where a client that wants a domain to run starts it, and minds no other failure.
            what = f"'{ADMIN}' is this machine itself; it runs as long as you do"
            raise Conflict(what, actual=PowerState.RUNNING, required=PowerState.HALTED)
        if (state := self.state(name)) is PowerState.SUSPENDED:
            await self.resume(name, lambda _: None)
            return
        if state is not PowerState.HALTED:
            raise Conflict(f"'{name}' is not halted, it is {state.lower()}", actual=state, required=PowerState.HALTED)
        self._inventory.require_free(name)
        live = Live(name, record.domain.uuid, for_call=for_call, fresh=fresh)
        self._live[name] = live
        live.move(Step.LAUNCH)
        live.starting = self._spawn(self._start(live), tells=True)
        await asyncio.shield(live.starting)

    async def suspend(self, name: DomainName, progress: Progress) -> None:
        """Write all that a running domain is to the disk, encrypted, and end its machine; returns when that is done."""
        live = self._require(name, PowerState.RUNNING)
        if live.for_call:
            raise Conflict(f"'{name}' is there for one call, and ends with it", actual="for a call", required="its own")
        live.move(Step.SUSPEND)
        await asyncio.shield(self._spawn(self._suspension.suspend(live, progress)))
        await live.halted.wait()

    async def resume(self, name: DomainName, progress: Progress) -> None:
        """Have a suspended domain go on; returns when its agent has answered."""
        record = self._inventory.get(name)
        if (state := self.state(name)) is not PowerState.SUSPENDED:
            raise Conflict(f"'{name}' is not suspended, it is {state.lower()}", actual=state, required="suspended")
        self._inventory.require_free(name)
        live = self._live[name] = Live(name, record.domain.uuid, state)
        live.move(Step.LAUNCH)
        live.starting = self._spawn(self._resume(live, progress), tells=True)
        await asyncio.shield(live.starting)

    async def ensure_running(self, name: DomainName) -> None:
        """Start it if it does not run; wait for a start or a stop that is under way, and then see."""
        while live := self._live.get(name):
            if live.starting and not live.starting.done():
                await asyncio.shield(live.starting)
            if live.state is not PowerState.TRANSIENT:
                self._require(name, PowerState.RUNNING)
                return
            await live.change()
        await self.start(name)

    def require_running(self, name: DomainName) -> None:
        """Raises `Conflict` with what would make it run."""
        if self.state(name) is PowerState.HALTED:
            way = f"'{name}' does not run; 'bento start {name}' starts it"
            raise Conflict(way, actual=PowerState.HALTED, required=PowerState.RUNNING)
        if name != ADMIN:
            self._require(name, PowerState.RUNNING)

    async def shutdown(self, name: DomainName, *, wait: bool) -> None:
        """Ask a domain to end. With `wait` returns when it is halted, and raises when that takes too long."""
        live = self._require(name, PowerState.RUNNING)
        broker = await self.broker(name)
        self._require_still(live, PowerState.RUNNING)
        live.move(Step.STOP)
        ending = self._spawn(self._shut_down(live, broker))
        if wait:
            await asyncio.shield(ending)

    async def kill(self, name: DomainName) -> None:
        """End a domain now, whatever it does, or throw away what it was saved as; returns when it is halted."""
        if live := self._live.get(name):
            live.unwanted.set()
            # A start is not cancelled, which would also interrupt its undoing: it looks for itself.
            if live.machine and not (live.starting and not live.starting.done()):
                await live.machine.kill()
            await live.halted.wait()
        elif self.state(name) is PowerState.HALTED:
            raise Conflict(f"'{name}' does not run", actual=PowerState.HALTED, required=PowerState.RUNNING)
        if self.state(name) is PowerState.SUSPENDED:
            await self._burials.throw_away(self._inventory.get(name))
            self._events.tell(name, "domain-shutdown")

    def discard(self, name: DomainName) -> None:
        """Have a disposable end and be gone, whether it runs, starts, or was never started."""
        self._spawn(self._discard(name))

    async def pause(self, name: DomainName) -> None:
        live = self._require(name, PowerState.RUNNING)
        assert live.machine
        async with live.turn:
            self._require_still(live, PowerState.RUNNING)
            live.move(Step.PAUSE)  # first, so that nobody begins a shutdown that a paused guest will not hear of
            try:
                await live.machine.pause()
            except BaseException:
                if live.state is PowerState.PAUSED:
                    live.move(Step.UNPAUSE)
                raise
            self._require_still(live, PowerState.PAUSED)
        self._events.tell(name, "domain-paused")

    async def unpause(self, name: DomainName) -> None:
        live = self._require(name, PowerState.PAUSED)
        assert live.machine
        async with live.turn:
            self._require_still(live, PowerState.PAUSED)
            await live.machine.resume()
            self._require_still(live, PowerState.PAUSED)
            live.move(Step.UNPAUSE)
        self._events.tell(name, "domain-unpaused")

    async def console(self, name: DomainName, stream: socket.socket) -> None:
        """Join `stream` (taken over) to the domain's serial console. Works as soon as there is a broker."""
        live = self._live.get(name)
        with stream:
            broker = live and await self._channels.next_broker(live, set(PowerState) - {PowerState.HALTED})
            while live and broker:
                try:
                    await broker.console(stream.dup())
                    return
                except OSError:
                    broker = await self._channels.next_broker(live, set(PowerState) - {PowerState.HALTED})
        why = live.cut_off if live and live.cut_off else f"'bento start {name}' gives it one"
        raise Conflict(f"'{name}' has no console now: {why}", actual=self.state(name), required=PowerState.RUNNING)

    async def adopt(self, record: DomainRecord, machine: Machine) -> None:
        """Go on with a machine that an earlier manager started."""
        try:
            paused = await machine.state() is MachineState.PAUSED
        except BentoError:  # it ends just now, or hangs
            paused = False
        state = PowerState.PAUSED if paused else PowerState.RUNNING
        live = Live(record.name, record.domain.uuid, state, machine)
        self._live[record.name] = live
        self._spawn(self._keep(live, None))

    async def close(self) -> None:
        """Let go of everything; machines run on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # How a domain starts.

    async def _start(self, live: Live) -> None:
        name, began = live.name, time.monotonic()
        self._events.tell(name, "domain-pre-start")
        try:
            async with AsyncExitStack() as undo:
                undo.callback(self._forget, live)

                record = self._inventory.get(name)
                version = self._templates.version_for(record)
                run = Run(Phase.STARTING, version.number, time.time())
                self._inventory.change(name, run=run)
                undo.callback(self._burials.end_run, record)

                run_dir = self._places.machine(live.uuid)
                undo.callback(shutil.rmtree, run_dir, ignore_errors=True)
                run_dir.mkdir(parents=True, mode=0o700, exist_ok=True)

                undo.push_async_callback(self._machines.take_away, record)
                serving = await self._launches.until_answered(live, record, version, undo)

                seconds = time.monotonic() - began
                phase = Phase.FOR_CALL if live.for_call else Phase.RUNNING
                self._inventory.change(name, run=replace(run, phase=phase, start_seconds=seconds))
                undo.pop_all()
        except (BentoError, OSError) as error:
            if not live.for_call:  # else the caller is told of: names of disposables never end
                self._reports.say(name, logging.WARNING, f"start of {name} failed: {error}")
            self._events.tell(name, "domain-start-failed", reason=str(error))
            if isinstance(error, BentoError):
                raise
            raise Unavailable(f"'{name}' cannot start: {error.filename or 'the disk'}: {error.strerror}") from error
        live.move(Step.READY)
        self._spawn(self._keep(live, serving))
        log.info("%s started in %.2f s", name, seconds)
        self._events.tell(name, "domain-start")

    async def _resume(self, live: Live, progress: Progress) -> None:
        name, began = live.name, time.monotonic()
        try:
            async with self._admission.admitted(self._inventory.get(name), forked=False):
                await self._suspension.restore(live, progress)
        except BentoError as error:
            self._forget(live, Step.REST)
            self._reports.say(name, logging.WARNING, f"{name} stays suspended: {error}")
            self._events.tell(name, "domain-resume-failed", reason=str(error))
            raise
        serving, failure = await self._suspension.go_on(live)
        live.move(Step.READY)
        self._spawn(self._keep(live, serving))
        log.info("%s was resumed in %.2f s", name, time.monotonic() - began)
        self._events.tell(name, "domain-resumed")
        if failure:
            raise failure

    # How it is kept, and how it ends.

    async def _keep(self, live: Live, serving: asyncio.Task[End] | None) -> None:
        """Hold the broker up until the machine is gone; then have it buried, and say so."""
        assert live.machine
        gone = asyncio.create_task(live.machine.wait())
        try:
            await self._channels.hold_up(live, serving, gone)
        except Exception:
            log.exception("%s has no broker any more", live.name)
            live.cut_off = f"the manager made a mistake; 'bento kill {live.name}' and start it again"
            await gone
        finally:
            gone.cancel()
        live.gone.set()
        live.tell()
        try:
            await self._burials.bury(live)
        finally:
            self._forget(live, Step.REST if live.saved else Step.GONE)
        log.info("%s is %s", live.name, "suspended" if live.saved else "halted")
        self._events.tell(live.name, "domain-suspended" if live.saved else "domain-shutdown")

    async def _shut_down(self, live: Live, broker: Broker) -> None:
        name, record, seconds = live.name, self._inventory.get(live.name), self._number(live, "shutdown_timeout")
        try:
            if record.domain.klass is DomainClass.TEMPLATE:
                await self._templates.pack(record, broker)
                live.packed = True
            async with asyncio.timeout(seconds):
                await self._channels.power_off(live)
        except (BentoError, TimeoutError) as error:
            if not await live.is_gone():
                raise self._still_runs(live, error, seconds) from error
            if not live.packed and record.domain.klass is DomainClass.TEMPLATE:
                await live.halted.wait()
                kept = "its changes are kept, but are no version yet"
                raise Unavailable(f"'{name}' ended before it was shut down; {kept}: {error}") from error
        await live.halted.wait()
        if live.failure:
            raise live.failure

    def _still_runs(self, live: Live, error: BentoError | TimeoutError, seconds: int) -> BentoError:
        """Back to running after a shutdown that did not work; what to tell the person."""
        live.packed = False  # its guest goes on changing its root
        live.move(Step.READY)
        if isinstance(error, TimeoutError):
            what = f"'{live.name}' did not shut down within {seconds} s"
            error = Unavailable(f"{what}; 'bento kill {live.name}' ends it now")
        log.warning("%s", error)
        self._events.tell(live.name, "domain-shutdown-failed", reason=str(error))
        return error

    async def _discard(self, name: DomainName) -> None:
        if name in self._live:
            await self.kill(name)
        elif name in self._inventory:
            self._burials.end_run(self._inventory.get(name))

    def _forget(self, live: Live, step: Step = Step.GONE) -> None:
        live.move(step)
        del self._live[live.name]
        live.halted.set()

    # Small things.

    def _require(self, name: DomainName, state: PowerState) -> Live:
        self._inventory.get(name)
        live = self._live.get(name)
        if live is None or live.state is not state:
            actual = self.state(name)
            wanted = "running" if state is PowerState.RUNNING else state.lower()
            way = f"; 'bento unpause {name}' lets it go on" if actual is PowerState.PAUSED else ""
            way = f"; {how_it_goes_on(name)}" if actual is PowerState.SUSPENDED else way
            raise Conflict(f"'{name}' is not {wanted}, it is {actual.lower()}{way}", actual=actual, required=state)
        return live

    def _require_still(self, live: Live, state: PowerState) -> None:
        if live.state is not state:
            now = live.state.lower()
            raise Conflict(f"'{live.name}' is {now} now, not {state.lower()}", actual=now, required=state)

    def _number(self, live: Live, name: str) -> int:
        """A property as it is set now, not as it was when the domain started."""
        return number(self._inventory.get(live.name), name)

    def _spawn(self, work: Coroutine[None, None, None], *, tells: bool = False) -> asyncio.Task[None]:
        """`tells`: it writes into the log itself why it fails."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(partial(self._reap, tells=tells))
        return task

    def _reap(self, task: asyncio.Task[None], *, tells: bool) -> None:
        self._tasks.discard(task)
        if task.cancelled() or not (error := task.exception()):
            return
        if isinstance(error, BentoError):
            if not tells:
                log.warning("%s", error)  # whoever waited for it was told, but perhaps nobody did
        else:
            log.error("a task of the manager failed", exc_info=error)
