"""What a finished template says about itself: `manifest.json`, the last file that a build writes.

Pure. A directory without a manifest holds no template. The image's digest covers the files and nothing that
differs between two builds from the same packages: not the time, not the place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bento.host.model.errors import Unavailable

FORMAT = 1
MANIFEST = "manifest.json"
ROOT_IMAGE = "root.erofs"

#: For every domain: the console for `bento console` and the logs, no waiting after a panic (QEMU runs with -no-reboot,
#: so the domain ends), no audit records that nobody reads, no self-tests of the kernel's cryptography (0.1 s). Also no
#: accounts of stalls and no watchdogs, and huge pages for programs that ask for them: a forked machine would pay for
#: each with time, as code that runs for the first time, or with memory.
CMDLINE = (
    "console=ttyS0 quiet loglevel=3 panic=-1 audit=0 cryptomgr.notests=1 psi=0 nowatchdog transparent_hugepage=madvise"
)

#: What a distribution's own initramfs has to be told besides.
STOCK_CMDLINE = "root=/dev/vda rootfstype=erofs ro"


@dataclass(frozen=True, slots=True)
class File:
    """`digest` is sha256 in hexadecimal, `size` in bytes."""

    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """`created` is seconds since 1970 and no part of `digest`; `packages` maps name to version."""

    distribution: str
    flavor: str
    release: str
    kernel_version: str
    cmdline: str
    created: int
    files: Mapping[str, File]
    packages: Mapping[str, str]

    @property
    def digest(self) -> str:
        return image_digest(self.files)

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files.values())

    def encode(self) -> str:
        fields = {"format": FORMAT, "digest": self.digest, "size": self.size, **asdict(self)}
        return json.dumps(fields, indent=2, sort_keys=True) + "\n"


def decode_manifest(text: str) -> Manifest:
    """Raises `Unavailable` for what this version of Bento did not write: a template to be built anew."""
    try:
        fields: dict[str, Any] = json.loads(text)
        if fields.pop("format") != FORMAT:
            raise ValueError("unknown format")
        digest, _ = fields.pop("digest"), fields.pop("size")
        fields["files"] = {name: File(**file) for name, file in fields["files"].items()}
        manifest = Manifest(**fields)
        if manifest.digest != digest:
            raise ValueError("the digests differ")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unavailable(f"this template's manifest is not usable ({error}); build the template again") from error
    return manifest


def image_digest(files: Mapping[str, File]) -> str:
    """sha256 over the lines "DIGEST  NAME", sorted by name: what `sha256sum * | sha256sum` in the directory says."""
    lines = "".join(f"{files[name].digest}  {name}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()
