"""Started as root, `bento` becomes an ordinary account before it does anything else: the manager never runs as root.

`as_account` says, purely, what the account's environment is; `become_ordinary`
does the three system calls in the only order that gives everything up.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from bento.cli.exits import Code, Failed

ACCOUNT = "bento"


def become_ordinary() -> None:
    """Drop to the account if this is root; `Failed` if there is none, or if it could not run Bento's own program."""
    if os.geteuid() != 0:
        return
    import pwd

    try:
        account = pwd.getpwnam(ACCOUNT)
    except KeyError:
        raise Failed(
            f"Bento does not run as root; run it as an ordinary user, or make the account {ACCOUNT} "
            f"(useradd --create-home {ACCOUNT}) and it runs as that",
            Code.BAD_INPUT,
        ) from None
    if account.pw_uid == 0:
        raise Failed(f"Bento does not run as root, and the account {ACCOUNT} is root", Code.BAD_INPUT)
    os.initgroups(ACCOUNT, account.pw_gid)  # first: it needs root, and root's groups go with it
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    environment = as_account(
        os.environ, account.pw_name, account.pw_dir, runtime=_own_directory(f"/run/user/{account.pw_uid}")
    )
    os.environ.clear()
    os.environ.update(environment)
    source = Path(__file__).parent
    if not os.access(source / "__main__.py", os.R_OK):
        raise Failed(
            f"the account {ACCOUNT} cannot read Bento's program in {source}; install it where everybody may read",
            Code.BAD_INPUT,
        )


def as_account(environment: Mapping[str, str], name: str, home: str, *, runtime: str | None) -> dict[str, str]:
    """`environment` without what belongs to the person who was root: its home, its XDG directories, its session."""
    kept = {
        key: value
        for key, value in environment.items()
        if not key.startswith("XDG_") and key != "DBUS_SESSION_BUS_ADDRESS"
    }
    kept |= {"HOME": home, "USER": name, "LOGNAME": name}
    if runtime:
        kept["XDG_RUNTIME_DIR"] = runtime
    return kept


def _own_directory(path: str) -> str | None:
    """`path` if it is a directory of this account (it is after login, or if the account lingers)."""
    try:
        return path if os.stat(path).st_uid == os.geteuid() else None
    except OSError:
        return None
