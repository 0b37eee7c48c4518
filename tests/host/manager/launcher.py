"""The manager over pretended machines and a builder that takes no time: `python -m tests.host.manager.launcher`.

Composed as `bento.host.manager.__main__` does it, with other drivers; what tests want to go wrong goes wrong here:

- a domain whose name begins with `mute` never answers: its machine is stopped as soon as it runs;
- `BENTO_TEST_MUTE`: beginnings of other names for which that is so; machines that become seeds are called `seed`;
- one whose name begins with `stillborn` loses its machine as soon as it runs;
- one whose name begins with `barren` loses it when it goes on from a saved one;
- one whose name begins with `deaf` never hears that it is to shut down;
- the distribution `endless` is built for ever, `broken` never;
- `BENTO_TEST_KVM` set: machines are started on a KVM on trial, where those whose name begins with `kvmless` are mute;
- `BENTO_TEST_FULL` names a file: while it exists, the disk is full for volumes, and if it holds `state`, for that too;
- `BENTO_TEST_SEALING` set: nothing grows beyond some bytes that is written of a suspended domain;
- `BENTO_TEST_FINGERPRINT` is the hypervisor's, for all that was kept of another one;
- `BENTO_TEST_MEMORY` names a file that holds what the host's memory is, as JSON, and has it looked at all the time;
- `BENTO_TEST_GATE` names a FIFO that somebody must open and close before the copy of a volume begins;
- `BENTO_TEST_QUIET`: seconds without a start, before a seed for AppVMs is made; not set: none is;
- `BENTO_TEST_SETTLE`: seconds after a start before a spare for the next disposable is made; not set: none is;
- `BENTO_TEST_DIE` is FUNCTION:N, the N-th call of FUNCTION in `CRASH_POINTS` is `kill -9`; FUNCTION may end with
  `.after`, and then that call still does its work, or with `.machine`, and then it is all machines that are killed;
- `BENTO_TEST_STARVED` names a file: while it exists, there is no memory for a machine that goes on from an image;
- `BENTO_TEST_SEEDS` is QUOTA:USUAL, in bytes, for those of `seedfiles.py`;
- `BENTO_TEST_COUNT` names a file that gets a byte, the function's place in `CRASH_POINTS`, for each such call.

A TemplateVM packs what its file `root` holds, which is in `guest/home` of its run directory.
"""

import argparse
import asyncio
import contextlib
import functools
import hashlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bento.host.drivers.fake.hypervisor import FakeHypervisor, FakeMachine
from bento.host.drivers.files import FileStorage
from bento.host.drivers.keyfile import KeyFile
from bento.host.drivers.qemu.trial import OnTrial, Record
from bento.host.drivers.sqlite import SqliteStore
from bento.host.manager import brokers, daemon, pressure, seedfiles, seeds, spares, templates
from bento.host.manager.__main__ import home_mark, nursery_argv, sealing_argv, service_argv
from bento.host.manager.brokers import Broker, Nursery
from bento.host.manager.chains import Chain
from bento.host.manager.notices import Notices
from bento.host.manager.pieces import Drivers
from bento.host.manager.places import Places
from bento.host.model.errors import Exhausted, Unavailable
from bento.host.model.inventory import DomainRecord, TemplateVersion
from bento.host.model.machine import MachineSpec
from bento.host.model.memory import HostMemory
from bento.host.ports.hypervisor import Hypervisor
from bento.host.ports.templates import FILES, Built, Progress
from bento.wire.home import find_home

NOTICE = "this machine only pretends"
KVM_NOTICE = "KVM only pretended to work"

FULL = Path(os.environ["BENTO_TEST_FULL"]) if "BENTO_TEST_FULL" in os.environ else None
MEMORY = Path(os.environ["BENTO_TEST_MEMORY"]) if "BENTO_TEST_MEMORY" in os.environ else None

STARVED = Path(os.environ["BENTO_TEST_STARVED"]) if "BENTO_TEST_STARVED" in os.environ else None

PACK = "/machine/guest/pack-root"
PACK_SCRIPT = '#!/bin/sh\n[ -e "$HOME/no-pack" ] && exit 3\nexec dd if="$HOME/root" of="$1" conv=notrunc\n'


