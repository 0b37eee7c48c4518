"""The store port: what must outlive the manager. One writer; every call is one transaction, on disk on return."""

from typing import Protocol
from uuid import UUID

from bento.host.model.inventory import DomainRecord, TemplateVersion
from bento.wire.names import DomainName


class Store(Protocol):
    def domains(self) -> list[DomainRecord]: ...

    def put(self, *records: DomainRecord, version: TemplateVersion | None = None) -> None:
        """Write these records whole, and the new version with them: all or nothing."""
        ...

    def drop(self, uuid: UUID) -> None: ...

    def versions(self) -> list[TemplateVersion]: ...

    def drop_version(self, template: DomainName, number: int) -> None: ...

    def close(self) -> None: ...
