"""What runs and what it takes of this machine: counters for `bento top`, which makes rates of them."""

import asyncio
import json
import os
import time

from bento.host.manager.methods.bento import about
from bento.host.manager.methods.kinds import Manager, Method, Reply
from bento.host.manager.properties import number
from bento.host.manager.spares import Spare
from bento.host.model.errors import BentoError
from bento.host.model.inventory import DomainRecord
from bento.host.model.machine import DiskUsage
from bento.host.model.memory import MIB
from bento.host.ports.hypervisor import Machine
from bento.wire.admin import Request

ANSWER_SECONDS = 2.0
"""For one machine's hypervisor; of one that hangs all else is shown."""


async def usage(manager: Manager, request: Request) -> Reply:
    """The host's memory, each domain that has a machine, and the spares, as JSON. What cannot be known is null.

    Bytes; `cpu_seconds` since its machine began; `pressure` in percent; `at` in seconds of a clock that never jumps.
    """
    having = [(r, machine) for r in manager.inventory if (machine := manager.lifecycle.machine(r.name))]
    rows = await asyncio.gather(*(_row(manager, record, machine) for record, machine in having))
    spares = await asyncio.gather(*(_spare(spare) for spare in manager.spares.waiting()))
    host = manager.memory()
    facts = {
        "at": time.monotonic(),
        "processors": os.cpu_count(),
        "total_bytes": host.total,
        "available_bytes": host.available,
        "kept_bytes": host.kept,
        "pressure": host.pressure,
    }
    return json.dumps({"host": facts, "domains": rows, "spares": spares}).encode()


async def _spare(spare: Spare) -> dict[str, object]:
    """A machine that is no domain yet: forked ahead for the next disposable of `base`."""
    return {
        "base": spare.base,
        "uuid": str(spare.machine.uuid),
        "pid": spare.machine.pid,
        **await _taken(spare.machine),
        "limit_bytes": spare.spec.memory_bytes,
    }


async def _row(manager: Manager, record: DomainRecord, machine: Machine) -> dict[str, object]:
    """`limit_bytes`: what the guest is set to have at most."""
    return {**about(manager, record), **await _taken(machine), "limit_bytes": number(record, "memory") * MIB}


async def _taken(machine: Machine) -> dict[str, object]:
    """`shared_bytes`: what other processes map, too. `scratch_bytes`: volumes in memory, which come on top of that."""
    used = await machine.usage()
    disks = await _disks(machine)
    return {
        "cpu_seconds": used.cpu_ns / 1e9,
        "resident_bytes": used.resident_bytes,
        "proportional_bytes": used.proportional_bytes,
        "shared_bytes": used.shared_bytes,
        "written_bytes": disks.written_bytes if disks else None,
        "scratch_bytes": disks.scratch_bytes if disks else None,
    }


async def _disks(machine: Machine) -> DiskUsage | None:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await machine.disk_usage()
    except (BentoError, OSError, TimeoutError):
        return None  # it ends just now, or hangs


METHODS: dict[str, Method] = {"bento.vm.Usage": usage}
