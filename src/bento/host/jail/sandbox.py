"""The empty world that the nursery starts in: an argv for bubblewrap (bwrap(1)). A pure function.

Of the host it sees /usr, Python and Bento's own code, all read-only. There is
no /proc, no /dev, no /tmp, no home, no network but what sockets it was given.
"""

from pathlib import PurePosixPath


def sandbox_argv(
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
        str(bwrap),
        # No more rights over the machine than over itself, and names of nothing outside. Process numbers alone are
        # shared: the manager knows its brokers by them.
        *("--unshare-user", "--unshare-ipc", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"),
        *("--cap-drop", "ALL"),
        "--die-with-parent",  # a manager that is killed leaves no broker behind
        "--new-session",  # no terminal to push keys into
        "--clearenv",
        # A relay frees and takes its buffers anew for each chunk. Without these glibc hands the memory back to the
        # kernel each time, at three times the work for each byte (malloc(3), mallopt(3)).
        *("--setenv", "MALLOC_TRIM_THRESHOLD_", str(4 << 20), "--setenv", "MALLOC_TOP_PAD_", str(1 << 20)),
        *("--setenv", "MALLOC_MMAP_THRESHOLD_", str(4 << 20)),
        *("--ro-bind", "/usr", "/usr"),
        *("--ro-bind-try", "/lib", "/lib", "--ro-bind-try", "/lib64", "/lib64"),
        *(() if python_home.is_relative_to("/usr") else ("--ro-bind", str(python_home), str(python_home))),
        *("--ro-bind", str(package), "/code/bento", "--chdir", "/code"),
        *("--remount-ro", "/"),
        "--",
        # -S -E -B: no site packages, no environment, nothing written beside the code.
        *(str(python), "-S", "-E", "-B", "-m", "bento.host.broker", "--control-fd", str(control_fd)),
    ]
