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

MAX_SOCKET_PATH = 107
"""Longest path of a unix socket on Linux, in bytes (unix(7): sun_path is 108 with the final NUL)."""


@dataclass(frozen=True, slots=True)
class Home:
    """`data` outlives reboots, `config` is the person's to edit, `run` holds sockets and dies with a reboot."""

    data: PurePosixPath
    config: PurePosixPath
    run: PurePosixPath

    @property
    def manager_socket(self) -> PurePosixPath:
        return self.run / "manager.sock"

    @property
    def manager_log(self) -> PurePosixPath:
        return self.data / "manager.log"

    @property
    def policy(self) -> PurePosixPath:
        return self.config / "policy.d"


def find_home(environment: Mapping[str, str]) -> Home:
    """The home that `environment` names; raises `WireError` where it names none that can work."""
    if home := environment.get("BENTO_HOME"):
        data = PurePosixPath(home)
        found = Home(data, data / "config", data / "run")
        blame = "BENTO_HOME"
    else:
        base = environment.get("HOME", "")
        data = PurePosixPath(environment.get("XDG_DATA_HOME") or f"{base}/.local/share") / "bento"
        config = PurePosixPath(environment.get("XDG_CONFIG_HOME") or f"{base}/.config") / "bento"
        runtime = environment.get("XDG_RUNTIME_DIR")
        found = Home(data, config, PurePosixPath(runtime) / "bento" if runtime else data / "run")
        blame = "HOME"
    if not (found.data.is_absolute() and found.config.is_absolute() and found.run.is_absolute()):
        raise WireError(f"{blame} must be an absolute path; set it to one, such as /home/you")
    # The longest socket below `run` is domains/<uuid>/channel.sock.
    if len(bytes(found.run / "domains" / ("u" * 36) / "channel.sock")) > MAX_SOCKET_PATH:
        raise WireError(f"{blame} is too long a path for unix sockets; choose one of at most 40 characters")
    return found
