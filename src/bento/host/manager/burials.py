"""What is done once a domain's machine is gone, or when a suspended domain is not to go on: its run is put away.

What outlives a run stays: the private volume, a template's changes until they are a version, what was suspended. A
disposable outlives nothing, and its name goes with its run.
"""

import logging
import shutil

from bento.host.manager.events import Events
from bento.host.manager.inventory import Inventory
from bento.host.manager.journals import Journals
from bento.host.manager.live import Live
from bento.host.manager.machines import Machines
from bento.host.manager.places import Places
from bento.host.manager.suspension import Suspension
from bento.host.manager.templates import Templates
from bento.host.model.errors import BentoError, Unavailable
from bento.host.model.inventory import DomainRecord

log = logging.getLogger(__name__)


class Burials:
    def __init__(
        self,
        *,
        inventory: Inventory,
        places: Places,
        machines: Machines,
        journals: Journals,
        templates: Templates,
        suspension: Suspension,
        events: Events,
    ) -> None:
        self._inventory = inventory
        self._places = places
        self._machines = machines
        self._journals = journals
        self._templates = templates
        self._suspension = suspension
        self._events = events

    async def bury(self, live: Live) -> None:
        """Commit what a template packed, take away what the run leaves; of one that was saved only the machine's own.

        What goes wrong is in the log, and of a commit in `live.failure`: a domain without a machine is halted.
        """
        if live.saved:
            shutil.rmtree(self._places.machine(live.uuid), ignore_errors=True)
            return
        name = live.name
        try:
            if live.packed:
                await self._templates.commit(self._inventory.get(name))
        except (BentoError, OSError) as error:
            log.error("the changes of %s are no version: %s", name, error)
            again = f"'bento start {name}' and 'bento shutdown {name}' try again"
            live.failure = Unavailable(f"'{name}' is halted, but its changes are no version yet: {error}; {again}")
        try:
            await self._machines.take_away(self._inventory.get(name))
            shutil.rmtree(self._places.machine(live.uuid), ignore_errors=True)
            self.end_run(self._inventory.get(name))
            await self._templates.sweep()
        except (BentoError, OSError) as error:
            log.error("%s is halted, but not all that it left could be taken away: %s", name, error)

    async def throw_away(self, record: DomainRecord) -> None:
        """What a suspended domain was saved as, and with that its run. Raises `Unavailable`."""
        with self._inventory.hold(record.name, "is being ended"):
            self._suspension.discard(record)
            await self._machines.take_away(record)
            self.end_run(record)
            await self._templates.sweep()

    def end_run(self, record: DomainRecord) -> None:
        """The domain has no run any more; a disposable that is gone with it is no domain any more."""
        if self._inventory.ended(record.name):
            shutil.rmtree(self._places.domain(record.domain.uuid), ignore_errors=True)
            self._journals.forget(record.domain.uuid)
            self._events.tell("", "domain-delete", vm=record.name)
