"""The box around QEMU, as pure functions: which host user it runs as, and the argv that puts it there. No I/O.

QEMU is distrusted: a guest that breaks out of its virtual machine is in it. It then finds a user that owns nothing,
no file system but /usr (read-only), no process but itself, no network, no capability, no way to make namespaces, and
the open files it was started with. Each machine's user differs from the person's and from every other machine's, so
that two QEMUs can neither signal nor trace each other, whatever becomes of the namespaces.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bento.host.drivers import subids

KVM_DEVICE = "/dev/kvm"


@dataclass(frozen=True, slots=True)
class SubUsers:
    """Host user and group ids that belong to the person (subuid(5)), `count` of each, kept for machines."""

    first_uid: int
    first_gid: int
    count: int

    def of(self, slot: int) -> tuple[int, int]:
        """The (uid, gid) of machine number `slot`; ValueError if there are not so many."""
        if not 0 < slot < self.count:
            raise ValueError(f"slot {slot} is not below {self.count}")
        return self.first_uid + slot, self.first_gid + slot

    def __contains__(self, uid: object) -> bool:
        return uid in range(self.first_uid, self.first_uid + self.count)


@dataclass(frozen=True, slots=True)
class Owners:
    """Whom the processes of a home may belong to: the person, and the users kept for machines."""

    person: int
    machines: SubUsers | None

    def __contains__(self, uid: object) -> bool:
        return uid == self.person or (self.machines is not None and uid in self.machines)


def sub_users(subuid: str, subgid: str, login: str, uid: int) -> SubUsers | None:
    """Those of `login` for machines, from the text of /etc/subuid and /etc/subgid; None if there are none."""
    uids, gids = _range_of(subuid, login, uid), _range_of(subgid, login, uid)
    if uids is None or gids is None:
        return None
    # The upper half, without its end: template builds run Debian's own users in the lower half, and "nobody" last.
    count = min(uids[1], gids[1]) // 4
    return SubUsers(uids[0] + uids[1] // 2, gids[0] + gids[1] // 2, count)


def _range_of(text: str, login: str, uid: int) -> tuple[int, int] | None:
    """(first, count) of the person's first range, by name or number as in subuid(5)."""
    own = (span for span in subids.parse(text) if span.owner in (login, str(uid)))
    return next(((span.first, span.count) for span in own), None)


def confined(
    command: Sequence[str],
    *,
    user: tuple[int, int] | None,
    devices: Iterable[str] = (),
    ready: int,
    sieve: int,
    file_size: int,
) -> list[str]:
    """`command` in its box. `user` None: as the person, where the machine has no other users to give.

    The fd `ready` is told when the box stands; from `sieve` comes the filter of system calls (`sieve.py`). No file
    grows beyond `file_size` bytes.
    """
    return [
        *("prlimit", "--core=0:0"),  # a crash must not write what a guest kept in memory to the host's disk
        # Whoever has taken QEMU over could make its volumes and its memory larger than they are, without a bound.
        f"--fsize={file_size}:{file_size}",
        *("choom", "--adjust", "300", "--"),  # when memory runs out a machine goes before the person's desktop
        *(_as_user(*user) if user else ()),
        *_box(devices, ready, sieve),
        "--",
        *command,
    ]


def _as_user(uid: int, gid: int) -> list[str]:
    return [
        *("unshare", "--user", f"--map-users={uid},1,1", f"--map-groups={gid},1,1"),
        # setgid also drops the person's other groups.
        *("--setgid", "1", "--setuid", "1", "--"),
    ]


def _box(devices: Iterable[str], ready: int, sieve: int) -> list[str]:
    # No --die-with-parent: machines outlive the manager. As process 1 of its namespace QEMU takes all with it.
    argv = [
        "bwrap",
        "--unshare-all",
        "--unshare-user",
        "--disable-userns",
        "--as-pid-1",
        "--new-session",
        "--clearenv",
        *("--info-fd", str(ready)),
        *("--seccomp", str(sieve)),
    ]
    argv += ["--ro-bind", "/usr", "/usr", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64"]
    # QEMU reopens its files by /proc/self/fd; it probes for file locks that work on /dev/null.
    argv += ["--proc", "/proc"]
    for device in ("/dev/null", *devices):
        argv += ["--dev-bind", device, device]
    return [*argv, "--remount-ro", "/"]
