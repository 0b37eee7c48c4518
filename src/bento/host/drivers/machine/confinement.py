"""Findings about what the kernel lets an ordinary user confine: namespaces, sub-uids, bubblewrap, seccomp."""

import os
import pwd
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shutil import which

from bento.host.drivers import subids
from bento.host.drivers.machine.findings import Finding, Status
from bento.host.drivers.machine.packages import REQUIRED, install_command
from bento.host.drivers.machine.trial import Trial, attempt

# The switches that turn user namespaces off, by what they are when they do.
KNOBS = {
    "user.max_user_namespaces": "0",
    "kernel.unprivileged_userns_clone": "0",
    "kernel.apparmor_restrict_unprivileged_userns": "1",
}


async def try_user_namespaces() -> Trial:
    return await attempt(["unshare", "--user", "--map-root-user", "true"])


def read_knobs(proc_sys: Path = Path("/proc/sys")) -> Mapping[str, str]:
    """Those of `KNOBS` that this kernel has, with their values."""
    values = {}
    for name in KNOBS:
        try:
            values[name] = (proc_sys / name.replace(".", "/")).read_text().strip()
        except OSError:
            continue
    return values


def interpret_user_namespaces(trial: Trial, knobs: Mapping[str, str]) -> Finding:
    closed = next((name for name, off in KNOBS.items() if knobs.get(name) == off), None)
    value = {"usable": trial.worked, "switch": None if trial.worked else closed}
    if trial.worked:
        sentence = "User namespaces work: templates are built and QEMU is boxed in without root."
        return Finding("user-namespaces", Status.OK, value, sentence)
    follows = "without them templates cannot be built, nor QEMU be boxed in, by an ordinary user."
    match closed:
        case None:
            sentence = f"User namespaces do not work ({trial.words}); {follows}"
            return Finding("user-namespaces", Status.MISSING, value, sentence)
        case "kernel.apparmor_restrict_unprivileged_userns":
            sentence = f"AppArmor forbids user namespaces to ordinary programs, as Ubuntu sets it up; {follows}"
            remedy = f"sudo sysctl --write {closed}=0"
        case "user.max_user_namespaces":
            sentence, remedy = f"The limit of user namespaces is 0; {follows}", f"sudo sysctl --write {closed}=15000"
        case _:
            sentence = f"User namespaces are switched off for ordinary users; {follows}"
            remedy = f"sudo sysctl --write {closed}=1"
    return Finding("user-namespaces", Status.MISSING, value, sentence, f"{remedy}   (and in /etc/sysctl.d to keep it)")


@dataclass(frozen=True, slots=True)
class SubIds:
    """How many sub-uids and sub-gids `account` has, and whether each mapping program is there with its privilege.

    `free` is the first id of a span that nobody has yet.
    """

    account: str
    uids: int
    gids: int
    free: int
    newuidmap: bool
    newgidmap: bool


def read_sub_ids(etc: Path = Path("/etc")) -> SubIds:
    uid = os.geteuid()
    try:
        account = pwd.getpwuid(uid).pw_name
    except KeyError:
        account = str(uid)
    uids, gids = subids.parse(_text(etc / "subuid")), subids.parse(_text(etc / "subgid"))
    owners = (account, str(uid))
    return SubIds(
        account=account,
        uids=sum(span.count for span in uids if span.owner in owners),
        gids=sum(span.count for span in gids if span.owner in owners),
        free=subids.free([*uids, *gids]),
        newuidmap=_is_privileged("newuidmap"),
        newgidmap=_is_privileged("newgidmap"),
    )


async def try_sub_ids() -> Trial:
    return await attempt(["unshare", "--user", "--map-auto", "--map-root-user", "true"])


def interpret_sub_ids(ids: SubIds, trial: Trial) -> Finding:
    programs = ids.newuidmap and ids.newgidmap
    value = {"account": ids.account, "uids": ids.uids, "gids": ids.gids, "programs": programs, "usable": trial.worked}
    follows = "without them no template can be built, and all domains' QEMUs run as one user."
    if not programs:
        sentence = f"The programs newuidmap and newgidmap are not there with their privilege; {follows}"
        return Finding("sub-uids", Status.MISSING, value, sentence, _install("uidmap"))
    if min(ids.uids, ids.gids) < subids.NEEDED:
        sentence = (
            f"Account {ids.account} has {ids.uids} sub-uids and {ids.gids} sub-gids "
            f"instead of {subids.NEEDED} each; {follows}"
        )
        span = f"{ids.free}-{ids.free + subids.NEEDED - 1}"
        remedy = f"sudo usermod --add-subuids {span} --add-subgids {span} {ids.account}"
        return Finding("sub-uids", Status.MISSING, value, sentence, remedy)
    if not trial.worked:
        return Finding("sub-uids", Status.WARN, value, f"Mapping the sub-uids does not work ({trial.words}); {follows}")
    sentence = f"Account {ids.account} has {ids.uids} sub-uids: each domain's QEMU gets a user of its own."
    return Finding("sub-uids", Status.OK, value, sentence)


async def try_bubblewrap() -> Trial:
    box = ["bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/usr", "/usr"]
    mounts = ["--proc", "/proc", "--dev", "/dev"]
    links = ["--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64"]
    return await attempt([*box, *mounts, *links, "/usr/bin/true"])


def interpret_bubblewrap(installed: bool, trial: Trial) -> Finding:
    value = {"installed": installed, "usable": trial.worked}
    if trial.worked:
        sentence = "bubblewrap works: QEMU and brokers see nothing of the host but /usr."
        return Finding("bubblewrap", Status.OK, value, sentence)
    if not installed:
        sentence = "bubblewrap is not installed: no domain can start, as QEMU is never run without it."
        return Finding("bubblewrap", Status.MISSING, value, sentence, _install("bubblewrap"))
    sentence = f"bubblewrap does not work ({trial.words}): no domain can start, as QEMU is never run without it."
    return Finding("bubblewrap", Status.MISSING, value, sentence, "see the finding on user namespaces")


def read_seccomp(proc_sys: Path = Path("/proc/sys")) -> tuple[str, ...]:
    """The actions a filter may take here (seccomp(2)); none without seccomp filters."""
    return tuple(_text(proc_sys / "kernel/seccomp/actions_avail").split())


def interpret_seccomp(actions: tuple[str, ...]) -> Finding:
    value = {"actions": actions}
    if "kill_process" in actions:
        sentence = "seccomp filters work: QEMU and brokers keep only the system calls they need."
        return Finding("seccomp", Status.OK, value, sentence)
    sentence = "The kernel has no seccomp filters that can kill a process: brokers, and so domains, cannot start."
    return Finding(
        "seccomp", Status.MISSING, value, sentence, "boot a kernel with CONFIG_SECCOMP_FILTER, such as Debian's"
    )


def _install(name: str) -> str:
    return install_command([package for package in REQUIRED if package.name == name])


def _is_privileged(program: str) -> bool:
    """There, and setuid root or with file capabilities (Debian and others differ in which)."""
    path = which(program, path=f"{os.environ.get('PATH', '')}:/usr/bin:/bin")
    if path is None:
        return False
    try:
        return bool(os.stat(path).st_mode & stat.S_ISUID) or "security.capability" in os.listxattr(path)
    except OSError:
        return False


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
