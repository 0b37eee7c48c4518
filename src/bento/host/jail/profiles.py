"""What each process may still do once it runs, and why. A call that is not here fails; a deadly one ends the process.

The need was read from strace, not guessed; a call that a new Python or libc
wants in addition shows as a broker that is ended by SIGSYS, or by an EPERM in
its last words.
"""

import os
from dataclasses import dataclass

from bento.host.jail.limits import Limits
from bento.host.jail.seccomp import NUMBERS, compile_filter, compile_sieve, install, prctl

MIB = 1 << 20
PR_SET_DUMPABLE = 4
MACHINE = os.uname().machine  # read here: a process that is confined a second time may not ask any more


@dataclass(frozen=True, slots=True)
class Privilege:
    reason: str
    calls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Profile:
    privileges: tuple[Privilege, ...]
    deadly: frozenset[str]
    limits: Limits | None

    @property
    def allowed(self) -> frozenset[str]:
        return frozenset(call for privilege in self.privileges for call in privilege.calls)


def confine(profile: Profile) -> None:
    """Give up, for good, whatever `profile` does not name. Raises `Unconfined`, and then the process must end."""
    program = compile_filter(MACHINE, profile.allowed, profile.deadly)
    if profile.limits:
        profile.limits.apply()
    install(program)


def restrain() -> None:
    """What holds for a service of the admin domain and the process beside it, from before the service is started."""
    prctl(PR_SET_DUMPABLE, 0)  # of this process, not of what it starts: that has no way into its memory and files
    SERVICE.apply()
    install(compile_sieve(MACHINE, NOT_FOR_SERVICES))


RUNNING_PYTHON = (
    Privilege("memory, never executable (seccomp.py)", ("brk", "mmap", "mprotect", "mremap", "munmap", "madvise")),
    Privilege("the interpreter's lock", ("futex",)),
    Privilege("hash seeds and malloc's own", ("getrandom",)),
    Privilege("clocks, where the machine's clock source has no vDSO", ("clock_gettime",)),
    Privilege("return from signals and from being stopped", ("rt_sigreturn", "rt_sigprocmask", "restart_syscall")),
    Privilege("end", ("exit", "exit_group")),
    Privilege("last words on stderr", ("write",)),
)

FEED_THE_BROKER = (
    Privilege("bytes of the channel, the console and the legs, on sockets it was given", ("recvfrom", "sendto")),
    Privilege("the same in pieces, so that they need not be copied together first", ("sendmsg",)),
    Privilege("packets of the manager, with legs beside them", ("recvmsg",)),
    Privilege("Python asks a socket it is handed what it is", ("getsockname",)),
    Privilege("wait for the sockets", ("epoll_ctl", "epoll_wait", "epoll_pwait")),
    Privilege("end a call's leg", ("close",)),
    Privilege("the console log: append, and drop the older half", ("pwrite64", "pread64", "ftruncate")),
)

BECOME_A_BROKER = (
    Privilege("fork", ("clone", "set_robust_list", "gettid")),
    Privilege("reap what was forked", ("wait4", "rt_sigaction")),
    Privilege("notice, in the child, that the parent died before the child could ask to go with it", ("getppid",)),
    Privilege("drop what is not this broker's", ("close_range",)),
    Privilege("make the broker's loop and look at the files it was given", ("epoll_create1", "getsockopt", "fstat")),
    Privilege("the same, as newer C libraries spell it", ("newfstatat",)),
    Privilege("take the broker's own limits and filter", ("prctl", "prlimit64")),
)

FEED_THE_SERVICE = (
    Privilege("bytes of the leg, a socket it was given", ("recvfrom", "sendto")),
    Privilege("what the service says, on pipes", ("read",)),
    Privilege("wait for the leg, the pipes and the service's end", ("epoll_ctl", "epoll_wait", "epoll_pwait")),
    Privilege("learn how the service ended", ("waitid",)),
    Privilege("end its input", ("close",)),
)

SEAL_A_MACHINE = (
    Privilege("the stream, a pipe it was given, and the image from its beginning to its end", ("read",)),
    Privilege("the disks, in memory: where there is something, and what", ("lseek", "pread64", "pwrite64")),
    Privilege("have the image on disk before anybody relies on it", ("fsync",)),
)

