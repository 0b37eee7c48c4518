"""The storage port: a domain's volumes as raw files the host never looks into."""

from pathlib import Path
from typing import Protocol


class Storage(Protocol):
    """Volumes are named by path below the home; sizes are bytes; all raise `Unavailable` when the disk is full."""

    async def create(self, path: Path, size: int) -> None:
        """A blank volume: all zeros, no disk used. The file must not exist. On disk (fsynced) on return."""
        ...

    async def clone(self, source: Path, target: Path) -> None:
        """An independent copy, sharing blocks where the file system can; a torn copy never has `target`'s name."""
        ...

    async def resize(self, path: Path, size: int) -> None:
        """Grow a volume; never shrinks."""
        ...

    async def thin(self, path: Path) -> None:
        """Make holes of what is all zeros in a file that nobody has open. Its content stays, whatever happens."""
        ...

    async def remove(self, path: Path) -> None:
        """Gone; removing what is not there is no error."""
        ...

    def usage(self, path: Path) -> int:
        """Bytes of disk that this volume alone takes; 0 if it is not there."""
        ...