class PretendedMachines(FakeHypervisor):
    mute: tuple[str, ...] = ("mute", *os.environ.get("BENTO_TEST_MUTE", "").split())

    @property
    def fingerprint(self) -> str:
        return os.environ.get("BENTO_TEST_FINGERPRINT") or super().fingerprint

    async def restore(self, spec: MachineSpec, stream: int, disks: Sequence[int]) -> FakeMachine:
        machine = await super().restore(spec, stream, disks)
        _link_next_root(spec)
        return machine

    async def launch(self, spec: MachineSpec) -> FakeMachine:
        if spec.image and STARVED and STARVED.exists():
            raise Exhausted(f"there is not enough memory for {spec.name}; stop another domain or give this one less")
        if len(spec.disks) > 4:
            guest = spec.run_dir / "guest"
            (guest / "home").mkdir(parents=True, exist_ok=True)
            _link_next_root(spec)
            (guest / "home/root").write_text(f"the root of {spec.name}")
            (guest / "pack-root").write_text(PACK_SCRIPT)
            (guest / "pack-root").chmod(0o755)
        machine = await super().launch(spec)
        if spec.name.startswith(self.mute):
            await machine.pause()
            if spec.image:
                machine.resume = machine.pause  # type: ignore[method-assign]  # it is set going in vain
        if spec.name.startswith("stillborn") or (spec.image and spec.name.startswith("barren")):
            await machine.kill()
        return machine


def _link_next_root(spec: MachineSpec) -> None:
    """What stands for the disk that a TemplateVM packs its root on."""
    if len(spec.disks) > 4:
        (spec.run_dir / "guest/vde").unlink(missing_ok=True)
        os.link(spec.disks[4].path, spec.run_dir / "guest/vde")


class PretendedKvm(PretendedMachines):
    mute = ("mute", "kvmless")


class Deafening(Broker):
    async def power_off(self) -> None:
        if not self._domain.name.startswith("deaf"):
            await super().power_off()


class FillingStorage(FileStorage):
    async def create(self, path: Path, size: int) -> None:
        if FULL and FULL.exists():
            raise Unavailable(f"the disk is full: no room for {path}")
        await super().create(path, size)

    async def clone(self, source: Path, target: Path) -> None:
        if gate := os.environ.get("BENTO_TEST_GATE"):
            await asyncio.to_thread(Path(gate).read_bytes)
        await super().clone(source, target)


class FillingStore(SqliteStore):
    def put(self, *records: DomainRecord, version: TemplateVersion | None = None) -> None:
        if FULL and FULL.exists() and FULL.read_text() == "state":
            raise Unavailable("the state cannot be written; is the disk full?")
        super().put(*records, version=version)


class QuickBuilder:
    def distributions(self) -> dict[str, tuple[str, ...]]:
        return dict.fromkeys(("debian-12", "endless", "broken"), ("minimal", "desktop"))

    async def build(self, distribution: str, flavor: str, directory: Path, progress: Progress) -> Built:
        progress("packing", 0.5)
        (directory / "root.erofs").write_text(f"{distribution} {flavor}")
        if distribution == "endless":
            await asyncio.get_running_loop().create_future()
        if distribution == "broken":
            raise Unavailable("the archive does not answer; try again later")
        for name in FILES:
            if name not in ("root.erofs", "manifest.json"):
                (directory / name).write_text(name)
        (directory / "manifest.json").write_text(json.dumps({"cmdline": "quiet", "packages": {"base-files": "12"}}))
        return _built(directory)

    async def derive(self, old: Path, directory: Path) -> Built:
        for name in FILES:
            if name != "root.erofs":
                os.link(old / name, directory / name)
        return _built(directory)


def _built(directory: Path) -> Built:
    content = (directory / "root.erofs").read_bytes()
    return Built(hashlib.sha256(content).hexdigest(), len(content), 1)


async def prepare(places: Places, notices: Notices) -> Drivers:
    notices.add(NOTICE)
    hypervisor: Hypervisor = PretendedMachines(home_mark(places))
    if os.environ.get("BENTO_TEST_KVM"):
        record = Record(places.cache / "kvm-trial.json", "this boot")
        hypervisor = OnTrial(PretendedKvm(home_mark(places)), hypervisor, record, lambda: notices.add(KVM_NOTICE))
    return Drivers(
        store=FillingStore(places.database),
        storage=FillingStorage(),
        hypervisor=hypervisor,
        builder=QuickBuilder(),
        nursery=nursery_argv,
        service=service_argv,
        keys=KeyFile(places.host_key),
        sealing=_sealing_argv,
        memory=_memory,
        doctor=_doctor,
    )


def _sealing_argv(arguments: Sequence[str], file_size: int) -> list[str]:
    return sealing_argv(arguments, 100 if "BENTO_TEST_SEALING" in os.environ else file_size)


