"""All domains and template versions: in memory for reading, in the store before anything else sees a change."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import replace

from bento.host.manager.properties import makes_disposables, truth
from bento.host.model.domain import ADMIN, ADMIN_UUID, Domain, DomainClass
from bento.host.model.errors import Conflict, NoSuch
from bento.host.model.inventory import DomainRecord, TemplateVersion
from bento.host.ports.store import Store
from bento.wire.names import DomainName, DomainUuid, LabelName

DEFAULTS = ("default_dispvm", "default_template")
"""Properties that name a domain which is nevertheless no part of the one that has them."""

Judge = Callable[["Inventory", "Inventory"], None]
"""Raises `Refused` if the second inventory may not come after the first."""


class Inventory:
    """The single writer. Every change goes to the store first; what memory says is on disk."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._by_name = {record.name: record for record in store.domains()}
        self._versions = {(version.template, version.number): version for version in store.versions()}
        self._held: dict[DomainName, str] = {}
        self.changes = 0
        """Grows with every change of a domain, for those who keep what they made of the domains."""
        self.judge: Judge | None = None
        self._lent: set[int] = set()
        self._copies: dict[DomainName, tuple[int, asyncio.Event]] = {}
        if ADMIN not in self._by_name:
            self.put(DomainRecord(Domain(ADMIN_UUID, ADMIN, DomainClass.ADMIN, LabelName("black"), None), slot=0))

    def __iter__(self) -> Iterator[DomainRecord]:
        return iter(tuple(self._by_name.values()))

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def get(self, name: DomainName) -> DomainRecord:
        found = self._by_name.get(name)
        if found is None:
            raise NoSuch(f"there is no domain '{name}'; 'bento ls' shows those there are")
        return found

    def identified(self, uuid: DomainUuid) -> DomainName:
        """The domain that has this UUID, whatever it is called."""
        for record in self:
            if str(record.domain.uuid) == uuid:
                return record.name
        raise NoSuch(f"there is no domain with the UUID {uuid}; 'bento ls' shows the domains there are")

    def put(self, *records: DomainRecord, version: TemplateVersion | None = None) -> None:
        """Raises `Refused` where the `judge` says no, and then nothing has changed."""
        self.require(*records)
        self._store.put(*records, version=version)
        self._by_name.update((record.name, record) for record in records)
        self.changes += 1
        if version:
            self._versions[version.template, version.number] = version

    def require(self, *records: DomainRecord) -> None:
        """Raises `Refused` if these could not be put."""
        if self.judge is not None and any(_matters(self._by_name.get(record.name), record) for record in records):
            after = copy(self)  # to be looked at, and thrown away
            after._by_name = {**self._by_name, **{record.name: record for record in records}}
            self.judge(self, after)

    def change(self, name: DomainName, **fields: object) -> DomainRecord:
        """Replace fields of a record, in the store and here; the new record."""
        record = replace(self.get(name), **fields)  # type: ignore[arg-type]  # fields are DomainRecord's, by keyword
        self.put(record)
        return record

    def drop(self, name: DomainName) -> None:
        self._store.drop(self.get(name).domain.uuid)
        del self._by_name[name]
        self.changes += 1

    def ended(self, name: DomainName) -> bool:
        """Its run is over; True if the domain is over with it, as a disposable is that cleans up after itself."""
        record = self.get(name)
        if record.domain.klass is DomainClass.DISPOSABLE and truth(record, "auto_cleanup"):
            self.drop(name)
            return True
        self.change(name, run=None)
        return False

    @contextmanager
    def hold(self, name: DomainName, doing: str) -> Iterator[None]:
        """Keep a halted domain, or a name that is to be one, for oneself while something long is done with it.

        `doing` completes the sentence "'work' ...". Whoever would start, change or remove the domain, or take the
        name, asks `require_free` first.
        """
        self.require_free(name)
        self._held[name] = doing
        try:
            yield
        finally:
            del self._held[name]

    @contextmanager
    def copied(self, name: DomainName) -> Iterator[None]:
        """The same for a disposable template whose volume is being copied, which any number may do at once.

        That takes a moment, so whoever would start, copy or remove it waits until it is `at_rest`.
        """
        if doing := self._held.get(name):
            raise _busy(name, doing)
        copies, done = self._copies.get(name, (0, asyncio.Event()))
        self._copies[name] = copies + 1, done
        try:
            yield
        finally:
            copies, done = self._copies.pop(name)
            if copies > 1:
                self._copies[name] = copies - 1, done
            else:
                done.set()

    async def at_rest(self, name: DomainName) -> None:
        """Wait until nobody copies its volume."""
        while name in self._copies:
            await self._copies[name][1].wait()

    def require_free(self, name: DomainName) -> None:
        if doing := self._held.get(name) or ("is being copied for a disposable" if name in self._copies else ""):
            raise _busy(name, doing)

    @contextmanager
    def slot(self) -> Iterator[int]:
        """A free slot for a machine that is no domain's."""
        slot = self.free_slot()
        self._lent.add(slot)
        try:
            yield slot
        finally:
            self._lent.discard(slot)

    def free_slot(self) -> int:
        used = {record.slot for record in self} | self._lent
        return next(slot for slot in range(1, len(used) + 2) if slot not in used)

    def based_on(self, template: DomainName) -> list[DomainName]:
        """Domains that cannot be without this template."""
        return [r.name for r in self if template in (r.domain.template, r.origin)]

    def require_unused(self, template: DomainName) -> None:
        if users := self.based_on(template):
            in_use = f"'{template}' is in use by {', '.join(sorted(users))}; remove these first"
            raise Conflict(in_use, actual="in use", required="unused")

    def require_no_default(self, name: DomainName) -> None:
        """Raises `Conflict` while another domain, or the whole system, is set to have this one as its default."""
        for key in DEFAULTS:
            users = sorted(r.name for r in self if r.properties.get(key) == name != r.name)
            if users:
                whose = ["the system" if user == ADMIN else user for user in users]
                each = "" if len(users) == 1 else ", and so on,"
                how = f"'bento prefs {'--global' if users[0] == ADMIN else users[0]} {key} --default'{each}"
                in_use = f"'{name}' is the {key} of {', '.join(whose)}; {how} first"
                raise Conflict(in_use, actual="in use", required="unused")

    def versions(self, template: DomainName | None = None) -> list[TemplateVersion]:
        return [v for v in self._versions.values() if template in (None, v.template)]

    def version(self, template: DomainName, number: int) -> TemplateVersion:
        return self._versions[template, number]

    def current(self, template: DomainName) -> TemplateVersion:
        record = self.get(template)
        if record.base is None:
            raise Conflict(f"template '{template}' has no image yet", actual="empty", required="built")
        return self._versions[template, record.base]

    def drop_version(self, version: TemplateVersion) -> None:
        self._store.drop_version(version.template, version.number)
        del self._versions[version.template, version.number]

    def template_of(self, record: DomainRecord) -> DomainName:
        """The TemplateVM whose image is the domain's root; for a disposable, that of the AppVM it is made from."""
        name = record.domain.template or record.name
        return self.get(name).domain.template or name if record.domain.klass is DomainClass.DISPOSABLE else name

    def default_dispvm(self, record: DomainRecord) -> DomainName | None:
        """The disposable template that `@dispvm` means to this domain: its own, else its base's, else the system's.

        None where none is set, where it was set to none, or where what was set is no disposable template any more.
        """
        if "default_dispvm" not in record.properties:
            if record.domain.klass is DomainClass.DISPOSABLE:
                return record.domain.template
            record = self.get(ADMIN)
        chosen = DomainName(record.properties.get("default_dispvm", ""))
        return chosen if chosen in self and makes_disposables(self.get(chosen)) else None

    def versions_in_use(self, template: DomainName) -> set[int]:
        """Numbers that a running domain, a StandaloneVM or the template itself needs."""
        used: set[int] = set()
        for record in self:
            if record.name == template or record.origin == template:
                used |= {record.base} if record.base is not None else set()
            if record.run and template in (record.origin, self.template_of(record)):
                used.add(record.run.version)
        return used


def _busy(name: DomainName, doing: str) -> Conflict:
    return Conflict(f"'{name}' {doing}; try again when that is done", actual=doing, required="free")


def _matters(old: DomainRecord | None, new: DomainRecord) -> bool:
    """Whether more of it changes than how it runs."""
    return old is None or replace(old, run=new.run, base=new.base) != new


def names(records: Iterable[DomainRecord]) -> str:
    return ", ".join(sorted(record.name for record in records))
