"""Builds a template: checks what the machine offers, runs the inside in namespaces, writes the manifest last.

The caller gives an empty directory and puts the finished one in its place; a directory without a manifest is waste.
No root is needed: the installation's users are the caller's sub-uids, and its root is the caller. The whole build is
one process namespace that dies with this process, so nobody has to clean up after a `kill -9`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bento.host.drivers.run import PACKAGES, run
from bento.host.drivers.template import flavors
from bento.host.drivers.template.flavors import Distribution, Flavor
from bento.host.drivers.template.inside import Plan
from bento.host.drivers.template.manifest import MANIFEST, File, Manifest
from bento.host.drivers.template.progress import DONE
from bento.host.drivers.template.sources import carried_settings, choose_sources, mirror_sources
from bento.host.drivers.template.tree import EPOCH
from bento.host.model.errors import Unavailable

#: Hears the phase a build is in and the fraction of the whole that is done, or None while nobody can tell.
Progress = Callable[[str, float | None], None]

#: The `bento` package of the running Bento: the guest half is installed from here.
PACKAGE = Path(__file__).parents[3]

#: Bytes a build needs while it runs: installed packages and kernel in memory, the images on disk.
MEMORY_NEEDED = 900 << 20
DISK_NEEDED = 400 << 20

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PROGRAMS = ("mmdebstrap", "unshare", "setpriv", "newuidmap")


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """`created` is seconds since 1970. `mirrors`: archive URIs to use instead of the machine's own apt sources."""

    name: str
    distribution: str
    flavor: str
    created: int
    mirrors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BuiltTemplate:
    """A finished template in the directory that the caller named."""

    directory: Path
    manifest: Manifest


async def build(request: BuildRequest, destination: Path, progress: Progress) -> BuiltTemplate:
    """Build into `destination`, a fresh directory. Takes about half a minute; cancelling it ends everything.

    Raises `Invalid` for an unknown distribution or flavor, `Unavailable` for all that the machine does not give:
    programs, sub-uids, memory, disk, sources, packages. Each is one sentence.
    """
    release, flavor = flavors.distribution(request.distribution), flavors.flavor(request.flavor)
    progress("preparing", None)
    await check_machine(release, destination)
    plan = await _plan(request, release, flavor, destination)
    work = Path(plan.work)
    work.mkdir()
    answers = _Answers(progress)
    argv = [*namespaces(), sys.executable, "-P", "-m", "bento.host.drivers.template.inside"]
    try:
        await run(argv, stdin=json.dumps(asdict(plan)).encode(), environment=_environment(), on_output=answers.hear)
    except Unavailable as failure:
        raise Unavailable(answers.problem or str(failure)) from failure
    work.rmdir()
    manifest = answers.manifest(request)
    write_manifest(destination, manifest)
    progress(*DONE)
    return BuiltTemplate(destination, manifest)


def namespaces() -> list[str]:
    """The command to put before another so that it runs as root of its own users, mounts and processes.

    All of its children die with it, and it dies with the process that starts it. Root itself has all users already.
    """
    users = [] if os.geteuid() == 0 else ["--user", "--map-auto", "--map-root-user"]
    return ["setpriv", "--pdeathsig", "KILL", "--",
            "unshare", *users, "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]  # fmt: skip


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


async def _plan(request: BuildRequest, release: Distribution, flavor: Flavor, destination: Path) -> Plan:
    if request.mirrors:
        sources = mirror_sources(request.mirrors, release)
    else:
        sources = choose_sources(_apt_files(), release)
    return Plan(
        destination=str(destination),
        work=str(destination / "work"),
        package=str(PACKAGE),
        codename=release.codename,
        keyring=release.keyring,
        sources=tuple(map(str, sources)),
        settings=tuple(carried_settings(await run(["apt-config", "dump"], environment=_environment()))),
        packages=flavor.packages,
        kernel_package=flavors.KERNEL_PACKAGE,
        own_boot=flavor.own_boot,
    )


def _apt_files() -> dict[str, str]:
    etc = Path("/etc/apt")
    found = [etc / "sources.list", *etc.glob("sources.list.d/*.list"), *etc.glob("sources.list.d/*.sources")]
    return {str(path): path.read_text(errors="replace") for path in found if path.exists()}


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

    def manifest(self, request: BuildRequest) -> Manifest:
        return Manifest(
            name=request.name,
            distribution=request.distribution,
            flavor=request.flavor,
            release=self._result["release"],
            kernel_version=self._result["kernel_version"],
            cmdline=self._result["cmdline"],
            created=request.created,
            files={name: File(**file) for name, file in self._result["files"].items()},
            packages=self._result["packages"],
        )


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """The images are on the disk by now; the manifest appears whole or not at all."""
    aside = directory / f"{MANIFEST}.new"
    with aside.open("w") as file:
        file.write(manifest.encode())
        file.flush()
        os.fsync(file.fileno())
    aside.rename(directory / MANIFEST)
    entry = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(entry)
    finally:
        os.close(entry)
