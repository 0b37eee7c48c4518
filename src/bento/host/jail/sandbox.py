"""The empty worlds that processes start in: argvs for bubblewrap (bwrap(1)). Pure functions.

Of the host they see /usr, Python and Bento's own code, all read-only; no home,
no network but what sockets they were given. The nursery sees nothing else at
all; nor does the process that takes a suspended machine to the disk, but the
library that encrypts it. A service of the admin domain, which is any program,
finds a /proc of its own processes, the harmless devices, and an empty home and
/tmp that are gone with the call.
"""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath


def nursery_argv(
    *,
    bwrap: PurePosixPath,
    python: PurePosixPath,
    python_home: PurePosixPath,
    package: PurePosixPath,
    control_fd: int,
) -> list[str]:
    """The nursery's command line.

    `python` is the interpreter itself, not a link in a virtual environment to it; `python_home` is `sys.base_prefix`;
    `package` is the folder of the import package `bento`; `control_fd` stays open in the nursery.
    """
    return [
        # Process numbers alone are shared: the manager knows its brokers by them.
        *_empty(bwrap, python_home, package),
        # A relay frees and takes its buffers anew for each chunk. Without these glibc hands the memory back to the
        # kernel each time, at three times the work for each byte (malloc(3), mallopt(3)).
        *("--setenv", "MALLOC_TRIM_THRESHOLD_", str(4 << 20), "--setenv", "MALLOC_TOP_PAD_", str(1 << 20)),
        *("--setenv", "MALLOC_MMAP_THRESHOLD_", str(4 << 20)),
        *("--remount-ro", "/"),
        "--",
        *_python(python, "bento.host.broker"),
        *("--control-fd", str(control_fd)),
    ]


SERVICES = PurePosixPath("/etc/qubes-rpc")
"""Where a service lies in its box: the field's place."""

HOME = "/home/user"
ROOM = 64 << 20
"""Bytes that a service may write, in its home and in /tmp each."""


def service_argv(
    *,
    bwrap: PurePosixPath,
    python: PurePosixPath,
    python_home: PurePosixPath,
    package: PurePosixPath,
    program: PurePosixPath,
) -> list[str]:
    """The command line of one call of a service: `program` is its file on the host, stdin the manager's socket."""
    inside = SERVICES / program.name
    return [
        *_empty(bwrap, python_home, package),
        *("--unshare-pid", "--disable-userns"),
        *("--proc", "/proc", "--dev", "/dev"),
        # Debian's awk, editor and their kind are links by way of here.
        *("--ro-bind-try", "/etc/alternatives", "/etc/alternatives"),
        *("--symlink", "usr/bin", "/bin", "--symlink", "usr/sbin", "/sbin"),
        *("--ro-bind", str(program), str(inside)),
        *("--size", str(ROOM), "--tmpfs", "/tmp", "--size", str(ROOM), "--tmpfs", HOME),
        *("--remount-ro", "/"),
        "--",
        *_python(python, "bento.host.service"),
        *("--control-fd", "0", str(inside)),
    ]


def sealing_argv(
    *,
    bwrap: PurePosixPath,
    python: PurePosixPath,
    python_home: PurePosixPath,
    package: PurePosixPath,
    libraries: Mapping[str, PurePosixPath],
    arguments: Sequence[str],
    file_size: int,
) -> list[str]:
    """The command line of one passage of a suspended machine: `arguments` are those of `bento.host.sealing`.

    `libraries` are what it may import besides, by the name it has beside `bento`. No file grows beyond `file_size`
    bytes: a QEMU that a guest has taken over could send a stream without an end.
    """
    bound = [word for name, path in libraries.items() for word in ("--ro-bind", str(path), f"/code/{name}")]
    return [
        *("prlimit", f"--fsize={file_size}:{file_size}"),
        *_empty(bwrap, python_home, package),
        *("--unshare-pid", "--disable-userns"),
        *bound,
        *("--remount-ro", "/"),
        "--",
        *_python(python, "bento.host.sealing"),
        *arguments,
    ]


def _empty(bwrap: PurePosixPath, python_home: PurePosixPath, package: PurePosixPath) -> list[str]:
    return [
        str(bwrap),
        # No more rights over the machine than over itself, and names of nothing outside.
        *("--unshare-user", "--unshare-ipc", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"),
        *("--cap-drop", "ALL"),
        "--die-with-parent",  # a manager that is killed leaves none of them behind
        "--new-session",  # no terminal to push keys into
        "--clearenv",
        *("--ro-bind", "/usr", "/usr"),
        *("--ro-bind-try", "/lib", "/lib", "--ro-bind-try", "/lib64", "/lib64"),
        *(() if python_home.is_relative_to("/usr") else ("--ro-bind", str(python_home), str(python_home))),
        *("--ro-bind", str(package), "/code/bento", "--chdir", "/code"),
    ]


def _python(python: PurePosixPath, module: str) -> list[str]:
    # -S -E -B: no site packages, no environment, nothing written beside the code.
    return [str(python), "-S", "-E", "-B", "-m", module]
