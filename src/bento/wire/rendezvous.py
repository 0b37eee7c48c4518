"""Where the command line meets the manager: the path of its socket, in plain strings.

`home.py` says where everything lies; a test holds that both say the same of this. Imports nothing.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

SURELY_SHORT = 40
"""Characters of a directory below which no socket's path can be too long."""


def manager_socket(environment: "Mapping[str, str]") -> str | None:
    """The socket that `environment` names; None where that takes a closer look."""
    if home := environment.get("BENTO_HOME"):
        run = f"{home}/run"
    elif (runtime := environment.get("XDG_RUNTIME_DIR", "")).startswith("/"):
        run = f"{runtime}/bento"
    elif (data := environment.get("XDG_DATA_HOME", "")).startswith("/"):
        run = f"{data}/bento/run"
    else:
        run = f"{environment.get('HOME', '')}/.local/share/bento/run"
    plain = run.startswith("/") and len(run) <= SURELY_SHORT
    return f"{run}/manager.sock" if plain and (home or environment.get("HOME", "").startswith("/")) else None
