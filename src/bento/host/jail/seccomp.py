"""From names of system calls to a filter in the kernel (seccomp(2), classic BPF). Nothing here says which and why.

Of a filter, what is allowed, is; what is deadly, kills the process at once; all
the rest fails with EPERM. Whatever is allowed, memory can never be made
executable or be a file's, and the standard files (0 to 2, which belong to
others too) be neither cut nor rewritten. Of a sieve, which is for programs that
nobody knows beforehand, what is denied fails with EPERM and the rest is allowed.

Numbers: Linux's arch/x86/entry/syscalls/syscall_64.tbl and
include/uapi/asm-generic/unistd.h (aarch64).
"""

import ctypes
import os
import struct
from collections.abc import Collection
from errno import EPERM

NUMBERS: dict[str, tuple[int | None, int | None]] = {
    # name: (x86_64, aarch64); None where the architecture has no such call
    "accept": (43, 202),
    "accept4": (288, 242),
    "add_key": (248, 217),
    "bind": (49, 200),
    "bpf": (321, 280),
    "brk": (12, 214),
    "chroot": (161, 51),
    "clock_gettime": (228, 113),
    "clone": (56, 220),
    "clone3": (435, 435),
    "close": (3, 57),
    "close_range": (436, 436),
    "connect": (42, 203),
    "creat": (85, None),
    "delete_module": (176, 106),
    "epoll_create1": (291, 20),
    "epoll_ctl": (233, 21),
    "epoll_pwait": (281, 22),
    "epoll_wait": (232, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "finit_module": (313, 273),
    "fork": (57, None),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fstat": (5, 80),
    "fsync": (74, 82),
    "ftruncate": (77, 46),
    "futex": (202, 98),
    "getppid": (110, 173),
    "getrandom": (318, 278),
    "getsockname": (51, 204),
    "getsockopt": (55, 209),
    "gettid": (186, 178),
    "init_module": (175, 105),
    "io_uring_setup": (425, 425),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "kill": (62, 129),
    "listen": (50, 201),
    "lseek": (8, 62),
    "madvise": (28, 233),
    "memfd_create": (319, 279),
    "mmap": (9, 222),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "munmap": (11, 215),
    "newfstatat": (262, 79),
    "open": (2, None),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "openat": (257, 56),
    "openat2": (437, 437),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pidfd_open": (434, 434),
    "pivot_root": (155, 41),
    "prctl": (157, 167),
    "pread64": (17, 67),
    "prlimit64": (302, 261),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "pwrite64": (18, 68),
    "read": (0, 63),
    "recvfrom": (45, 207),
    "recvmsg": (47, 212),
    "request_key": (249, 218),
    "restart_syscall": (219, 128),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sendmsg": (46, 211),
    "sendto": (44, 206),
    "set_robust_list": (273, 99),
    "setns": (308, 268),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "vfork": (58, None),
    "wait4": (61, 260),
    "waitid": (247, 95),
    "write": (1, 64),
}

ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""uname's machine: (column in NUMBERS, AUDIT_ARCH_* of linux/audit.h)."""

KILL = 0x80000000  # SECCOMP_RET_KILL_PROCESS
ALLOW = 0x7FFF0000  # SECCOMP_RET_ALLOW
REFUSE = 0x00050000 | EPERM  # SECCOMP_RET_ERRNO

LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
EQUAL, AT_LEAST, ANY_BIT = 0x15, 0x35, 0x45  # BPF_JMP | BPF_K | BPF_JEQ, BPF_JGE, BPF_JSET
RETURN = 0x06  # BPF_RET | BPF_K
# Offsets in struct seccomp_data, low word of little-endian.
CALL, ARCHITECTURE, FIRST_ARGUMENT, THIRD_ARGUMENT, FOURTH_ARGUMENT = 0, 4, 16, 32, 40
X32 = 0x40000000
PROT_EXEC, MAP_ANONYMOUS = 0x4, 0x20
ABOVE_STANDARD_FILES = 3

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2


class Unconfined(Exception):
    """A wall cannot be built on this machine; the process must not go on without it."""


def compile_filter(machine: str, allowed: Collection[str], deadly: Collection[str]) -> bytes:
    """The BPF program (an array of struct sock_filter) for `machine`, as uname names it."""
    column, program = _begin(machine)
    for name in sorted(allowed):
        number = NUMBERS[name][column]
        if number is None:
            continue
        steps = [*_conditions(name), _step(RETURN, ALLOW)]
        program += [_step(EQUAL, number, 0, len(steps)), *steps]
    for name in sorted(deadly):
        number = NUMBERS[name][column]
        if number is not None:
            program += _when(EQUAL, number, KILL)
    program.append(_step(RETURN, REFUSE))
    return b"".join(program)


def compile_sieve(machine: str, denied: Collection[str]) -> bytes:
    """The same for a process that may do all but what is `denied`."""
    column, program = _begin(machine)
    for name in sorted(denied):
        number = NUMBERS[name][column]
        if number is not None:
            program += _when(EQUAL, number, REFUSE)
    program.append(_step(RETURN, ALLOW))
    return b"".join(program)


def _begin(machine: str) -> tuple[int, list[bytes]]:
    """The machine's column in `NUMBERS`, and the steps that load a call's number."""
    if machine not in ARCHITECTURES:
        raise Unconfined(f"no system call filter for {machine}; brokers run on {' and '.join(ARCHITECTURES)}")
    column, audit = ARCHITECTURES[machine]
    return column, [
        _step(LOAD, ARCHITECTURE),
        # A call in another architecture's numbering would mean something else here.
        *_unless(EQUAL, audit, KILL),
        _step(LOAD, CALL),
        *_when(AT_LEAST, X32, KILL),
    ]


def _conditions(name: str) -> list[bytes]:
    """Steps that end the judgement early where a call's arguments are not what anybody allowed would give."""
    never_executable = [_step(LOAD, THIRD_ARGUMENT), *_when(ANY_BIT, PROT_EXEC, KILL)]
    match name:
        case "mprotect":
            return never_executable
        case "mmap":
            return [*never_executable, _step(LOAD, FOURTH_ARGUMENT), *_unless(ANY_BIT, MAP_ANONYMOUS, REFUSE)]
        case "ftruncate" | "pread64" | "pwrite64":
            return [_step(LOAD, FIRST_ARGUMENT), *_unless(AT_LEAST, ABOVE_STANDARD_FILES, REFUSE)]
        case _:
            return []


def install(program: bytes) -> None:
    """Filter all further system calls of this process and its children; it can't be undone. Raises `Unconfined`."""
    steps = ctypes.create_string_buffer(program, len(program))
    packed = struct.pack("HP", len(program) // 8, ctypes.addressof(steps))  # struct sock_fprog
    fprog = ctypes.create_string_buffer(packed, len(packed))
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(fprog))


def prctl(option: int, *arguments: int) -> None:
    """prctl(2). Raises `Unconfined`."""
    words = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]]
    if _libc.prctl(ctypes.c_int(option), *words):
        raise Unconfined(f"the kernel refuses prctl option {option}: {os.strerror(ctypes.get_errno())}")


_libc = ctypes.CDLL(None, use_errno=True)


def _step(code: int, k: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, k)


def _when(test: int, k: int, action: int) -> list[bytes]:
    return [_step(test, k, 0, 1), _step(RETURN, action)]


def _unless(test: int, k: int, action: int) -> list[bytes]:
    return [_step(test, k, 1, 0), _step(RETURN, action)]
