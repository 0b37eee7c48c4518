"""Run a command from Bento's tree as somebody who is not root: `as_user.py COMMAND...`.

Started as root, the command runs as the account `bento`, in an environment
made from nothing but a short list of harmless settings. Started by a person,
it runs as that person, who keeps their environment. Either way `.venv/bin`
comes first in PATH, and what the tools of the tree cache goes to the user's
own cache folder: the checkout may belong to somebody else.

The command runs in the tree. Standard library only, runs with a bare system
Python.
"""

import hashlib
import os
import pwd
import shlex
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ACCOUNT = "bento"
IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
TREE = Path(__file__).resolve().parents[1]

# Root's environment is full of root's affairs. These say how to print, how to reach the network, and what the
# person asked of Bento and its tests.
KEPT_NAMES = frozenset(
    ["TERM", "COLORTERM", "NO_COLOR", "COLUMNS", "LINES", "LANG", "LANGUAGE", "TZ", "CI", "PYTEST_ADDOPTS"]
)
KEPT_PREFIXES = ("LC_", "BENTO_", "HYPOTHESIS_")
KEPT_SUFFIX = "_proxy"


@dataclass(frozen=True, slots=True)
class User:
    """Somebody commands run as."""

    name: str
    uid: int
    gid: int
    home: Path


class NotReady(Exception):
    """The machine or the tree isn't set up; the text says what to do."""


def main(arguments: list[str]) -> int:
    if not arguments:
        print("usage: as_user.py COMMAND...", file=sys.stderr)
        return 2
    try:
        user, root = current_user(), os.geteuid() == 0
        tree = working_tree(TREE)
    except NotReady as error:
        print(f"bento: {error}", file=sys.stderr)
        return 2
    inherited = clean(os.environ, user) if root else dict(os.environ)
    environment = inherited | settings(inherited, user, tree)
    if root:
        become(user)
    os.chdir(tree)
    for number in IGNORED_BY_PYTHON:  # what is ignored stays so across exec: `| head` would not end a writer
        signal.signal(number, signal.SIG_DFL)
    try:
        cache_of(user, tree).mkdir(parents=True, exist_ok=True)
        os.execvpe(arguments[0], arguments, environment)
    except OSError as error:
        print(f"bento: cannot run {arguments[0]}: {error.strerror}", file=sys.stderr)
        return 127


def current_user() -> User:
    """Who commands run as when started now. Raises `NotReady` if that is the account and it doesn't exist."""
    try:
        entry = pwd.getpwnam(ACCOUNT) if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    except KeyError:
        raise NotReady("there is no account for this yet; run `make setup` first") from None
    home = entry.pw_dir if os.geteuid() == 0 else os.environ.get("HOME", entry.pw_dir)
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid, Path(home))


def working_tree(tree: Path) -> Path:
    """Where `tree`'s commands run: where its `.venv` is, which for an unreadable checkout is a copy (see place.py)."""
    try:
        return (tree / ".venv").resolve(strict=True).parent
    except OSError:
        raise NotReady("the tree has no .venv yet; run `make setup` first") from None


def clean(environment: Mapping[str, str], user: User) -> dict[str, str]:
    """What of root's `environment` the account gets to see, and what an account must have."""
    kept = {
        name: value
        for name, value in environment.items()
        if name in KEPT_NAMES or name.startswith(KEPT_PREFIXES) or name.lower().endswith(KEPT_SUFFIX)
    }
    own = {
        "HOME": str(user.home),
        "USER": user.name,
        "LOGNAME": user.name,
        "SHELL": "/bin/sh",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
    }
    return {"LANG": "C.UTF-8"} | kept | own | runtime_dir(user)


def runtime_dir(user: User) -> dict[str, str]:
    """XDG_RUNTIME_DIR if logind made one for `user`, else nothing: the rule by which `bento` itself steps down."""
    path = Path(f"/run/user/{user.uid}")
    return {"XDG_RUNTIME_DIR": str(path)} if path.is_dir() and path.stat().st_uid == user.uid else {}


def settings(environment: Mapping[str, str], user: User, tree: Path) -> dict[str, str]:
    """What every command of `tree` gets on top of the user's `environment`."""
    cache = cache_of(user, tree)
    pytest_options = [*shlex.split(environment.get("PYTEST_ADDOPTS", "")), "-o", f"cache_dir={cache / 'pytest'}"]
    return {
        # Debian keeps the tools that make filesystems out of an ordinary user's PATH.
        "PATH": f"{tree / '.venv/bin'}:{environment.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin",
        "MYPY_CACHE_DIR": str(cache / "mypy"),
        "RUFF_CACHE_DIR": str(cache / "ruff"),
        "COVERAGE_FILE": str(cache / "coverage"),
        "HYPOTHESIS_STORAGE_DIRECTORY": str(cache / "hypothesis"),
        "PYTEST_ADDOPTS": shlex.join(pytest_options),
        # The tree may be root's, and git refuses to look at what belongs to another unless told.
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": str(tree),
    }


def cache_of(user: User, tree: Path) -> Path:
    return user.home / ".cache/bento-dev" / hashlib.sha256(os.fsencode(tree)).hexdigest()[:12]


def become(user: User) -> None:
    """Give up root for good: saved ids go too, as all three of them are set."""
    os.umask(0o022)
    os.initgroups(user.name, user.gid)
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
