"""The manager as a process: holds its home, puts the pieces together, serves until it is told to stop.

It holds the home's lock for its life, so two managers never meet over one
state. Which drivers it works with is not its business: `__main__.py` gives
them, or a test. When it ends, machines run on and the next manager goes on
with them.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import platform
import resource
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path

from bento.host.manager import server
from bento.host.manager.admission import Admission
from bento.host.manager.audit import Audit
from bento.host.manager.brokers import Nursery
from bento.host.manager.burials import Burials
from bento.host.manager.calls import Calls
from bento.host.manager.channels import Channels
from bento.host.manager.consent import Consent
from bento.host.manager.contracts import Contracts
from bento.host.manager.disposables import Disposables
from bento.host.manager.events import Events
from bento.host.manager.grants import Grants
from bento.host.manager.invariants import Invariants
from bento.host.manager.inventory import Inventory
from bento.host.manager.journals import Journals
from bento.host.manager.launches import Launches
from bento.host.manager.lifecycle import Lifecycle
from bento.host.manager.live import Live
from bento.host.manager.machines import Machines
from bento.host.manager.methods.kinds import Manager
from bento.host.manager.notices import Notices
from bento.host.manager.places import Places
from bento.host.manager.policy import PolicyFiles
from bento.host.manager.pressure import Pressure
from bento.host.manager.recovery import recover
from bento.host.manager.reports import Reports
from bento.host.manager.saved import Saved
from bento.host.manager.seeds import Seeds
from bento.host.manager.services import Services
from bento.host.manager.spares import Spares
from bento.host.manager.suspension import Suspension
from bento.host.manager.templates import Templates
from bento.host.model.domain import DomainClass
from bento.host.model.errors import BentoError, Unavailable
from bento.host.model.inventory import DomainRecord
from bento.host.model.memory import HostMemory
from bento.host.ports.hypervisor import Hypervisor
from bento.host.ports.keys import Keys
from bento.host.ports.storage import Storage
from bento.host.ports.store import Store
from bento.host.ports.templates import TemplateBuilder
from bento.wire.control import Asked
from bento.wire.errors import WireError
from bento.wire.home import find_home
from bento.wire.names import DomainName
from bento.wire.rpc import ExitCode

log = logging.getLogger("bento.manager")

LOG_BYTES = 4 << 20
"""Bound of the log and of its one predecessor: a guest can make lines appear there, each refused call is one."""

MAX_FILES = 1 << 16
"""Open files that the manager allows itself, if the machine does: each connection, domain and call takes some."""

SOCKET_FROM_SYSTEMD = 3
OTHER_SECONDS = 30.0
"""How long a manager that meets another one waits for it to answer or to end."""

EXIT_UNAVAILABLE = 4


@dataclass(frozen=True, slots=True)
class Drivers:
    """What the manager works with: the ports' drivers, and two things that only the machine's side knows."""

    store: Store
    storage: Storage
    hypervisor: Hypervisor
    builder: TemplateBuilder
    nursery: Callable[[int], list[str]]
    """The command line of the brokers' nursery, whose control socket is the given file number."""
    service: Callable[[Path], list[str]]
    """The command line of one call of a service of the admin domain, which lies in that file."""
    keys: Keys
    sealing: Callable[[Sequence[str], int], list[str]]
    """The command line of a suspended machine's passage: its arguments, and how large its files may grow in bytes."""
    memory: Callable[[], HostMemory]
    """The host's memory now."""
    doctor: Callable[[], Awaitable[list[dict[str, object]]]]


Prepare = Callable[[Places, Notices], Awaitable[Drivers]]
"""Makes the drivers for a home that this process holds."""


def run(prepare: Prepare, ready_fd: int | None = None) -> int:
    """The daemon's whole life; its exit code. To `ready_fd` goes one line: `ready`, or `error: SENTENCE`."""
    try:
        if os.geteuid() == 0:
            raise Unavailable("the manager never runs as root; start it as an ordinary account")
        places = Places.of(find_home(os.environ))
        for directory in (places.data, places.run):
            directory.mkdir(parents=True, mode=0o700, exist_ok=True)
        with _only_manager(places) as first:
            if first:
                _log_to(places)
                _allow_files()
                asyncio.run(_manage(places, prepare, ready_fd))
            else:
                _tell(ready_fd, "ready")
        return 0
    except (BentoError, WireError, OSError) as error:
        if log.hasHandlers():
            log.critical("%s", error)
        _tell(ready_fd, f"error: {error}")
        print(f"bento: {error}", file=sys.stderr)
        return EXIT_UNAVAILABLE


