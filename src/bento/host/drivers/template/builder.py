"""The template builder as the port wants it: what `build.py` does, and what becomes of a template changed by a guest."""

import asyncio
import hashlib
import os
import time
from dataclasses import replace
from pathlib import Path

from bento.host.drivers.template import flavors
from bento.host.drivers.template.build import BuildRequest, build, write_manifest
from bento.host.drivers.template.manifest import FILES, MANIFEST, File, Manifest, decode_manifest
from bento.host.model.errors import Unavailable
from bento.host.ports.templates import Built, Progress


class DebianBuilder:
    def distributions(self) -> dict[str, tuple[str, ...]]:
        own = tuple(flavor.name for flavor in flavors.FLAVORS.values() if flavor.own_boot)
        return dict.fromkeys(flavors.DISTRIBUTIONS, own)

    async def build(self, distribution: str, flavor: str, directory: Path, progress: Progress) -> Built:
        request = BuildRequest(distribution, distribution, flavor, created=int(time.time()))
        built = await build(request, directory, progress)
        return _built(built.manifest)

    async def derive(self, old: Path, directory: Path) -> Built:
        return await asyncio.to_thread(_derive, old, directory)


def _derive(old: Path, directory: Path) -> Built:
    try:
        manifest = decode_manifest((old / MANIFEST).read_text())
        for name in FILES:
            if name != "root.erofs":
                os.link(old / name, directory / name)
        root = directory / "root.erofs"
        with root.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        files = {**manifest.files, "root.erofs": File(digest, root.stat().st_size)}
        manifest = replace(manifest, files=files, created=int(time.time()))
        write_manifest(directory, manifest)
    except OSError as error:
        raise Unavailable(f"the new version cannot be written: {error.strerror}; is the disk full?") from error
    return _built(manifest)


def _built(manifest: Manifest) -> Built:
    return Built(manifest.digest, manifest.size, len(manifest.packages))
