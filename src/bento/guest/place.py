"""Where the agent runs: a domain of its own, or, in loopback mode, a directory on any machine.

The two differ in paths, in whom services run as, and in what an identity and a shutdown do. All else is shared.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

from bento.wire.rpc import Identity

DEFAULT_USER = "user"
"""Runs what the caller did not ask another account for (the field's name)."""

PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"
PATH_OF_ROOT = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Account:
    name: str
    uid: int
    gid: int
    groups: tuple[int, ...] | None
    """All groups to be set; None: this process is that account already and could not change."""
    home: str
    shell: str

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


@dataclass(frozen=True, slots=True)
class Place:
    services: tuple[str, ...]
    """Directories of services, the first that has one wins."""
    run: str
    """The directory of what lasts as long as the machine runs."""
    account: Callable[[str], Account]
    """The account of that name, empty: the default one. `KeyError` if there is none."""
    adopt: Callable[[Identity], None]
    power_off: Callable[[], None]

    @property
    def socket(self) -> str:
        """Where local programs ask for calls."""
        return f"{self.run}/agent.sock"

    @property
    def started(self) -> str:
        """A file that says that an agent has run here before: whoever finds it follows one that crashed."""
        return f"{self.run}/agent.started"


def domain_account(name: str) -> Account:
    from pwd import getpwnam

    entry = getpwnam(name or DEFAULT_USER)
    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, groups, entry.pw_dir, entry.pw_shell or "/bin/sh")


def loopback_account(home: str) -> Callable[[str], Account]:
    """Whoever asks for whom, services run as the user who started the agent."""

    def account(name: str) -> Account:
        return Account(name or DEFAULT_USER, os.getuid(), os.getgid(), None, home, "/bin/sh")

    return account
