"""Where Bento keeps things: one pure function from the environment to paths.

It stands in `wire/` because two rooms must agree on it: the manager, which
listens there, and the command line, which connects there. `BENTO_HOME` moves
everything; otherwise the XDG base directories hold (freedesktop.org's "XDG
Base Directory Specification", 0.8).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from bento.wire.errors import WireError
from bento.wire.names import printable

MAX_SOCKET_PATH = 107
"""Longest path of a unix socket on Linux, in bytes (unix(7): sun_path is 108 with the final NUL)."""

LONGEST_SOCKET = "/domains/01234567-89ab-cdef-0123-456789abcdef/channel.sock"
"""The longest name of a socket below `Home.run`."""

SYSTEM = PurePosixPath("/etc/bento")
"""For everybody on this machine, unless `BENTO_HOME` keeps a home to itself."""


@dataclass(frozen=True, slots=True)
class Home:
    """`data` outlives reboots, `config` is the person's to edit, `run` holds sockets and dies with a reboot.

    `system` is what packages and administrators put there for everybody; Bento only reads it.
    """

    data: PurePosixPath
    config: PurePosixPath
    run: PurePosixPath
    system: PurePosixPath

    @property
    def manager_socket(self) -> PurePosixPath:
        return self.run / "manager.sock"

    @property
    def manager_log(self) -> PurePosixPath:
        return self.data / "manager.log"

    @property
    def policy(self) -> PurePosixPath:
        return self.config / "policy.d"

    @property
    def contracts(self) -> PurePosixPath:
        return self.config / "contracts"

    @property
    def policies(self) -> tuple[PurePosixPath, ...]:
        """Where policy files lie: in the first of these where a file is, it hides those of its name in the others."""
        return (self.run / "policy.d", self.policy, self.system / "policy.d")

    @property
    def services(self) -> tuple[PurePosixPath, ...]:
        """Where services of the admin domain lie, the person's first."""
        return (self.config / "qubes-rpc", self.system / "qubes-rpc")


def find_home(environment: Mapping[str, str]) -> Home:
    """The home that `environment` names; raises `WireError` where it names none that can work."""
    if home := environment.get("BENTO_HOME"):
        data = PurePosixPath(home)
        found = Home(data, data / "config", data / "run", data / "system")
        blame = "BENTO_HOME"
    else:
        base = PurePosixPath(environment.get("HOME", ""))
        data = (_absolute(environment, "XDG_DATA_HOME") or base / ".local/share") / "bento"
        config = (_absolute(environment, "XDG_CONFIG_HOME") or base / ".config") / "bento"
        runtime = _absolute(environment, "XDG_RUNTIME_DIR")
        found = Home(data, config, runtime / "bento" if runtime else data / "run", SYSTEM)
        blame = "HOME"
    if not (found.data.is_absolute() and found.config.is_absolute()):
        raise WireError(f"{blame} must be an absolute path; set it to one, such as /home/you")
    if len(bytes(found.run)) + len(LONGEST_SOCKET) > MAX_SOCKET_PATH:
        room = MAX_SOCKET_PATH - len(LONGEST_SOCKET) - len("/run")
        raise WireError(
            f"{printable(str(found.run))} is too long a path for unix sockets;"
            f" set BENTO_HOME to a folder whose path has at most {room} bytes"
        )
    return found


def _absolute(environment: Mapping[str, str], name: str) -> PurePosixPath | None:
    """A relative path in one of the XDG variables counts as none: so the specification says."""
    path = PurePosixPath(environment.get(name, ""))
    return path if path.is_absolute() else None
