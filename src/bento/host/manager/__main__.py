"""`python -m bento.host.manager`: one daemon for one person's home. Here, and only here, drivers are named.

Started by the first command that needs it (which passes `--ready-fd`), or by a
systemd user unit (socket activation). What it then does is in `daemon.py`.
"""

import argparse
import importlib.util
import os
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path, PurePosixPath

import bento
from bento.host.drivers.files import FileStorage
from bento.host.drivers.keyfile import KeyFile
from bento.host.drivers.machine import doctor, kvm, kvm_cache, software
from bento.host.drivers.machine.kvm_access import KVM_DEVICE
from bento.host.drivers.machine.memory import read_host_memory
from bento.host.drivers.qemu.hypervisor import QemuHypervisor
from bento.host.drivers.qemu.trial import OnTrial, Record
from bento.host.drivers.sqlite import SqliteStore
from bento.host.drivers.template.builder import DebianBuilder
from bento.host.jail import sandbox
from bento.host.manager import daemon
from bento.host.manager.notices import Notices
from bento.host.manager.pieces import Drivers
from bento.host.manager.places import Places
from bento.host.manager.properties import PROPERTIES
from bento.host.model.errors import Unavailable
from bento.host.model.machine import Accelerator
from bento.host.ports.hypervisor import Hypervisor

SLOW = (
    "KVM cannot be used here ({reason}), so domains are emulated: they work, but many times slower; "
    "'bento doctor' says more"
)


def main() -> int:
    arguments = _parse(sys.argv[1:])
    return daemon.run(prepare, arguments.ready_fd)


async def prepare(places: Places, notices: Notices) -> Drivers:
    return Drivers(
        store=SqliteStore(places.database),
        storage=FileStorage(),
        hypervisor=await _hypervisor(places, notices),
        builder=DebianBuilder(config=places.policy.parent),
        nursery=nursery_argv,
        service=service_argv,
        keys=KeyFile(places.host_key),
        sealing=sealing_argv,
        memory=read_host_memory,
        doctor=partial(_examine, places),
    )


async def _hypervisor(places: Places, notices: Notices) -> Hypervisor:
    version = await software.read_qemu_version() or "none"
    verdict = await kvm.probe(places.cache, version)
    emulation = QemuHypervisor(home_mark(places), Accelerator.TCG)
    question = kvm_cache.read_question(version, KVM_DEVICE)
    if verdict.usable and question:
        record = Record(places.cache / "kvm-trial.json", repr(question))
        silent = partial(notices.add, SLOW.format(reason="a domain that was started on it did not answer"))
        return OnTrial(QemuHypervisor(home_mark(places), Accelerator.KVM), emulation, record, silent)
    notices.add(SLOW.format(reason=verdict.reason))
    return emulation


def home_mark(places: Places) -> str:
    """What tells this home's machines from those of others on this host."""
    return sha256(str(places.data).encode()).hexdigest()[:16]


def nursery_argv(control_fd: int) -> list[str]:
    return sandbox.nursery_argv(bwrap=_bwrap("brokers"), **_code(), control_fd=control_fd)


def service_argv(program: Path) -> list[str]:
    return sandbox.service_argv(bwrap=_bwrap("services"), **_code(), program=PurePosixPath(program))


def sealing_argv(arguments: Sequence[str], file_size: int) -> list[str]:
    # Cryptography is a package, and one extension module that it is linked to in Python's own way.
    libraries = {"cryptography": _origin("cryptography").parent, "_cffi_backend.so": _origin("_cffi_backend")}
    return sandbox.sealing_argv(
        bwrap=_bwrap("suspended domains"), **_code(), libraries=libraries, arguments=arguments, file_size=file_size
    )


def _origin(module: str) -> PurePosixPath:
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        raise Unavailable(f"the Python package of {module} is missing, and suspending needs it; install Bento anew")
    return PurePosixPath(found.origin)


def _bwrap(who: str) -> PurePosixPath:
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise Unavailable(f"bubblewrap is missing, and {who} do not run without it; sudo apt-get install bubblewrap")
    return PurePosixPath(bwrap)


def _code() -> dict[str, PurePosixPath]:
    """Python and Bento's package, for a box."""
    return {
        "python": PurePosixPath(os.path.realpath(sys.executable)),
        "python_home": PurePosixPath(sys.base_prefix),
        "package": PurePosixPath(bento.__file__).parent,
    }


async def _examine(places: Places) -> list[dict[str, object]]:
    findings = await doctor.examine(
        data_dir=places.data,
        cache_dir=places.cache,
        environment=dict(os.environ),
        domain_bytes=int(PROPERTIES["memory"].default) << 20,
    )
    return doctor.as_json(findings)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bento.host.manager", description=__doc__)
    parser.add_argument("--ready-fd", type=int, help="file number to write one line to: ready, or error: SENTENCE")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
