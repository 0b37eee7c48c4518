"""The template builder port: make a distribution's image from nothing, as files in a fresh directory."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Progress = Callable[[str, float | None], None]
"""Told what is being done, and which fraction (0.0 to 1.0) of the whole is behind, None where nobody knows."""

FILES = ("root.erofs", "modules.erofs", "kernel", "initrd", "manifest.json")
"""What a finished template directory holds, no more and no less."""


@dataclass(frozen=True, slots=True)
class Built:
    """`digest` is sha256 over the image's files, in hex; `size` their bytes; `packages` how many it holds."""

    digest: str
    size: int
    packages: int


class TemplateBuilder(Protocol):
    def distributions(self) -> dict[str, tuple[str, ...]]:
        """Names that can be built, each with its flavors, the default one first."""
        ...

    async def build(self, distribution: str, flavor: str, directory: Path, progress: Progress) -> Built:
        """Fill `directory`, which exists and is empty. Raises `Unavailable`; cancelling ends it and its processes."""
        ...

    async def derive(self, old: Path, directory: Path) -> Built:
        """Complete `directory`, which holds nothing but a new `root.erofs`, from the version in `old`.

        The root was packed by a guest: it is hashed as bytes, never opened as a file system. The list of packages
        stays the old one's, since only the guest could tell a newer.
        """
        ...