async def _manage(places: Places, prepare: Prepare, ready_fd: int | None) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)

    notices = Notices(places.data / "told")
    invariants = Invariants(places.invariants)
    policy = PolicyFiles(
        places.policies,
        places.policy,
        notices.add,
        judge=lambda policy: invariants.fault(policy, inventory),
        beside=[places.invariants],
    )
    policy.ensure_default()
    drivers = await prepare(places, notices)
    with contextlib.closing(drivers.store):
        events = Events()
        audit = Audit(places.audit, events)
        inventory = Inventory(drivers.store)
        inventory.judge = lambda before, after: invariants.require(policy.in_force, before, after)
        nursery = Nursery(drivers.nursery)
        templates = Templates(inventory, places, drivers.builder)

        async def answer(source: DomainName, asked: Asked) -> socket.socket | ExitCode:
            return await calls.answer(source, asked)  # made below: it starts domains, and they ask it

        machines = Machines(inventory, places, drivers.storage, templates)
        seeds = Seeds(
            inventory=inventory,
            places=places,
            hypervisor=drivers.hypervisor,
            machines=machines,
            templates=templates,
            events=events,
            memory=drivers.memory,
        )
        journals = Journals(places)
        channels = Channels(inventory, journals, nursery, events, answer)
        saved = Saved(places, drivers.hypervisor, drivers.keys, drivers.sealing)
        suspension = Suspension(inventory, places, channels, saved, events)

        def running() -> list[Live]:
            return lifecycle.running()  # made below: it asks for admission, and that for who runs

        def with_machines() -> list[Live]:
            return lifecycle.with_machines()

        def leaves_room(base: DomainRecord) -> bool:
            return admission.leaves_room(base)

        async def end(name: DomainName) -> None:
            await lifecycle.kill(name)

        spares = Spares(
            inventory=inventory,
            places=places,
            hypervisor=drivers.hypervisor,
            machines=machines,
            templates=templates,
            seeds=seeds,
            events=events,
            leaves_room=leaves_room,
        )
        pressure = Pressure(
            read=drivers.memory,
            lives=running,
            machines=with_machines,
            # One that was just forgotten may not be buried yet.
            is_disposable=lambda name: name in inventory and inventory.get(name).domain.klass is DomainClass.DISPOSABLE,
            spares=spares.taken,
            drop_spares=spares.drop_all,
            save_memory=seeds.save_memory,
            end=end,
            events=events,
        )
        admission = Admission(drivers.memory, pressure)
        launches = Launches(
            hypervisor=drivers.hypervisor,
            machines=machines,
            channels=channels,
            seeds=seeds,
            spares=spares,
            suspension=suspension,
            admission=admission,
        )
        burials = Burials(
            inventory=inventory,
            places=places,
            machines=machines,
            journals=journals,
            templates=templates,
            suspension=suspension,
            events=events,
        )
        lifecycle = Lifecycle(
            inventory=inventory,
            places=places,
            machines=machines,
            channels=channels,
            templates=templates,
            suspension=suspension,
            admission=admission,
            launches=launches,
            burials=burials,
            events=events,
        )
        disposables = Disposables(inventory, places, events, spares.claim)
        grants = Grants(inventory, drivers.store)
        consent = Consent(inventory, grants)
        reports = Reports()
        services = Services(places.services, drivers.service, reports)
        contracts = Contracts(places.contracts)
        calls = Calls(inventory, policy, lifecycle, disposables, consent, services, audit, contracts, reports)
        await recover(inventory, places, drivers.hypervisor, lifecycle, templates, suspension)
        manager = Manager(
            inventory=inventory,
            lifecycle=lifecycle,
            calls=calls,
            contracts=contracts,
            audit=audit,
            invariants=invariants,
            journals=journals,
            disposables=disposables,
            consent=consent,
            grants=grants,
            seeds=seeds,
            spares=spares,
            templates=templates,
            storage=drivers.storage,
            places=places,
            events=events,
            notices=notices,
            memory=drivers.memory,
            doctor=drivers.doctor,
            stop=stopping.set,
        )
        with _listener(places) as listener:
            works = server.serve(listener, manager), audit.keep(), seeds.keep(), spares.keep(), pressure.keep()
            working = {asyncio.create_task(work) for work in works}
            _tell(ready_fd, "ready")
            log.info("ready on %s with %s", places.socket, drivers.hypervisor.accelerator)
            await nursery.begin()
            await asyncio.wait({*working, asyncio.create_task(stopping.wait())}, return_when=asyncio.FIRST_COMPLETED)
        # From here on nobody is accepted: who comes now starts the next manager, which waits for the lock.
        for work in working:
            work.cancel()
        await asyncio.wait(working)
        await lifecycle.close()
        await spares.close()
        await nursery.close()
        await services.close()
        await audit.close()
        for work in working:
            if not work.cancelled():
                work.result()
    log.info("stopped; machines run on")


@contextlib.contextmanager
def _only_manager(places: Places) -> Iterator[bool]:
    """True while this process holds the home; False if another manager does, and answers."""
    with open(places.lock, "w") as lock:
        deadline = time.monotonic() + OTHER_SECONDS
        while not (first := _take(lock.fileno())) and not _somebody_listens(places):
            # It starts, or it ends just now and leaves the home to us.
            if time.monotonic() > deadline:
                raise Unavailable(f"another manager holds {places.data} but does not answer; end it and try again")
            time.sleep(0.02)
        yield first


def _take(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _somebody_listens(places: Places) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(places.socket))
        except OSError:
            return False
        return True


@contextlib.contextmanager
def _listener(places: Places) -> Iterator[socket.socket]:
    """The socket that systemd opened for us (sd_listen_fds(3)), or our own, which goes with us."""
    if os.environ.get("LISTEN_PID") == str(os.getpid()) and os.environ.get("LISTEN_FDS") == "1":
        with socket.socket(fileno=SOCKET_FROM_SYSTEMD) as listener:
            listener.setblocking(False)
            listener.set_inheritable(False)
            yield listener
    else:
        with server.listen(places.socket) as listener:
            yield listener
        places.socket.unlink(missing_ok=True)


def _allow_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, MAX_FILES)), hard))


def _log_to(places: Places) -> None:
    handler = RotatingFileHandler(places.log, maxBytes=LOG_BYTES, backupCount=1)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(logging.INFO)
    log.info("manager %d on Python %s", os.getpid(), platform.python_version())


def _tell(fd: int | None, line: str) -> None:
    if fd is not None:
        with contextlib.suppress(OSError):
            os.write(fd, line.encode() + b"\n")
            os.close(fd)
