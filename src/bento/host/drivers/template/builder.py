"""Builds a template: checks what the machine offers, runs the inside in namespaces, writes the manifest last.

The caller gives an empty directory and puts the finished one in its place; a directory without a manifest is waste.
No root is needed: the installation's users are the caller's sub-uids, and its root is the caller. The whole build is
one process namespace that dies with this process, so nobody has to clean up after a `kill -9`.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bento.host.disk.durable import sync
from bento.host.drivers.run import PACKAGES, run
from bento.host.drivers.template.flavors import DISTRIBUTIONS, FLAVORS, KERNEL_PACKAGE, Distribution, Flavor
from bento.host.drivers.template.inside import Plan, seal
from bento.host.drivers.template.manifest import MANIFEST, ROOT_IMAGE, File, Manifest, decode_manifest
from bento.host.drivers.template.progress import DONE
from bento.host.drivers.template.sources import Source, carried_settings, choose_sources
from bento.host.drivers.template.tree import EPOCH
from bento.host.model.errors import Unavailable
from bento.host.ports.templates import Built, Progress

#: The `bento` package of the running Bento: the guest half is installed from here.
PACKAGE = Path(__file__).parents[3]

#: Bytes a build needs while it runs: installed packages and kernel in memory, the images on disk.
MEMORY_NEEDED = 900 << 20
DISK_NEEDED = 400 << 20

_APT = Path("/etc/apt")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PROGRAMS = ("mmdebstrap", "unshare", "setpriv", "newuidmap")


class DebianBuilder:
    """The template builder port, over mmdebstrap.

    `config`: directory where a person may name other sources than the machine's own, in a file DISTRIBUTION.list or
    DISTRIBUTION.sources. `clock`: seconds since 1970.
    """

    def __init__(self, config: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        self._config = config
        self._clock = clock

    def distributions(self) -> dict[str, tuple[str, ...]]:
        own = tuple(flavor.name for flavor in FLAVORS.values() if flavor.own_boot)
        return dict.fromkeys(DISTRIBUTIONS, own)

    async def build(self, distribution: str, flavor: str, directory: Path, progress: Progress) -> Built:
        """Build into `directory`, which is empty. Takes about half a minute; cancelling it ends everything.

        Raises `Unavailable` for all that the machine does not give: programs, sub-uids, memory, disk, sources,
        packages. Each is one sentence.
        """
        release, made = DISTRIBUTIONS[distribution], FLAVORS[flavor]
        progress("preparing", None)
        await check_machine(release, directory)
        plan = await self._plan(release, made, directory)
        answers = _Answers(progress)
        argv = [*namespaces(), sys.executable, "-P", "-m", "bento.host.drivers.template.inside"]
        try:
            Path(plan.work).mkdir()
            await run(argv, stdin=json.dumps(asdict(plan)).encode(), environment=_environment(), on_output=answers.hear)
            Path(plan.work).rmdir()
            manifest = answers.manifest(distribution, flavor, int(self._clock()))
            write_manifest(directory, manifest)
        except Unavailable as failure:
            raise Unavailable(answers.problem or str(failure)) from failure
        except OSError as error:
            raise _not_written(error) from error
        progress(*DONE)
        return _built(manifest)

    async def derive(self, old: Path, directory: Path) -> Built:
        """Complete `directory` around a new root image: the other files are `old`'s own, under a second name."""
        try:
            manifest = decode_manifest((old / MANIFEST).read_text())
            for name in manifest.files:
                if name != ROOT_IMAGE:
                    os.link(old / name, directory / name)
            root = await asyncio.to_thread(seal, directory / ROOT_IMAGE)
            derived = replace(manifest, created=int(self._clock()), files={**manifest.files, ROOT_IMAGE: root})
            write_manifest(directory, derived)
        except OSError as error:
            raise _not_written(error) from error
        return _built(derived)

    async def _plan(self, release: Distribution, flavor: Flavor, directory: Path) -> Plan:
        return Plan(
            destination=str(directory),
            work=str(directory / "work"),
            package=str(PACKAGE),
            codename=release.codename,
            keyring=release.keyring,
            sources=tuple(map(str, self._sources(release))),
            settings=tuple(carried_settings(await run(["apt-config", "dump"], environment=_environment()))),
            packages=flavor.packages,
            kernel_package=KERNEL_PACKAGE,
            own_boot=flavor.own_boot,
        )

    def _sources(self, release: Distribution) -> list[Source]:
        if self._config and (named := _read(self._config.glob(f"{release.name}.*"))):
            return choose_sources(named, release, named=True)
        try:
            return choose_sources(_read((_APT / "sources.list", *_APT.glob("sources.list.d/*"))), release)
        except Unavailable as lacking:
            if not self._config:
                raise
            file = self._config / f"{release.name}.list"
            line = f"deb ADDRESS-OF-A-MIRROR {release.codename} main"
            raise Unavailable(f"{lacking}; name one in {file}, by a line like: {line}") from lacking