def _memory() -> HostMemory:
    """What the test says, or more than enough."""
    return HostMemory(**json.loads(MEMORY.read_text())) if MEMORY else HostMemory(64 << 30, 48 << 30, 0.0)


async def _doctor() -> list[dict[str, object]]:
    return [{"name": "kvm", "ok": False}]


# Dying at a point of the test's choice.

CRASH_POINTS: dict[str, tuple[object, str]] = {
    "put": (SqliteStore, "put"),
    "drop": (SqliteStore, "drop"),
    "drop_version": (SqliteStore, "drop_version"),
    "create_volume": (FileStorage, "create"),
    "clone_volume": (FileStorage, "clone"),
    "remove_volume": (FileStorage, "remove"),
    "launch": (FakeHypervisor, "launch"),
    "kill_machine": (FakeMachine, "kill"),
    "suspend": (FakeMachine, "suspend"),
    "restore": (FakeHypervisor, "restore"),
    "resume": (FakeMachine, "resume"),
    "spawn_broker": (Nursery, "spawn"),
    "rename": (os, "rename"),
    "link": (os, "link"),
    "unlink": (os, "unlink"),
    "mkdir": (os, "mkdir"),
    "fsync": (os, "fsync"),
    "audit": (Chain, "append"),
}

ONCE: dict[str, tuple[object, str]] = {"put_grant": (SqliteStore, "put_grant")}
"""The same for a test of its own, outside of the story that tests/crash tells."""


SEEDING: dict[str, tuple[object, str]] = {
    "listens": (FakeMachine, "listens"),
    "save": (FakeMachine, "save"),
    "rmtree": (shutil, "rmtree"),
    "chmod": (os, "chmod"),
}
"""And for the story of seeds and what is forked from them."""


def arm(where: str) -> None:
    """Have the given call of the given function be the last thing this process does."""
    name, _, number = where.partition(":")
    name, _, how = name.partition(".")
    left = int(number)

    def come_closer() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            kill_machines() if how == "machine" else die()

    _wrap(name, **{"after" if how == "after" else "before": come_closer})


def count(path: str) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for place, name in enumerate(CRASH_POINTS):
        _wrap(name, before=functools.partial(os.write, file, bytes((place,))))


def _wrap(name: str, before: Callable[[], object] = bool, after: Callable[[], object] = bool) -> None:
    owner, attribute = (CRASH_POINTS | ONCE | SEEDING)[name]
    function: Callable[..., Any] = getattr(owner, attribute)
    if asyncio.iscoroutinefunction(function):

        async def later(*arguments: Any, **named: Any) -> Any:
            before()
            result = await function(*arguments, **named)
            after()
            return result

        setattr(owner, attribute, later)
    else:

        def now(*arguments: Any, **named: Any) -> Any:
            before()
            result = function(*arguments, **named)
            after()
            return result

        setattr(owner, attribute, now)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_machines() -> None:
    mark = f"bento-{home_mark(Places.of(find_home(os.environ)))}-".encode()
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if mark in Path(f"/proc/{name}/cmdline").read_bytes():
                os.kill(int(name), signal.SIGKILL)


if __name__ == "__main__":
    templates.PACK = (PACK, "/machine/guest/vde")
    brokers.Broker = Deafening  # type: ignore[misc]  # in place of the class, for this process
    if sizes := os.environ.get("BENTO_TEST_SEEDS"):
        seedfiles.QUOTA, seedfiles.USUAL_SIZE = map(int, sizes.split(":"))
    if MEMORY:
        pressure.LOOK_SECONDS = pressure.TRY_SECONDS = 0.02
        pressure.IDLE_SECONDS = 0.0
    seeds.PUT_OFF_SECONDS = float(os.environ.get("BENTO_TEST_PUT_OFF", seeds.PUT_OFF_SECONDS))
    seeds.QUIET_SECONDS = float(os.environ.get("BENTO_TEST_QUIET", "1e6"))
    spares.REHEARSAL_SECONDS = spares.LOOK_SECONDS = 0.0
    spares.SETTLE_SECONDS = float(os.environ.get("BENTO_TEST_SETTLE", "1e6"))
    if point := os.environ.get("BENTO_TEST_DIE"):
        arm(point)
    if counted := os.environ.get("BENTO_TEST_COUNT"):
        count(counted)
    parser = argparse.ArgumentParser()
    parser.add_argument("--ready-fd", type=int)
    sys.exit(daemon.run(prepare, parser.parse_args().ready_fd))
