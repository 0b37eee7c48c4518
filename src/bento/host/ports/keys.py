"""The keys port: what lies encrypted on this host's disk is under a key of the host's, which only a driver knows."""

from typing import Protocol


class Keys(Protocol):
    """Other keys pass through here to become fit for a disk. `purpose` is no secret, and part of what is wrapped."""

    def wrap(self, key: bytes, purpose: bytes) -> bytes:
        """`key` as it may lie on a disk. Raises `Unavailable`."""
        ...

    def unwrap(self, wrapped: bytes, purpose: bytes) -> bytes:
        """The key again. Raises `Unavailable` if it was not wrapped here, or not for this purpose, or was changed."""
        ...
