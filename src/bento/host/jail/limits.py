"""Resource limits (setrlimit(2)): how much of the machine a process may use, whatever it was talked into."""

import resource
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """`files` open at once; `memory` bytes of address space; `file_size` bytes a file may grow to; and processes, which
    the kernel counts for a user in a user namespace: 0 is none more than there are.
    """

    files: int
    memory: int
    file_size: int
    processes: int = 0

    def apply(self) -> None:
        """For this process and its children; not to be raised again. What is lower already stays."""
        for what, wanted in (
            (resource.RLIMIT_NOFILE, self.files),
            (resource.RLIMIT_AS, self.memory),
            (resource.RLIMIT_FSIZE, self.file_size),
            (resource.RLIMIT_NPROC, self.processes),
            (resource.RLIMIT_CORE, 0),  # a dump would hold what domains said to each other
        ):
            _, hard = resource.getrlimit(what)
            value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(what, (value, value))
