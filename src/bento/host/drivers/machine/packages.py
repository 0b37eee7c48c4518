"""The Debian packages that Bento's host side needs: the one list, a reason beside each.

The Makefile asks this module on a machine that has nothing yet, so it must run
with a bare system Python: standard library only, and nothing imported from
elsewhere in Bento.

    python3 -m bento.host.drivers.machine.packages            names of the missing packages, one a line
    python3 -m bento.host.drivers.machine.packages --command  the one command that installs them, or nothing
"""

import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass

DEADLINE_SECONDS = 20

SOME_UNKNOWN = 1
"""Exit code of a dpkg-query that has answered, but not for every name."""


@dataclass(frozen=True, slots=True)
class Package:
    """A Debian 12 package and what Bento wants it for."""

    name: str
    reason: str


REQUIRED = (
    Package("qemu-system-x86", "the hypervisor every domain runs in"),
    Package("bubblewrap", "the box around QEMU and around each broker"),
    Package("uidmap", "newuidmap and newgidmap: each domain's QEMU gets a user of its own"),
    Package("mmdebstrap", "template builds, without root"),
    Package("python3-venv", "the environment that Bento's Python dependencies live in"),
)

DESKTOP = (
    Package("libegl1", "windows: what Qt draws with"),
    Package("libxkbcommon-x11-0", "windows: the keyboard"),
    Package("libxcb-cursor0", "windows: the pointer"),
    Package("libxcb-icccm4", "windows: talk to the window manager"),
    Package("libxcb-keysyms1", "windows: the keyboard"),
    Package("libxcb-shape0", "windows: their outline"),
    Package("libdbus-1-3", "windows: the desktop's settings, such as light or dark"),
    Package("libfontconfig1", "windows: find fonts"),
    Package("fonts-dejavu-core", "windows: a font there is for certain"),
)
"""What PySide6's wheel does not bring along. Without it `bento agent --desktop` says so, and all else works."""


class NoPackageManager(Exception):
    """This system has no working dpkg-query."""


def missing_packages(wanted: tuple[Package, ...] = REQUIRED) -> tuple[Package, ...]:
    """Those of `wanted` that dpkg doesn't call installed. Raises `NoPackageManager`."""
    # It leaves out the names that it does not know.
    argv = ["dpkg-query", "--show", "--showformat=${Package}\\t${db:Status-Status}\\n", *(p.name for p in wanted)]
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoPackageManager(f"dpkg-query does not work here ({error})") from error
    if done.returncode not in (0, SOME_UNKNOWN):
        raise NoPackageManager(f"dpkg-query does not work here (it ends with {done.returncode})")
    return missing_from(done.stdout, wanted)


def missing_from(report: str, wanted: tuple[Package, ...] = REQUIRED) -> tuple[Package, ...]:
    """What of `wanted` is missing, given what dpkg-query says of them.

    A package of two architectures has two lines; one of them installed is enough.
    """
    entries = (line.partition("\t") for line in report.splitlines())
    installed = {name for name, _, status in entries if status == "installed"}
    return tuple(package for package in wanted if package.name not in installed)


def install_command(packages: Iterable[Package]) -> str:
    """The one line that installs `packages`. Without recommends: those bring QEMU's windows and sound."""
    return f"sudo apt-get install --yes --no-install-recommends {names(packages)}"


def by_hand(wanted: tuple[Package, ...] = REQUIRED) -> str:
    """What to do on a system without dpkg."""
    return f"install what Debian calls {names(wanted)}"


def names(packages: Iterable[Package]) -> str:
    return " ".join(package.name for package in packages)


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--command"]):
        print("usage: python3 -m bento.host.drivers.machine.packages [--command]", file=sys.stderr)
        return 2
    try:
        missing = missing_packages()
    except NoPackageManager as error:
        print(f"{error}; {by_hand()}", file=sys.stderr)
        return 1
    if arguments and missing:
        print(install_command(missing))
    elif not arguments:
        for package in missing:
            print(package.name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
