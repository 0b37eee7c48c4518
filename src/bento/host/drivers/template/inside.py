"""The part of a build that runs in namespaces of its own, as their root: `python3 -m ...inside`, a plan on stdin.

Everything unfinished lives on a tmpfs in this process's own mount namespace and every child in its own process
namespace, so that when this process dies, however it dies, the kernel takes all of it away at once. Only the finished
images are written to disk. What it says goes to stdout as JSON, one object a line: `progress`, then `result` or
`problem`. It runs the distribution's own installation scripts and no byte that a guest wrote.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bento.host.drivers.template import tree as root
from bento.host.drivers.template.initrd import build_initrd
from bento.host.drivers.template.manifest import CMDLINE, ROOT_IMAGE, STOCK_CMDLINE, File
from bento.host.drivers.template.progress import ARRANGING, PACKING, Meter
from bento.host.model.errors import Unavailable

#: No manual pages, documents (their licences stay) nor translations: a third of the installed size.
_LEFT_OUT = (
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/locale/*",
)

_APT_SETTINGS = ('Acquire::Languages "none";', 'APT::Install-Recommends "false";')

# Unpacked beside the root and not into it: the kernel and its modules are the host's to give, and without the package
# no initramfs tools come along. The package that is asked for depends on the one of the current version.
_FETCH_KERNEL = """set -e
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
mkdir "$0"; cd "$0"
version=$(apt-cache depends "{package}" | sed -n 's/^ *Depends: \\(linux-image-[0-9].*\\)/\\1/p' | head -n 1)
apt-get -q -o APT::Sandbox::User=root download "$version"
"""

# Any fixed numbers do. They name a file system, and two images of one build are never mounted under the same name.
_ROOT_UUID = "be470000-0000-4000-8000-000000000001"
_MODULES_UUID = "be470000-0000-4000-8000-000000000002"


#: Bytes left below which a failure is put down to a full disk.
_FULL = 4 << 20


@dataclass(frozen=True, slots=True)
class Plan:
    """All that the inside needs to know; paths are the host's. `work` is an empty directory to put the tmpfs on."""

    destination: str
    work: str
    package: str
    codename: str
    keyring: str
    sources: tuple[str, ...]
    settings: tuple[str, ...]
    packages: tuple[str, ...]
    kernel_package: str
    own_boot: bool


@dataclass(frozen=True, slots=True)
class Result:
    """What the finished images consist of."""

    release: str
    kernel_version: str
    cmdline: str
    files: Mapping[str, File]
    packages: Mapping[str, str]


def main() -> int:
    os.umask(0o022)  # the caller's own would show in the image
    plan = Plan(**json.load(sys.stdin))
    for name in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE"):  # this process's own, and no business of the installation
        os.environ.pop(name, None)
    try:
        _say({"result": asdict(make(plan))})
    except Unavailable as problem:
        _say({"problem": str(problem)})
        return 1
    except OSError as error:
        _say({"problem": _explain(error, plan)})
        return 1
    return 0


def make(plan: Plan) -> Result:
    """Install, arrange and pack. Leaves the finished images, each synced to disk, in the destination."""
    work = Path(plan.work)
    _call("mount", "-t", "tmpfs", "-o", "mode=755", "bento-build", plan.work)
    tree, kernel = work / "root", work / "kernel"
    _install(plan, tree, kernel)
    _progress(*ARRANGING)
    destination = Path(plan.destination)
    if plan.own_boot:
        version, packages = _take_kernel(tree, kernel, destination)
    else:
        version, packages = _take_stock_kernel(tree, destination), {}
    release = (tree / "etc/debian_version").read_text().strip()
    packages |= _installed_packages(tree)
    dress(tree, Path(plan.package))
    if not plan.own_boot:
        root.add_stock_start(tree)
    _progress(*PACKING)
    modules = tree / "usr/lib/modules"
    if plan.own_boot:
        boot = Path(plan.package) / "guest/boot"
        initrd = build_initrd(
            modules / version,
            (tree / "usr/bin/busybox").read_bytes(),
            (boot / "initrd-init").read_bytes(),
            (boot / "private").read_bytes(),
        )
        (destination / "initrd").write_bytes(initrd)
        (work / "modules").mkdir()
        shutil.move(modules / version, work / "modules" / version)
        pack(tree, work / "modules", destination / "modules.erofs", _MODULES_UUID, "-zlz4hc")
    # Not compressed: a domain under emulation pays for unpacking with each page, and domains share the host's cache.
    pack(tree, tree, destination / ROOT_IMAGE, _ROOT_UUID)
    files = {path.name: seal(path) for path in sorted(destination.iterdir()) if path.is_file()}
    cmdline = CMDLINE if plan.own_boot else f"{CMDLINE} {STOCK_CMDLINE}"
    return Result(release, version, cmdline, files, packages)


def dress(tree: Path, package: Path) -> None:
    """Make an installed distribution a domain's root; `package` is the directory of the running `bento` package."""
    root.clean(tree)
    root.add_user(tree)
    root.add_places(tree)
    root.add_guest_half(tree, package)
    chroot(tree, "python3", "-m", "compileall", "-q", f"/{root.HOME}/bento")
    root.settle_python_caches(tree / "usr")


