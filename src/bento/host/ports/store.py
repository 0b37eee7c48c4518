"""The store port: what must outlive the manager. One writer; every call is one transaction, on disk on return."""

from typing import Protocol
from uuid import UUID

from bento.host.model.grant import Grant
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

    def grants(self) -> list[Grant]:
        """Those with a time to end at, the oldest first."""
        ...

    def put_grant(self, grant: Grant) -> None:
        """Write it, in place of another for the same errand."""
        ...

    def drop_grant(self, number: str) -> None: ...

    def close(self) -> None: ...