def _built(manifest: Manifest) -> Built:
    return Built(manifest.digest, manifest.size, len(manifest.packages))


def _not_written(error: OSError) -> Unavailable:
    return Unavailable(f"the template cannot be written: {error.strerror}; is the disk full?")


def namespaces() -> list[str]:
    """The command to put before another so that it runs as root of its own users, mounts and processes.

    All of its children die with it, and it dies with the process that starts it. Root itself has all users already.
    """
    users = [] if os.geteuid() == 0 else ["--user", "--map-auto", "--map-root-user"]
    return [
        "setpriv", "--pdeathsig", "KILL", "--",
        "unshare", *users, "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc",
    ]  # fmt: skip  # two command lines, one a line


async def check_machine(release: Distribution, destination: Path) -> None:
    """Raises `Unavailable` for the first thing that a build would miss, before it has done any work."""
    for program in _PROGRAMS:
        if not shutil.which(program, path=_PATH):
            package = PACKAGES.get(program, program)
            raise Unavailable(f"the program {program} is missing; install it with: apt-get install {package}")
    if not Path(release.keyring).exists():
        raise Unavailable(
            f"the keyring of {release.name} is missing; install it with: apt-get install {release.keyring_package}"
        )
    _check_space(destination)
    try:
        await run([*namespaces(), "true"], environment=_environment())
    except Unavailable as failure:
        raise Unavailable(
            "this account cannot make user namespaces with sub-uids, which building without root needs: an "
            f"administrator gives it some with usermod --add-subuids and --add-subgids ({failure})"
        ) from failure


def _check_space(destination: Path) -> None:
    disk = os.statvfs(destination)
    free = disk.f_bavail * disk.f_frsize
    if free < DISK_NEEDED:
        raise Unavailable(
            f"the disk of {destination} has {free >> 20} MiB left and a build needs {DISK_NEEDED >> 20}; free some"
        )
    match = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    if match and int(match[1]) << 10 < MEMORY_NEEDED:
        raise Unavailable(
            f"this machine has {int(match[1]) >> 10} MiB of memory free and a build needs {MEMORY_NEEDED >> 20}; "
            "shut some domains down"
        )


def _read(files: Iterable[Path]) -> dict[str, str]:
    """Name -> text of those that apt would read too."""
    wanted = (file for file in files if file.suffix in (".list", ".sources") and file.is_file())
    return {str(file): file.read_text(errors="replace") for file in wanted}


def _environment() -> dict[str, str]:
    """What the build sees of this process's environment: the way to the network, and nothing that could show in it."""
    carried = {
        name: value
        for name, value in os.environ.items()
        if name.lower().endswith("_proxy") or name in ("SSL_CERT_FILE", "SSL_CERT_DIR")
    }
    return carried | {
        "PATH": _PATH,
        "LC_ALL": "C.UTF-8",
        "HOME": "/nonexistent",
        "DEBIAN_FRONTEND": "noninteractive",
        "SOURCE_DATE_EPOCH": str(EPOCH),
        "PYTHONHASHSEED": "0",  # the order of sets shows in compiled modules
        "PYTHONPATH": str(PACKAGE.parent),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


class _Answers:
    """What the inside has said so far."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._result: dict[str, Any] = {}
        self.problem = ""

    def hear(self, line: str) -> None:
        match json.loads(line):
            case {"progress": [str(phase), float(fraction)]}:
                self._progress(phase, fraction)
            case {"problem": str(problem)}:
                self.problem = problem
            case {"result": dict(result)}:
                self._result = result

    def manifest(self, distribution: str, flavor: str, created: int) -> Manifest:
        return Manifest(
            distribution=distribution,
            flavor=flavor,
            release=self._result["release"],
            kernel_version=self._result["kernel_version"],
            cmdline=self._result["cmdline"],
            created=created,
            files={name: File(**file) for name, file in self._result["files"].items()},
            packages=self._result["packages"],
        )


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write it last: the images are on the disk by now; the manifest appears whole or not at all."""
    aside = directory / f"{MANIFEST}.new"
    with aside.open("w") as file:
        file.write(manifest.encode())
        file.flush()
        os.fsync(file.fileno())
    aside.rename(directory / MANIFEST)
    sync(directory)
