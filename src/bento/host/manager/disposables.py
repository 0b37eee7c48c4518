"""Disposables: domains made from an AppVM that allows it, each with a copy of its volume, which is gone with its run.

A disposable that `auto_cleanup` is set of is itself gone when it halts (`Inventory.ended`), so that one which was made
for a call needs only to be ended with the call. Nothing here starts or ends a domain: that is the lifecycle's.
"""

import random
import re
from collections.abc import Callable
from itertools import chain
from uuid import UUID, uuid4

from bento.host.disk.durable import make_directory
from bento.host.manager.events import Events
from bento.host.manager.inventory import Inventory
from bento.host.manager.places import Places
from bento.host.manager.properties import inherited, makes_disposables
from bento.host.model.domain import ADMIN, Domain, DomainClass
from bento.host.model.errors import Conflict, Invalid, Unavailable
from bento.host.model.inventory import DomainRecord
from bento.wire.names import DomainName, LabelName, Tag

MAX_AT_ONCE = 8
"""Disposables that one domain may have by its calls, and by theirs: each takes a machine's memory, and a domain may be
hostile."""

NUMBERS = range(1, 10_000)
"""Of names (the field's: disp1 to disp9999), taken at random: a name used again soon would be mistaken."""

NUMBERED = re.compile("disp[0-9]+")
"""Names that nobody else gives to a domain: what is called so is gone with its run."""


class Disposables:
    def __init__(
        self,
        inventory: Inventory,
        places: Places,
        events: Events,
        claim: Callable[[DomainRecord], tuple[UUID, int] | None],
    ) -> None:
        """`claim`: the uuid and slot of a machine that was forked ahead for the next disposable of a base."""
        self._inventory = inventory
        self._places = places
        self._events = events
        self._claim = claim
        self._asked_by: dict[UUID, UUID] = {}
        """Of the disposables that calls made: who first asked, which is no such disposable."""

    def require_base(self, record: DomainRecord) -> None:
        """Raises `Invalid` if no disposable may be made from this domain."""
        if not makes_disposables(record):
            how = f"'bento prefs {record.name} template_for_dispvms True' allows it"
            raise Invalid(
                f"'{record.name}' is no disposable template; "
                + (how if record.domain.klass is DomainClass.APP else "only an AppVM can be one")
            )

    def make(
        self, base: DomainName, *, asked_by: DomainName, label: LabelName | None = None, fresh: bool = False
    ) -> DomainRecord:
        """A new disposable, not started, gone with its first run. Who asked becomes tags, as in the field.

        Its label is that of its base where none is given. `fresh`: it is to boot, and takes no machine forked ahead.
        What a disposable asks for counts against whoever asked for that one: else each of them could have as many more.
        """
        record = self._inventory.get(base)
        label = label or record.domain.label
        tags = frozenset({Tag(f"created-by-{asked_by}"), Tag(f"disp-created-by-{asked_by}")})
        if asked_by == ADMIN:
            return self.add(record, self._free_name(), label, tags=tags, auto_cleanup=True, claims=not fresh)
        there = {other.domain.uuid for other in self._inventory}
        self._asked_by = {uuid: first for uuid, first in self._asked_by.items() if uuid in there}
        asking = self._inventory.get(asked_by).domain.uuid
        first = self._asked_by.get(asking, asking)
        if sum(1 for other in self._asked_by.values() if other == first) >= MAX_AT_ONCE:
            raise Conflict(f"'{asked_by}' has {MAX_AT_ONCE} disposables already", actual="full", required="free")
        made = self.add(record, self._free_name(), label, tags=tags, auto_cleanup=True, claims=not fresh)
        self._asked_by[made.domain.uuid] = first
        return made

    def add(
        self,
        base: DomainRecord,
        name: DomainName,
        label: LabelName,
        *,
        tags: frozenset[Tag] = frozenset(),
        auto_cleanup: bool = False,
        claims: bool = False,
    ) -> DomainRecord:
        """A new disposable with the properties, features and tags of its base, as in the field.

        `claims`: it starts soon, and may be a machine that was forked ahead.
        """
        self.require_base(base)
        properties = inherited(base)
        if auto_cleanup:
            properties["auto_cleanup"] = "True"
        uuid, slot = (claims and self._claim(base)) or (uuid4(), self._inventory.free_slot())
        record = DomainRecord(
            Domain(uuid, name, DomainClass.DISPOSABLE, label, base.name),
            slot=slot,
            properties=properties,
            tags=base.tags | tags,
            features=base.features,
        )
        self._inventory.require(record)
        directory = self._places.domain(uuid)
        try:
            make_directory(directory)
        except OSError as error:
            raise Unavailable(f"'{name}' cannot be made: {directory}: {error.strerror}") from error
        self._inventory.put(record)
        self._events.tell("", "domain-add", vm=name)
        return record

    def _free_name(self) -> DomainName:
        first = random.randrange(len(NUMBERS))  # nobody gains by guessing it
        for number in chain(NUMBERS[first:], NUMBERS[:first]):
            if (name := DomainName(f"disp{number}")) not in self._inventory:
                return name
        raise Conflict("there are as many disposables as there can be", actual="full", required="free")
