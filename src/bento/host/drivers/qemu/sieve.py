"""What the kernel never does for QEMU, whoever is in charge of it: a filter for seccomp(2), as a pure function.

QEMU's own filter (`-sandbox`) is what its authors could promise for every QEMU; this one knows that ours is handed all
that it needs. It matters most where namespaces do not reach: an AF_VSOCK socket is not part of any network
namespace, and leads to whatever machine or hypervisor the host itself runs in. bwrap loads the filter just before it
becomes QEMU. All else is allowed.
"""

import struct
from errno import EPERM

DENIED = {
    # x86_64 numbers (Linux's arch/x86/entry/syscalls/syscall_64.tbl): the only architecture that QEMU is started on.
    # Talk to somebody it was not introduced to. (What it was handed, it may accept on.)
    "socket": 41,
    # The same, and much else, past every filter of system calls.
    "io_uring_setup": 425,
    # Large and rarely used parts of the kernel, each with a history.
    "bpf": 321,
    "perf_event_open": 298,
    "userfaultfd": 323,
    "add_key": 248,
    "request_key": 249,
    "keyctl": 250,
    # Reach into processes.
    "ptrace": 101,
    "process_vm_readv": 310,
    "process_vm_writev": 311,
    # Make writable what it was handed to read: where it runs as the person, the templates are its own files.
    "chmod": 90,
    "fchmod": 91,
    "fchmodat": 268,
    "fchmodat2": 452,
    "setxattr": 188,
    "lsetxattr": 189,
    "fsetxattr": 190,
    "setxattrat": 463,
    # Another world.
    "unshare": 272,
    "setns": 308,
    "mount": 165,
    "open_by_handle_at": 304,
}

KILL, ALLOW, REFUSE = 0x80000000, 0x7FFF0000, 0x00050000 | EPERM
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
NUMBER, ARCHITECTURE = 0, 4  # offsets in struct seccomp_data
X86_64, X32 = 0xC000003E, 0x40000000


def sieve() -> bytes:
    """The BPF program: an array of struct sock_filter, as `bwrap --seccomp` reads it."""
    return b"".join(
        (
            _step(LOAD, ARCHITECTURE),
            # A call in another numbering would mean something else here.
            _step(EQUAL, X86_64, 1, 0),
            _step(RETURN, KILL),
            _step(LOAD, NUMBER),
            *_when(AT_LEAST, X32, KILL),
            *(step for number in DENIED.values() for step in _when(EQUAL, number, REFUSE)),
            _step(RETURN, ALLOW),
        )
    )


def _when(test: int, value: int, action: int) -> tuple[bytes, bytes]:
    return _step(test, value, 0, 1), _step(RETURN, action)


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
