"""`python -m bento.host.manager`: one daemon for one person's home. Here, and only here, drivers are named.

Started by the first command that needs it (which passes `--ready-fd`), or by a
systemd user unit (socket activation, sd_listen_fds(3)). It holds the home's lock
for its life, so two managers never meet over one state. When it ends, machines
run on and the next manager goes on with them.
"""

import argparse
import asyncio
import contextlib
import fcntl
import logging
import os
import platform
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from logging.handlers import RotatingFileHandler
from pathlib import PurePosixPath

import bento
from bento.host.drivers.fake.hypervisor import FakeHypervisor
from bento.host.drivers.files import FileStorage
from bento.host.drivers.machine import doctor, kvm, software
from bento.host.drivers.qemu.hypervisor import QemuHypervisor
from bento.host.drivers.sqlite import SqliteStore
from bento.host.drivers.template.builder import DebianBuilder
from bento.host.jail.sandbox import sandbox_argv
from bento.host.manager import server
from bento.host.manager.brokers import Nursery
from bento.host.manager.calls import Calls
from bento.host.manager.events import Events
from bento.host.manager.inventory import Inventory
from bento.host.manager.lifecycle import Lifecycle
from bento.host.manager.methods.kinds import Manager
from bento.host.manager.places import Places
from bento.host.manager.policy import PolicyFiles
from bento.host.manager.recovery import recover
from bento.host.manager.templates import Templates
from bento.host.model.errors import BentoError, Unavailable
from bento.host.model.machine import Accelerator
from bento.host.ports.hypervisor import Hypervisor
from bento.wire.errors import WireError
from bento.wire.home import find_home

log = logging.getLogger("bento.manager")

LOG_BYTES = 4 << 20
"""Bound of the log and of its one predecessor: a guest can make lines appear there, each refused call is one."""

SOCKET_FROM_SYSTEMD = 3
EXIT_UNAVAILABLE = 4

SLOW = (
    "KVM cannot be used here ({reason}), so domains are emulated: they work, but many times slower; "
    "'bento doctor' says more"
)


def main() -> int:
    arguments = _parse(sys.argv[1:])
    try:
        if os.geteuid() == 0:
            raise Unavailable("the manager never runs as root; start it as an ordinary account")
        places = Places.of(find_home(os.environ))
        for directory in (places.data, places.run):
            directory.mkdir(parents=True, mode=0o700, exist_ok=True)
        with _only_manager(places) as first:
            if first:
                _log_to(places)
                asyncio.run(_manage(places, arguments))
            else:
                _wait_for_socket(places)
                _tell(arguments.ready_fd, "ready")
        return 0
    except (BentoError, WireError, OSError) as error:
        logging.getLogger().critical("%s", error)
        _tell(arguments.ready_fd, f"error: {error}")
        print(f"bento: {error}", file=sys.stderr)
        return EXIT_UNAVAILABLE


async def _manage(places: Places, arguments: argparse.Namespace) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)

    events = Events()
    store = SqliteStore(places.database)
    inventory = Inventory(store)
    storage = FileStorage()
    policy = PolicyFiles(places.policy)
    policy.ensure_default()
    nursery = Nursery(_nursery_argv)
    templates = Templates(inventory, places, DebianBuilder())
    machinery = _Machinery(places, inventory, stopping)
    lifecycle = Lifecycle(
        inventory=inventory,
        places=places,
        hypervisor=(hypervisor := await _hypervisor(arguments.hypervisor, places, machinery)),
        storage=storage,
        nursery=nursery,
        templates=templates,
        events=events,
        answer=lambda source, asked: calls.answer(source, asked),  # noqa: PLW0108  # calls is made after
    )
    calls = Calls(inventory, policy, lifecycle)
    manager = Manager(inventory, lifecycle, calls, templates, storage, places, events, machinery)

    await recover(inventory, places, hypervisor, lifecycle, templates)
    listener = _listener(places)
    serving = asyncio.create_task(server.serve(listener, manager))
    _tell(arguments.ready_fd, "ready")
    log.info("ready on %s with %s", places.socket, hypervisor.accelerator)

    await asyncio.wait({serving, asyncio.create_task(stopping.wait())}, return_when=asyncio.FIRST_COMPLETED)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    await lifecycle.close()
    await nursery.close()
    store.close()
    log.info("stopped; machines run on")


