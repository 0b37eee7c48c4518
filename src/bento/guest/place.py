"""Where the agent runs: a domain of its own, or, in loopback mode, a directory on any machine.

The two differ in paths, in whom services run as, and in what an identity and a shutdown do. All else is shared.
Plain classes on purpose: this is loaded while a domain starts, and `dataclasses` alone costs more than all of it.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable

from bento.wire.boot import PRIVATE_LATER, SEED
from bento.wire.rpc import Identity

DEFAULT_USER = "user"
"""Runs what the caller did not ask another account for (the field's name)."""

SERVICES = ("/run/qubes-rpc", "/usr/local/etc/qubes-rpc", "/etc/qubes-rpc")
SETTINGS = ("/run/qubes/rpc-config", "/usr/local/etc/qubes/rpc-config", "/etc/qubes/rpc-config")
"""Where the field's agent looks, and in this order: what a program puts up for this run, the person, the template."""

RUN = "/run/bento"

PRIVATE_AWAITED = "private-device"
"""In `Place.run`, of a machine whose private volume is not mounted yet (`boot/take-private`); never of a rehearsal."""

TAKE_PRIVATE = "/usr/lib/bento/take-private"

ACCOUNTS = ("/etc/passwd", "/etc/group", "/etc/nsswitch.conf")
"""What says who an account is, in a domain that asks no server for it."""

OOM = "/proc/self/oom_score_adj"
OOM_SPARED = b"-1000"
OOM_USUAL = b"0"
"""Programs in a domain may use up its memory; the agent is the last to suffer (proc(5))."""

PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"
PATH_OF_ROOT = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Account:
    """Whom a service runs as."""

    __slots__ = ("gid", "groups", "home", "name", "shell", "uid")

    def __init__(self, name: str, uid: int, gid: int, groups: list[int] | None, home: str, shell: str) -> None:
        self.name = name
        self.uid = uid
        self.gid = gid
        self.groups = groups
        """All groups to be set; None: this process is that account already and could not change."""
        self.home = home
        self.shell = shell

    def environment(self) -> dict[str, str]:
        """What a login gives: nothing of the agent's own environment goes on to services."""
        return {
            "HOME": self.home,
            "USER": self.name,
            "LOGNAME": self.name,
            "SHELL": self.shell,
            "PATH": PATH if self.uid else PATH_OF_ROOT,
            "LANG": "C.UTF-8",
        }


class Place(ABC):
    services: tuple[str, ...]
    """Directories of services, the first that has one wins."""
    settings: tuple[str, ...]
    """Directories of files that say how a service is served, likewise."""
    run: str
    """The directory of what lasts as long as the machine runs."""

    @property
    def socket(self) -> str:
        """Where local programs ask for calls."""
        return f"{self.run}/agent.sock"

    @property
    def session(self) -> str:
        """The file that says that this machine has a graphical session; locked while that is not there yet."""
        return f"{self.run}/session"

    @property
    def started(self) -> str:
        """A file that says that an agent has run here before: whoever finds it follows one that crashed."""
        return f"{self.run}/agent.started"

    @abstractmethod
    def account(self, name: str) -> Account:
        """The account of that name, empty: the default one. `KeyError` if there is none."""

    @abstractmethod
    def adopt(self, identity: Identity) -> None:
        """Become that domain."""

    @abstractmethod
    def settle(self, identity: Identity) -> None:
        """What has time until the host was told that it is that domain."""

    @abstractmethod
    def power_off(self) -> None:
        """End the machine, or what stands for it here."""


class Domain(Place):
    services: tuple[str, ...] = SERVICES
    settings: tuple[str, ...] = SETTINGS

    def __init__(self, run: str = RUN) -> None:
        self.run = run
        with open("/proc/cmdline") as file:
            told = file.read().split()
        self.is_seed = SEED in told
        """Whether this machine is to be saved before it is anybody, or was, and went on from there."""
        self.private_later = PRIVATE_LATER in told
        self._default: tuple[list[tuple[int, int, int] | None], Account] | None = None

    def account(self, name: str) -> Account:
        if name not in ("", DEFAULT_USER):
            return _look_up(name)
        # Kept as long as these files are the same: looking it up is a good part of a forked machine's first call.
        files = [_state(path) for path in ACCOUNTS]
        if self._default is None or self._default[0] != files:
            self._default = files, _look_up(DEFAULT_USER)
        return self._default[1]

    def adopt(self, identity: Identity) -> None:
        from bento.guest.identity import adopt

        adopt(identity, self.run)
        if os.path.exists(f"{self.run}/{PRIVATE_AWAITED}"):
            self.mind_private()

    def settle(self, identity: Identity) -> None:
        from bento.guest.identity import settle

        settle(identity.name, in_place=self.is_seed)

    def mind_private(self, *words: str) -> None:
        """Mount the volume that is the domain's own, or, in a seed, `let-go` of the one that is not."""
        pid = os.posix_spawn(TAKE_PRIVATE, [TAKE_PRIVATE, *words], os.environ)
        if os.waitpid(pid, 0)[1] != 0:
            raise OSError(f"{TAKE_PRIVATE} failed")

    def power_off(self) -> None:
        os.execv("/usr/lib/bento/poweroff", ["poweroff"])


def _look_up(name: str) -> Account:
    from pwd import getpwnam

    entry = getpwnam(name)
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, groups, entry.pw_dir, entry.pw_shell or "/bin/sh")


def _state(path: str) -> tuple[int, int, int] | None:
    """Another one whenever the file is another; None if there is none."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


class Loopback(Place):
    """A directory stands for `/`. Whoever asks for whom, services run as the user who started the agent."""

    def __init__(self, root: str, stop: Callable[[], None]) -> None:
        self.services = tuple(root + directory for directory in SERVICES)
        self.settings = tuple(root + directory for directory in SETTINGS)
        self.run = root + RUN
        self._home = f"{root}/home"
        self._stop = stop
        os.makedirs(self._home, exist_ok=True)

    def account(self, name: str) -> Account:
        return Account(name or DEFAULT_USER, os.getuid(), os.getgid(), None, self._home, "/bin/sh")

    def adopt(self, identity: Identity) -> None:
        pass

    def settle(self, identity: Identity) -> None:
        pass

    def power_off(self) -> None:
        self._stop()
