"""After a crash, or a reboot: what still runs goes on, what nobody owns is ended, what was half done is taken away.

Runs once, before the socket opens. Everything here may be killed at any point
and run again.
"""

import logging
import shutil
from pathlib import Path
from uuid import UUID

from bento.host.manager.inventory import Inventory
from bento.host.manager.lifecycle import Lifecycle
from bento.host.manager.places import Places
from bento.host.manager.suspension import Suspension, is_suspended
from bento.host.manager.templates import Templates
from bento.host.model.domain import DomainClass
from bento.host.model.inventory import DomainRecord, Phase
from bento.host.ports.hypervisor import Hypervisor

THEIR_MACHINE = {Phase.RUNNING, Phase.SUSPENDING, Phase.RESUMING}
"""Phases in which a domain is its machine, if that is there."""

log = logging.getLogger(__name__)


async def recover(
    inventory: Inventory,
    places: Places,
    hypervisor: Hypervisor,
    lifecycle: Lifecycle,
    templates: Templates,
    suspension: Suspension,
) -> None:
    for directory in (places.domains, places.templates, places.machines, places.seeds):
        directory.mkdir(parents=True, mode=0o700, exist_ok=True)
    templates.clear_aside()

    # A run that was only starting was promised to nobody, and calls have ended with the manager that knew of them:
    # the machines of both, if there are any, are not claimed and so ended. So is what is left of a suspended one's.
    running = [record for record in inventory if record.run and record.run.phase in THEIR_MACHINE]
    machines = await hypervisor.adopt({r.domain.uuid: places.machine(r.domain.uuid) for r in running})

    for record in inventory:
        machine = machines.get(record.domain.uuid)
        if machine and record.run and record.run.phase is Phase.RUNNING:
            log.info("%s still runs", record.name)
            await lifecycle.adopt(record, machine)
        elif machine:
            await lifecycle.adopt(await suspension.recover(record, machine), machine)
        elif is_suspended(record) and suspension.is_whole(record):
            log.info("%s is suspended", record.name)
        else:
            suspension.discard(record)  # a key is not only unlinked
            _put_away(inventory, places, record)
    _sweep(places.domains, {record.domain.uuid for record in inventory})
    _sweep(places.machines, set(machines))
    await templates.sweep()


def _put_away(inventory: Inventory, places: Places, record: DomainRecord) -> None:
    """What a run leaves that has ended while no manager looked, and what a killed manager was in the middle of."""
    uuid = record.domain.uuid
    kept = {places.private(uuid)}
    if record.domain.klass is not DomainClass.DISPOSABLE:
        kept.add(places.console_log(uuid))
    if record.base is not None:
        kept.add(places.delta(uuid, record.base))  # those of other versions were committed just before a crash
    if places.domain(uuid).exists():
        for path in places.domain(uuid).iterdir():
            if path not in kept and not path.is_dir():
                path.unlink()
    if record.run:
        log.warning("%s ended while no manager was there", record.name)
    if record.run or record.domain.klass is DomainClass.DISPOSABLE:
        # Also one that was made and not started yet: whoever was about to is gone with the manager.
        inventory.ended(record.name)


def _sweep(parent: Path, known: set[UUID]) -> None:
    """Directories of domains that were never recorded, are no longer, or do not run."""
    names = {str(uuid) for uuid in known}
    for directory in parent.iterdir():
        if directory.name not in names:
            shutil.rmtree(directory, ignore_errors=True)
