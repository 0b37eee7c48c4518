"""After a crash, or a reboot: what still runs goes on, what nobody owns is ended, what was half done is taken away.

Runs once, before the socket opens. Everything here may be killed at any point
and run again.
"""

import logging
import shutil
from uuid import UUID

from bento.host.manager.inventory import Inventory
from bento.host.manager.lifecycle import Lifecycle
from bento.host.manager.places import Places
from bento.host.manager.templates import Templates
from bento.host.model.inventory import DomainRecord, Phase
from bento.host.ports.hypervisor import Hypervisor

log = logging.getLogger(__name__)


async def recover(
    inventory: Inventory, places: Places, hypervisor: Hypervisor, lifecycle: Lifecycle, templates: Templates
) -> None:
    for directory in (places.domains, places.templates, places.machine(UUID(int=0)).parent):
        directory.mkdir(parents=True, mode=0o700, exist_ok=True)
    templates.clear_aside()

    # A run that was only starting was promised to nobody: its machine, if there is one, is not claimed and so ended.
    running = [record for record in inventory if record.run and record.run.phase is Phase.RUNNING]
    machines = await hypervisor.adopt({r.domain.uuid: places.machine(r.domain.uuid) for r in running})

    for record in inventory:
        machine = machines.get(record.domain.uuid)
        if machine:
            log.info("%s still runs", record.name)
            await lifecycle.adopt(record, machine)
        else:
            _put_away(inventory, places, record)
    _sweep_domains(inventory, places)
    await templates.sweep()


def _put_away(inventory: Inventory, places: Places, record: DomainRecord) -> None:
    """What a run leaves that has ended while no manager looked."""
    uuid = record.domain.uuid
    places.volatile(uuid).unlink(missing_ok=True)
    places.next_root(uuid).unlink(missing_ok=True)
    shutil.rmtree(places.machine(uuid), ignore_errors=True)
    if record.base is not None:
        for delta in places.domain(uuid).glob("root-delta-*.img"):
            if delta != places.delta(uuid, record.base):
                delta.unlink()  # committed just before a crash
    if record.run:
        log.warning("%s ended while no manager was there", record.name)
        inventory.change(record.name, run=None)


def _sweep_domains(inventory: Inventory, places: Places) -> None:
    """Directories of domains that were never recorded, or are no longer."""
    known = {str(record.domain.uuid) for record in inventory}
    for directory in places.domains.iterdir():
        if directory.name not in known:
            shutil.rmtree(directory, ignore_errors=True)
