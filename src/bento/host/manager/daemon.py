"""The manager as a process: holds its home, has the pieces put together, serves until it is told to stop.

It holds the home's lock for its life, so two managers never meet over one
state. Which drivers it works with is not its business: `__main__.py` gives
them, or a test; what is made of them is `pieces.py`. When it ends, machines run
on and the next manager goes on with them.
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
from collections.abc import Awaitable, Callable, Iterator
from logging.handlers import RotatingFileHandler

from bento.host.manager import server
from bento.host.manager.notices import Notices
from bento.host.manager.pieces import Drivers, assemble
from bento.host.manager.places import Places
from bento.host.manager.recovery import recover
from bento.host.model.errors import BentoError, Unavailable
from bento.wire.errors import WireError
from bento.wire.home import find_home

log = logging.getLogger("bento.manager")

LOG_BYTES = 4 << 20
"""Bound of the log and of its one predecessor: a guest can make lines appear there, each refused call is one."""

MAX_FILES = 1 << 16
"""Open files that the manager allows itself, if the machine does: each connection, domain and call takes some."""

SOCKET_FROM_SYSTEMD = 3
OTHER_SECONDS = 30.0
"""How long a manager that meets another one waits for it to answer or to end."""

EXIT_UNAVAILABLE = 4


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
    drivers = await prepare(places, notices)
    with contextlib.closing(drivers.store):
        pieces = assemble(places, drivers, notices, stop=stopping.set)
        pieces.policy.ensure_default()
        manager = pieces.manager
        await recover(
            manager.inventory, places, drivers.hypervisor, manager.lifecycle, manager.templates, pieces.suspension
        )
        with _listener(places) as listener:
            working = {asyncio.create_task(work) for work in (server.serve(listener, manager), *pieces.work())}
            try:
                _tell(ready_fd, "ready")
                log.info("ready on %s with %s", places.socket, drivers.hypervisor.accelerator)
                await pieces.nursery.begin()
                stopped = asyncio.create_task(stopping.wait())
                await asyncio.wait({*working, stopped}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                # Closed, it leaves its number to the next file, of which the loop, which takes that for it, hears
                # nothing.
                asyncio.get_running_loop().remove_reader(listener)
        # From here on nobody is accepted: who comes now starts the next manager, which waits for the lock.
        for task in working:
            task.cancel()
        await asyncio.wait(working)
        await pieces.close()
        for task in working:
            if not task.cancelled():
                task.result()
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
