"""The keys driver for a host that has no better place: its key is a file that only the person can read.

That keeps what is encrypted from whoever has the disk without this file, and no more; a driver that has a TPM keep
the key would serve the same port. AES-256-GCM with a random nonce for each key wrapped (NIST SP 800-38D: good for
2^32 of them).
"""

import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bento.host.disk.durable import sync
from bento.host.model.errors import Unavailable

KEY, NONCE = 32, 12


class KeyFile:
    """The host's key in the file `path` (mode 0600), made at its first use."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def wrap(self, key: bytes, purpose: bytes) -> bytes:
        nonce = os.urandom(NONCE)
        return nonce + AESGCM(self._key(new=True)).encrypt(nonce, key, purpose)

    def unwrap(self, wrapped: bytes, purpose: bytes) -> bytes:
        try:
            return AESGCM(self._key(new=False)).decrypt(wrapped[:NONCE], wrapped[NONCE:], purpose)
        except (InvalidTag, ValueError):
            raise Unavailable(f"what was kept is not under the key in {self._path}, or was changed") from None

    def _key(self, *, new: bool) -> bytes:
        try:
            if new and not self._path.exists():
                _make(self._path)
            key = self._path.read_bytes()
        except FileNotFoundError:
            raise Unavailable(f"this host's key is missing; bring back {self._path} from a backup") from None
        except OSError as error:
            raise Unavailable(f"this host's key cannot be used: {self._path}: {error.strerror}") from error
        if len(key) != KEY:
            raise Unavailable(f"this host's key is damaged; bring back {self._path} from a backup")
        return key


def _make(path: Path) -> None:
    """It has its name when it is whole and on disk."""
    aside = path.with_name(path.name + ".new")
    aside.unlink(missing_ok=True)  # of a manager that was killed here
    file = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, os.urandom(KEY))
        os.fsync(file)
    finally:
        os.close(file)
    os.rename(aside, path)
    sync(path.parent)