def _nursery_argv(control_fd: int) -> list[str]:
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise Unavailable("bubblewrap is missing, and brokers do not run without it; sudo apt-get install bubblewrap")
    return sandbox_argv(
        bwrap=PurePosixPath(bwrap),
        python=PurePosixPath(os.path.realpath(sys.executable)),
        python_home=PurePosixPath(sys.base_prefix),
        package=PurePosixPath(bento.__file__).parent,
        control_fd=control_fd,
    )


async def _hypervisor(kind: str, places: Places, machinery: "_Machinery") -> Hypervisor:
    home = sha256(str(places.data).encode()).hexdigest()[:16]
    if kind == "fake":
        return FakeHypervisor(home)
    version = await software.read_qemu_version()
    verdict = await kvm.probe(places.cache, version or "none")
    if verdict.usable:
        return QemuHypervisor(home, Accelerator.KVM)
    machinery.notice(SLOW.format(reason=verdict.reason))
    return QemuHypervisor(home, Accelerator.TCG)


class _Machinery:
    """What methods may ask of the manager's own process."""

    def __init__(self, places: Places, inventory: Inventory, stopping: asyncio.Event) -> None:
        self._places = places
        self._inventory = inventory
        self._stopping = stopping
        self._notices: list[str] = []

    def notice(self, sentence: str) -> None:
        """Have the person told, once per home."""
        told = self._places.data / "told"
        if not told.exists() or sentence not in told.read_text():
            self._notices.append(sentence)

    def notices(self) -> list[str]:
        handed, self._notices = self._notices, []
        if handed:
            with open(self._places.data / "told", "a") as told:
                told.writelines(f"{sentence}\n" for sentence in handed)
        return handed

    async def doctor(self) -> list[dict[str, object]]:
        findings = await doctor.examine(
            data_dir=self._places.data, cache_dir=self._places.cache, environment=dict(os.environ)
        )
        return doctor.as_json(findings)

    def stop(self) -> None:
        # After the answer to the request that asked for it.
        asyncio.get_running_loop().call_later(0.05, self._stopping.set)


@contextlib.contextmanager
def _only_manager(places: Places) -> Iterator[bool]:
    """True while this process holds the home; False if another manager does."""
    with open(places.lock, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _wait_for_socket(places: Places, seconds: float = 30.0) -> None:
    """Another manager holds the home: wait until it listens."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(places.socket))
                return
            except OSError:
                time.sleep(0.02)
    raise Unavailable(f"another manager holds {places.data} but does not answer; end it and try again")


def _listener(places: Places) -> socket.socket:
    if os.environ.get("LISTEN_PID") == str(os.getpid()) and os.environ.get("LISTEN_FDS") == "1":
        listener = socket.socket(fileno=SOCKET_FROM_SYSTEMD)
        listener.setblocking(False)
        listener.set_inheritable(False)
        return listener
    return server.listen(places.socket)


def _log_to(places: Places) -> None:
    path = places.data / "manager.log"
    handler = RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=1)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(logging.INFO)
    logging.getLogger("qemu").setLevel(logging.CRITICAL)
    log.info("manager %d on Python %s", os.getpid(), platform.python_version())


def _tell(fd: int | None, line: str) -> None:
    if fd is not None:
        with contextlib.suppress(OSError):
            os.write(fd, line.encode() + b"\n")
            os.close(fd)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bento.host.manager", description=__doc__)
    parser.add_argument("--ready-fd", type=int, help="file number to write one line to: ready, or error: SENTENCE")
    parser.add_argument(
        "--hypervisor", choices=("qemu", "fake"), default="qemu", help="fake: local processes, for tests"
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