ATTACKS = frozenset(
    {
        # Run another program, or another process.
        *("execve", "execveat", "fork", "vfork", "clone", "clone3"),
        # Open what it was not given.
        *("open", "openat", "openat2", "creat", "open_by_handle_at", "memfd_create"),
        # Talk to whom it was not introduced.
        *("socket", "socketpair", "connect", "bind", "listen", "accept", "accept4"),
        # Reach into other processes.
        *("ptrace", "process_vm_readv", "process_vm_writev", "kill", "pidfd_open"),
        # Change its world, or find a soft spot in the kernel.
        *("mount", "pivot_root", "chroot", "unshare", "setns"),
        *("bpf", "io_uring_setup", "userfaultfd", "perf_event_open", "keyctl"),
        *("init_module", "finit_module", "delete_module", "kexec_load"),
    }
)
"""No broker asks for these, in whatever trouble it is: who does, is no broker any more. All else that is not allowed
fails with EPERM, so that a C library with new habits costs a feature and not a domain."""

BROKER = Profile(
    RUNNING_PYTHON + FEED_THE_BROKER,
    deadly=ATTACKS,
    limits=Limits(
        # 512 legs of open calls, 1,024 of calls that wait for a slot, and its own.
        files=2048,
        # The interpreter maps 30 MiB. A hostile guest and slow peers at worst: 256 served calls with two windows of
        # 512 KiB each and 256 asked ones with one (384 MiB), as many legs with 512 KiB read (256), waiting calls (64).
        memory=1024 * MIB,
        # The console log stays below 2 MiB; stderr may be the manager's log, which is larger.
        file_size=64 * MIB,
    ),
)
"""One domain's broker: reads a hostile guest's bytes on sockets it was given, and nothing else in the world."""

NURSERY = Profile(
    RUNNING_PYTHON + FEED_THE_BROKER + BECOME_A_BROKER,
    deadly=ATTACKS - {"clone"},
    limits=None,  # its children could not have more than it; it reads no guest
)
"""The brokers' parent. A filter holds for children too, so it allows what they need until they have their own."""

RELAY = Profile(
    RUNNING_PYTHON + FEED_THE_SERVICE,
    deadly=ATTACKS,
    limits=Limits(
        # The leg, three pipes, the loop, the service's end.
        files=64,
        # The interpreter maps 30 MiB; a chunk of each stream is a few hundred KiB.
        memory=128 * MIB,
        file_size=1 * MIB,
    ),
)
"""Between a guest's leg and one service of the admin domain: reads the guest's frames once the service runs."""

SEALER = Profile(
    RUNNING_PYTHON + SEAL_A_MACHINE,
    deadly=ATTACKS,
    limits=Limits(
        # The image, the stream, disks, the standard files.
        files=64,
        # The interpreter and OpenSSL map 60 MiB; three copies of a piece of 1 MiB.
        memory=256 * MIB,
        # What its image may take is for the manager to say, machine by machine (sandbox.py): this is only a bound.
        file_size=1 << 44,
    ),
)
"""A suspended machine's passage to the disk or back: moves what a guest wrote, and reads nothing of it."""

SERVICE = Limits(files=1024, memory=2048 * MIB, file_size=64 * MIB, processes=256)
"""What one call of a service may take. Its processes share this user's count with nobody outside of their box."""

NOT_FOR_SERVICES = frozenset(
    {
        # Nobody to talk to: all that a service is to hear and say goes through its three streams. Namespaces do not
        # reach AF_VSOCK, which leads to whatever machine the host itself runs in.
        "socket",
        # Reach into other processes.
        *("ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd"),
        # Change its world, or find a soft spot in the kernel.
        *("mount", "pivot_root", "chroot", "unshare", "setns", "open_by_handle_at"),
        *("fsopen", "fsconfig", "fsmount", "move_mount", "open_tree", "mount_setattr"),
        *("bpf", "io_uring_setup", "userfaultfd", "perf_event_open", "keyctl", "add_key", "request_key"),
        *("init_module", "finit_module", "delete_module", "kexec_load"),
    }
)
"""A service is any program of /usr, and nobody knows what it calls: so this is a list of what none of them needs."""

assert ATTACKS.isdisjoint(BROKER.allowed)
assert ATTACKS.isdisjoint(RELAY.allowed)
assert ATTACKS.isdisjoint(SEALER.allowed)
assert RELAY.allowed | SEALER.allowed | NOT_FOR_SERVICES <= NUMBERS.keys()
assert NURSERY.allowed | ATTACKS <= NUMBERS.keys()
