"""What the consoles of domains said: a file for each, which its broker writes and `bento logs` shows.

A disposable's has no name on any disk and lies in memory. It is gone with the disposable, and with this manager: the
next one begins a new one. What is in these files are a guest's words; nothing here reads them.
"""

import os
from uuid import UUID

from bento.host.manager.places import Places
from bento.host.model.domain import Domain, DomainClass

FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW


class Journals:
    def __init__(self, places: Places) -> None:
        self._places = places
        self._in_memory: dict[UUID, int] = {}

    def open(self, domain: Domain) -> int:
        """For a broker to read and write."""
        if domain.klass is not DomainClass.DISPOSABLE:
            return os.open(self._places.console_log(domain.uuid), os.O_RDWR | os.O_CREAT | FLAGS, 0o600)
        if domain.uuid not in self._in_memory:
            self._in_memory[domain.uuid] = os.memfd_create(f"bento-console-{domain.uuid}", os.MFD_CLOEXEC)
        return os.dup(self._in_memory[domain.uuid])

    def read(self, domain: Domain) -> int:
        """The same from its beginning, only to read; `FileNotFoundError` if there is none."""
        if domain.klass is not DomainClass.DISPOSABLE:
            return os.open(self._places.console_log(domain.uuid), os.O_RDONLY | FLAGS)
        if domain.uuid not in self._in_memory:
            raise FileNotFoundError
        return os.open(f"/proc/self/fd/{self._in_memory[domain.uuid]}", os.O_RDONLY | os.O_CLOEXEC)

    def forget(self, uuid: UUID) -> None:
        """The domain is no more."""
        if (journal := self._in_memory.pop(uuid, None)) is not None:
            os.close(journal)
