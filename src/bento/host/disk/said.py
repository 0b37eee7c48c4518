"""What processes print that have to do with a guest: kept in memory, in a file that cannot grow.

Not a pipe: who was taken over and prints without end fills no disk, waits for no reader and keeps none waiting, and it
does not matter whether anybody is there to read.
"""

import fcntl
import os
import weakref

MAX_SAID = 64 << 10
"""Bytes that are kept."""


class Said:
    """The first 64 KiB of what is printed to the fd `fd`; what would go beyond fails there with EPERM."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("bento-said", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        weakref.finalize(self, os.close, self.fd)
        os.ftruncate(self.fd, MAX_SAID)
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)

    def text(self) -> str:
        """Lines of printable characters."""
        lines = os.pread(self.fd, MAX_SAID, 0).rstrip(b"\0").decode(errors="replace").splitlines()
        return "\n".join("".join(c for c in line if c.isprintable()) for line in lines if line.strip())
