"""A file that is written beside the one it is to become, and gets a name when it is whole.

Until then it has none, so that not even `kill -9` leaves a part of it; but on a file system that knows no files
without names (NFS, say) it has one from the start.
"""

import os
from pathlib import Path
from types import TracebackType


class Aside:
    """Open as `file`, to write. It is gone at the end, unless something else was made of its name."""

    def __init__(self, path: Path, mode: int) -> None:
        """In the directory of `path`. Raises `OSError`."""
        self._path = path
        self._name: Path | None = None
        try:
            number = os.open(path.parent, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, mode)
        except OSError:  # what is wrong about the directory itself is told by the other way
            self._name = self._free_name()
            number = os.open(self._name, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, mode)
        self.file = open(number, "wb")  # noqa: SIM115  # closed at the end

    def __enter__(self) -> "Aside":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self.file.close()
        if self._name:
            self._name.unlink(missing_ok=True)

    @property
    def itself(self) -> Path:
        """Leads to it for as long as it is open, whether it has a name or not."""
        return Path(f"/proc/self/fd/{self.file.fileno()}")

    def named(self) -> Path:
        """It is whole: its name, to be renamed or linked at once. On the disk only if the caller saw to that."""
        if self._name is None:
            name = self._free_name()
            # Given any directory, which means nothing for a whole path, Python calls linkat(2), which can follow links.
            os.link(self.itself, name, src_dir_fd=self.file.fileno(), follow_symlinks=True)
            self._name = name
        return self._name

    def _free_name(self) -> Path:
        return self._path.with_name(f".bento-{os.urandom(8).hex()}.part")
