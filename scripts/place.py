"""Where the tree's commands run: the checkout itself, or a copy that the account may read.

Root may keep a checkout where the account `bento` can't go (/root, a private
temporary folder). Then the tree's files are copied to a folder below `COPIES`
and everything runs there; the checkout's `.venv` becomes a link to the copy's,
which is how the other scripts find it. The copy belongs to root, so the
account can change nothing that root runs later. Standard library only, runs
with a bare system Python.

    place.py collect   brings the bench results from the copy into the checkout
    place.py clean     removes what `make setup` and the tools made for this tree
"""

import hashlib
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from as_user import TREE, NotReady, User, become, cache_of, current_user, working_tree

COPIES = Path("/var/lib/bento/trees")
ORIGIN = ".origin"
"""Ending of the file beside each copy that names the checkout it was made of."""
RESULTS = Path("bench/results")
PICTURES = Path("build/pictures")
MADE_BY_TOOLS = frozenset(
    [".git", ".venv", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", "build", "dist"]
)
COMMANDS = {True: Path("/usr/local/bin/bento"), False: Path.home() / ".local/bin/bento"}
"""Where `bento` is linked so that a shell finds it: root's, and a person's."""


def main(arguments: list[str]) -> int:
    match arguments:
        case ["collect"]:
            collect_results(TREE)
        case ["clean"]:
            clean(TREE)
        case _:
            print("usage: place.py collect|clean", file=sys.stderr)
            return 2
    return 0


def choose(tree: Path, user: User) -> Path:
    """The folder where `user` runs `tree`'s commands, brought up to date."""
    venv = tree / ".venv"
    if os.geteuid() != 0 or may_read_all(user, tree):
        if venv.is_symlink():
            venv.unlink()
        return tree
    forget_orphans(COPIES)
    place = copy_of(tree)
    place.mkdir(parents=True, exist_ok=True)
    os.chown(COPIES.parent, 0, user.gid)
    origin_of(place).write_text(f"{tree}\n")
    COPIES.parent.chmod(0o750)  # what root kept to itself is shown to the account, not to everybody
    bring_up_to_date(tree, place)
    link(venv, place / ".venv")
    return place


def copy_of(tree: Path) -> Path:
    return COPIES / f"{tree.name}-{hashlib.sha256(os.fsencode(tree)).hexdigest()[:12]}"


def origin_of(place: Path) -> Path:
    return place.with_name(place.name + ORIGIN)


def files_of(tree: Path) -> Iterator[Path]:
    """The tree's own files and links, relative to it: everything but what tools made and what benches wrote."""
    for folder, subfolders, names in os.walk(tree):
        here = Path(folder).relative_to(tree)
        links = [name for name in subfolders if (tree / here / name).is_symlink()]
        yield from sorted(here / name for name in {*names, *links} - MADE_BY_TOOLS)
        subfolders[:] = sorted(name for name in set(subfolders) - MADE_BY_TOOLS if here / name != RESULTS)


def may_read_all(user: User, tree: Path) -> bool:
    """Whether `user` can reach and read every file of `tree`: a child becomes the user and tries."""
    paths = [tree / path for path in files_of(tree)]
    child = os.fork()
    if child == 0:
        code = 1
        try:
            become(user)
            code = 0 if all(os.access(path, os.R_OK, follow_symlinks=False) for path in paths) else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def bring_up_to_date(tree: Path, place: Path) -> None:
    """Make `place` hold what `tree` holds. Unchanged files (size, time) stay, so a second run copies nothing."""
    wanted = set(files_of(tree))
    for path in set(files_of(place)) - wanted:
        (place / path).unlink()
    for path in sorted(wanted):
        copy(tree / path, place / path)


def copy(source: Path, target: Path) -> None:
    want = source.lstat()
    try:
        have = target.lstat()
        if (have.st_size, have.st_mtime_ns) == (want.st_size, want.st_mtime_ns):
            return
        remove(target)
    except FileNotFoundError:
        target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target, follow_symlinks=False)
    if not stat.S_ISLNK(want.st_mode):
        target.chmod(0o755 if want.st_mode & stat.S_IXUSR else 0o644)


def forget_orphans(copies: Path) -> None:
    """Remove the copies whose checkout is gone: temporary clones come and go."""
    for origin in copies.glob(f"*{ORIGIN}"):
        if not Path(origin.read_text().rstrip("\n")).is_dir():
            remove(origin.with_suffix(""))
            origin.unlink()


def link(path: Path, target: Path) -> None:
    """Make `path` a link to `target`, in place of whatever was there."""
    remove(path)
    path.symlink_to(target)


def remove(path: Path) -> None:
    """Remove `path` whatever it is, a link rather than what it points to, and nothing if there is nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def make_results_dirs(place: Path, user: User) -> None:
    """The folders of the tree that the user may write: what benches measured, and what tests saw."""
    for made in (RESULTS, PICTURES):
        (place / made).mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            os.chown(place / made, user.uid, user.gid)


def collect_results(tree: Path) -> None:
    """Copy bench results from the copy, if there is one, into `tree`.

    The account wrote them and root reads them: only plain files, never through a link.
    """
    place = working_tree(tree)
    if place == tree:
        return
    (tree / RESULTS).mkdir(parents=True, exist_ok=True)
    for found in (place / RESULTS).glob("*.json"):
        try:
            with open(os.open(found, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
                if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    (tree / RESULTS / found.name).write_bytes(file.read())
        except OSError as error:
            print(f"{found.name} was not collected: {error.strerror}", file=sys.stderr)


def link_command(place: Path) -> Path | None:
    """Link `bento` to where shells look, unless a `bento` is there that works. Returns the link if it is new."""
    path, command = COMMANDS[os.geteuid() == 0], place / ".venv/bin/bento"
    if path.exists() or (os.geteuid() == 0 and place.stat().st_uid != 0):  # root runs nothing that a person can change
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    link(path, command)
    return path


def clean(tree: Path) -> None:
    """Remove what `make setup` and the tools made for `tree`. Packages, the account and domains stay."""
    command, venv, copy = COMMANDS[os.geteuid() == 0], tree / ".venv", copy_of(tree)
    cache = cache_of(current_user(), venv.resolve().parent)
    if command.is_symlink() and command.readlink() == venv.resolve() / "bin/bento":
        command.unlink()
    for made in (cache, copy, origin_of(copy), venv, tree / RESULTS, tree / PICTURES, *tree.rglob("__pycache__")):
        remove(made)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except NotReady as error:
        sys.exit(f"bento: {error}")
