"""Make this machine and this tree ready: packages, the account, the Python environment. `make setup`.

Whatever is there already is left alone, so a second run does nothing and says
nothing. What needs root is gathered into one script, shown, and run once:
directly if we are root, else through sudo; without sudo the script is printed
for whoever has the right. Everything else is done as who we are. Standard
library only, runs with a bare system Python; nothing of `.venv` or the
account's home is run as root except what root put there itself.
"""

import fcntl
import grp
import hashlib
import json
import os
import pwd
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import place
from as_user import ACCOUNT, TREE, NotReady, current_user

sys.path.insert(0, str(TREE / "src"))
from bento.host.drivers import subids
from bento.host.drivers.machine import packages

PACKAGES = (
    *packages.REQUIRED,
    *packages.DESKTOP,
    packages.Package("xvfb", "a screen for the tests of windows"),
    packages.Package("xdotool", "keys and clicks for the tests of windows"),
)
LOCK = "requirements/lock.txt"
SUB_ID_FILES = {"--add-subuids": Path("/etc/subuid"), "--add-subgids": Path("/etc/subgid")}


def main() -> int:
    os.umask(0o022)  # root's may be tighter, and the account must be able to read what we make
    try:
        with alone(TREE):
            prepare_machine()
            prepare_tree()
    except NotReady as error:
        print(f"bento: {error}", file=sys.stderr)
        return 2
    return 0


def say(text: str) -> None:
    print(f"setup: {text}", flush=True)


@contextmanager
def alone(tree: Path) -> Iterator[None]:
    """Keep a second `make` in the same tree waiting until this one is through."""
    folder = os.open(tree, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


# --- the machine ---


def prepare_machine() -> None:
    # A fresh account has sub-ids on one Debian and none on another, so they are looked at after it was made. Whoever
    # goes through sudo exists already, and is asked once.
    account = account_commands()
    run_as_root([*package_commands(), *(account or sub_id_commands(current_user().name))])
    if account:
        run_as_root(sub_id_commands(current_user().name))


def package_commands() -> list[str]:
    try:
        missing = packages.missing_packages(PACKAGES)
    except packages.NoPackageManager as error:
        say(f"{error}; {packages.by_hand(PACKAGES)}")
        return []
    if not missing:
        return []
    for package in missing:
        say(f"{package.name} is missing: {package.reason}")
    return [
        "apt-get update --quiet || true",  # one broken source of many need not be the one we need
        "DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends"
        f" -o DPkg::Lock::Timeout=120 {packages.names(missing)}",
    ]


def account_commands() -> list[str]:
    """Started as root, everything after this runs as an account that can do nothing."""
    if os.geteuid() != 0:
        return []
    groups = {group.gr_name: group for group in grp.getgrall()}
    commands = []
    if ACCOUNT not in {entry.pw_name for entry in pwd.getpwall()}:
        group = f"--gid {ACCOUNT}" if ACCOUNT in groups else "--user-group"
        commands.append(f"useradd --create-home --shell /bin/bash {group} {ACCOUNT}")
    if "kvm" in groups and ACCOUNT not in groups["kvm"].gr_mem:
        commands.append(f"usermod --append --groups kvm {ACCOUNT}")
    return commands


def sub_id_commands(name: str) -> list[str]:
    """Ranges of user and group ids for `name` to hand out: each domain's QEMU runs under ids of its own."""
    commands = []
    for option, file in SUB_ID_FILES.items():
        text = file.read_text() if file.exists() else ""
        if has_sub_ids(text, name):
            continue
        first = subids.free(subids.parse(text))
        # usermod refuses when the file isn't there yet.
        commands += [f"touch {file}", f"usermod {option} {first}-{first + subids.NEEDED - 1} {shlex.quote(name)}"]
    return commands


def has_sub_ids(text: str, name: str) -> bool:
    return any(span.owner == name and span.count >= subids.NEEDED for span in subids.parse(text))


def run_as_root(lines: list[str]) -> None:
    """Run shell `lines` as root, all through one sudo. Raises `NotReady` with what to type if that can't be done."""
    if not lines:
        return
    for line in lines:
        say(f"as root: {line}")
    root = ["sh", "-ec", "\n".join(lines)]
    by_hand = "as root, run: " + " && ".join(lines)
    if os.geteuid() != 0:
        if shutil.which("sudo") is None:
            raise NotReady(f"this takes root once, and there is no sudo here; {by_hand}")
        root = ["sudo", *([] if sys.stdin.isatty() else ["--non-interactive"]), "--", *root]
    if subprocess.run(root, stdin=None, check=False).returncode != 0:
        raise NotReady(f"that did not work; see above, or {by_hand}")


# --- the tree ---


def prepare_tree() -> None:
    user = current_user()
    where = place.choose(TREE, user)
    if where != TREE:
        say(f"{user.name} may not read {TREE}, so commands run in a copy of it: {where}")
    try:
        make_venv(where)
        compile_sources(where)
        place.make_results_dirs(where, user)
    except PermissionError as error:
        raise NotReady(f"{error.filename} belongs to somebody else; remove it, or use a checkout of your own") from None
    if new := place.link_command(where):
        say(f"`bento` is now {new}")


def make_venv(where: Path) -> None:
    """Make `.venv` in `where` hold exactly what the lock file says. Its stamp is written last, so half is none."""
    venv, lock, launcher = where / ".venv", where / LOCK, launcher_text(where)
    facts = [lock.read_text(), launcher, sys.executable, sys.version]
    digest = hashlib.sha256("\0".join(facts).encode()).hexdigest()
    stamp = venv / "bento-stamp"
    if stamp.exists() and stamp.read_text() == digest:
        return
    say(f"installing Python packages into {venv}")
    run([sys.executable, "-m", "venv", "--clear", str(venv)])
    python = str(venv / "bin/python")
    run([python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-deps", "--require-hashes",
         "--requirement", str(lock)])  # fmt: skip  # an option beside its value
    site = next(venv.glob("lib/python3.*/site-packages"))
    (site / "bento-os.pth").write_text(f"{where / 'src'}\n")
    (venv / "bin/bento").write_text(launcher)
    (venv / "bin/bento").chmod(0o755)
    stamp.write_text(digest)


def launcher_text(where: Path) -> str:
    """The `bento` command. -I: neither the folder it is called from nor the environment chooses its modules.

    -S: it needs none of the environment's packages, and nobody waits for them to be looked for at each command.
    """
    python = shlex.quote(str(where / ".venv/bin/python"))
    program = (
        f"import sys; sys.path.append({json.dumps(str(where / 'src'))}); "
        'from bento.cli.__main__ import main; sys.argv[0] = "bento"; sys.exit(main())'
    )
    return f"""#!/bin/sh
# Written by `make setup`.
exec {python} -I -S -c {shlex.quote(program)} "$@"
"""


def compile_sources(where: Path) -> None:
    """What root keeps, the account can't write into: it would compile every module anew at each start."""
    if os.geteuid() == 0:
        run([str(where / ".venv/bin/python"), "-m", "compileall", "-qq", str(where / "src")], must_succeed=False)


def run(command: list[str], *, must_succeed: bool = True) -> None:
    # Another environment's Python settings must not leak into ours; pip's own settings must.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, check=False)
    if must_succeed and done.returncode != 0:
        raise NotReady(f"this failed, see above: {shlex.join(command)}")


if __name__ == "__main__":
    sys.exit(main())