def pack(tools: Path, directory: Path, image: Path, uuid: str, *options: str) -> None:
    """Make an erofs `image` of `directory` with the mkfs.erofs that `tools`, an installed root, brings along.

    Its own and not the host's, so that the image's bytes depend on the packages alone.
    """
    box = directory.parent / "box"
    box.mkdir()
    # Each bind mount shows one directory without what is mounted below it, so the image never contains itself.
    _call("mount", "--bind", str(tools), str(box))
    _call("mount", "--bind", str(directory), str(box / "mnt"))
    _call("mount", "--bind", str(image.parent), str(box / "srv"))
    try:
        chroot(box, "mkfs.erofs", "--quiet", f"-T{root.EPOCH}", f"-U{uuid}", *options, f"/srv/{image.name}", "/mnt")
    except Unavailable:
        _raise_if_full(image.parent)
        raise
    finally:
        _call("umount", "--recursive", str(box))
        box.rmdir()


def chroot(tree: Path, *argv: str) -> str:
    return _call("chroot", str(tree), *argv)


def _install(plan: Plan, tree: Path, kernel: Path) -> None:
    work = tree.parent
    (work / "tmp").mkdir()
    settings = work / "apt.conf"
    settings.write_text("\n".join((*plan.settings, *_APT_SETTINGS)) + "\n")
    argv = [
        "mmdebstrap", "--mode=root", "--format=directory", "--variant=minbase", "--verbose",
        # sysfs may be mounted only by the owner of the network namespace; no script of these packages asks for it.
        "--skip=check/empty,chroot/mount/sys", "--hook-dir=/usr/share/mmdebstrap/hooks/maybe-merged-usr",
        f"--include={','.join(plan.packages)}", f"--keyring={plan.keyring}", f"--aptopt={settings}",
        *(f"--dpkgopt={option}" for option in _LEFT_OUT),
    ]  # fmt: skip  # options of one kind a line
    if plan.own_boot:
        script = _FETCH_KERNEL.format(package=plan.kernel_package)
        argv.append(f"--customize-hook=sh -c {shlex.quote(script)} {shlex.quote(str(kernel))}")
    else:
        files = shlex.quote(f"{plan.package}/guest/boot/stock")
        argv.append(f'--essential-hook=cp -R {files}/. "$1"')
    argv += [plan.codename, str(tree), *plan.sources]
    meter, complaints = Meter(), deque[str](maxlen=3)
    os.environ["TMPDIR"] = str(work / "tmp")
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", file=sys.stderr)
            if line.startswith(("E: ", "dpkg: error")):
                complaints.append(line.removeprefix("E: ").strip())
            if news := meter.read(line):
                _progress(*news)
    if process.returncode:
        _raise_if_full(work)
        # The first complaint is the cause; mmdebstrap's own, which follow, only say that there was one.
        cause = complaints[0] if complaints else f"mmdebstrap ended with {process.returncode}"
        raise Unavailable(f"the packages could not be installed: {cause}")


def _take_kernel(tree: Path, kernel: Path, destination: Path) -> tuple[str, dict[str, str]]:
    """Unpack the fetched kernel: the image to `destination`, its modules, indexed, into `tree`."""
    (package,) = kernel.glob("*.deb")
    _call("dpkg-deb", "--extract", str(package), str(kernel / "files"))
    (modules,) = (kernel / "files/lib/modules").iterdir()
    version = modules.name
    shutil.copyfile(kernel / f"files/boot/vmlinuz-{version}", destination / "kernel")
    shutil.move(modules, tree / "usr/lib/modules" / version)
    chroot(tree, "depmod", version)
    name, package_version = _call("dpkg-deb", "--show", "--showformat=${Package} ${Version}", str(package)).split()
    return version, {name: package_version}


def _take_stock_kernel(tree: Path, destination: Path) -> str:
    (image,) = (tree / "boot").glob("vmlinuz-*")
    version = image.name.removeprefix("vmlinuz-")
    shutil.copyfile(image, destination / "kernel")
    shutil.copyfile(tree / f"boot/initrd.img-{version}", destination / "initrd")
    return version


def _installed_packages(tree: Path) -> dict[str, str]:
    report = chroot(tree, "dpkg-query", "--show", "--showformat=${Package} ${Version}\n")
    return dict(line.split() for line in report.splitlines())


def seal(path: Path) -> File:
    """Digest and sync: what the manifest will promise is on the disk before it is promised."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    path.chmod(0o444)  # also for its owner, who a QEMU may be that has it open to read
    return File(digest, path.stat().st_size)


def _call(*argv: str) -> str:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        words = "; ".join((done.stdout + done.stderr).strip().splitlines()[-2:])
        raise Unavailable(f"{shlex.join(argv)} failed with exit code {done.returncode}: {words or 'it said nothing'}")
    return done.stdout


def _raise_if_full(directory: Path) -> None:
    """Programs report a full disk in many words; the disk itself reports it in one number."""
    left = os.statvfs(directory)
    if left.f_bavail * left.f_frsize < _FULL:
        raise OSError(errno.ENOSPC, "no space left", str(directory))


def _explain(error: OSError, plan: Plan) -> str:
    if error.errno == errno.ENOSPC:
        in_memory = str(error.filename).startswith(plan.work)
        where = "the machine's memory" if in_memory else f"the disk of {plan.destination}"
        return f"{where} is too full to build a template in; free some and build again"
    return f"the build failed: {error}"


def _progress(phase: str, fraction: float) -> None:
    _say({"progress": [phase, fraction]})


def _say(message: dict[str, Any]) -> None:
    """To the caller, at once. If it is gone this raises BrokenPipeError and ends the build."""
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    sys.exit(main())
