"""The manager's pieces: what each is given, and so who knows whom. Nothing happens here.

Arrows go one way but in a few places, each a function below that is called once all is there: domains that start ask
for calls, which start domains; and what watches the memory ends domains, which are asked for by what watches it.
"""

import socket
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path

from bento.host.manager.admission import Admission
from bento.host.manager.audit import Audit
from bento.host.manager.brokers import Nursery
from bento.host.manager.burials import Burials
from bento.host.manager.calls import Calls
from bento.host.manager.channels import Channels
from bento.host.manager.consent import Consent
from bento.host.manager.contracts import Contracts
from bento.host.manager.disposables import Disposables
from bento.host.manager.events import Events
from bento.host.manager.grants import Grants
from bento.host.manager.invariants import Invariants
from bento.host.manager.inventory import Inventory
from bento.host.manager.journals import Journals
from bento.host.manager.launches import Launches
from bento.host.manager.lifecycle import Lifecycle
from bento.host.manager.live import Live
from bento.host.manager.machines import Machines
from bento.host.manager.methods.kinds import Manager
from bento.host.manager.notices import Notices
from bento.host.manager.places import Places
from bento.host.manager.policy import PolicyFiles
from bento.host.manager.pressure import Pressure
from bento.host.manager.reports import Reports
from bento.host.manager.saved import Saved
from bento.host.manager.seeds import Seeds
from bento.host.manager.services import Services
from bento.host.manager.spares import Spares
from bento.host.manager.suspension import Suspension
from bento.host.manager.templates import Templates
from bento.host.model.domain import DomainClass
from bento.host.model.inventory import DomainRecord
from bento.host.model.memory import HostMemory
from bento.host.ports.hypervisor import Hypervisor
from bento.host.ports.keys import Keys
from bento.host.ports.storage import Storage
from bento.host.ports.store import Store
from bento.host.ports.templates import TemplateBuilder
from bento.wire.control import Asked
from bento.wire.names import DomainName
from bento.wire.rpc import ExitCode


@dataclass(frozen=True, slots=True)
class Drivers:
    """What the manager works with: the ports' drivers, and what only the machine's side knows."""

    store: Store
    storage: Storage
    hypervisor: Hypervisor
    builder: TemplateBuilder
    nursery: Callable[[int], list[str]]
    """The command line of the brokers' nursery, whose control socket is the given file number."""
    service: Callable[[Path], list[str]]
    """The command line of one call of a service of the admin domain, which lies in that file."""
    keys: Keys
    sealing: Callable[[Sequence[str], int], list[str]]
    """The command line of a suspended machine's passage: its arguments, and how large its files may grow in bytes."""
    memory: Callable[[], HostMemory]
    """The host's memory now."""
    doctor: Callable[[], Awaitable[list[dict[str, object]]]]


@dataclass(frozen=True, slots=True)
class Pieces:
    """`manager` is what methods work with, the others what the process itself needs beside."""

    manager: Manager
    policy: PolicyFiles
    suspension: Suspension
    pressure: Pressure
    nursery: Nursery
    services: Services

    def work(self) -> list[Coroutine[None, None, None]]:
        """What goes on in the background for as long as the manager lives."""
        return [self.manager.audit.keep(), self.manager.seeds.keep(), self.manager.spares.keep(), self.pressure.keep()]

    async def close(self) -> None:
        """In this order, once that has ended: who is asked for something closes after whoever may ask."""
        await self.manager.lifecycle.close()
        await self.manager.spares.close()
        await self.nursery.close()
        await self.services.close()
        await self.manager.audit.close()


def assemble(places: Places, drivers: Drivers, notices: Notices, stop: Callable[[], None]) -> Pieces:
    """All of them, for the home that this process holds. `stop` ends the process once its answers are given."""
    # What is written down.
    events = Events()
    audit = Audit(places.audit, events)
    inventory = Inventory(drivers.store)
    invariants = Invariants(places.invariants)
    policy = PolicyFiles(
        places.policies,
        places.policy,
        notices.add,
        judge=lambda policy: invariants.fault(policy, inventory),
        beside=[places.invariants],
    )
    inventory.judge = lambda before, after: invariants.require(policy.in_force, before, after)
    journals = Journals(places)
    contracts = Contracts(places.contracts)
    grants = Grants(inventory, drivers.store)

    # Machines, and what they are made of.
    templates = Templates(inventory, places, drivers.builder)
    machines = Machines(inventory, places, drivers.storage, templates)
    seeds = Seeds(
        inventory=inventory,
        places=places,
        hypervisor=drivers.hypervisor,
        machines=machines,
        templates=templates,
        events=events,
        memory=drivers.memory,
    )

    def leaves_room(base: DomainRecord) -> bool:
        return admission.leaves_room(base)

    spares = Spares(
        inventory=inventory,
        places=places,
        hypervisor=drivers.hypervisor,
        machines=machines,
        templates=templates,
        seeds=seeds,
        events=events,
        leaves_room=leaves_room,
    )

    # Brokers.
    async def answer(source: DomainName, asked: Asked) -> socket.socket | ExitCode:
        return await calls.answer(source, asked)

    nursery = Nursery(drivers.nursery)
    channels = Channels(inventory, journals, nursery, events, answer)
    saved = Saved(places, drivers.hypervisor, drivers.keys, drivers.sealing)
    suspension = Suspension(inventory, places, channels, saved, events)

    # Memory: who may start, and who must go.
    def running() -> list[Live]:
        return lifecycle.running()

    def with_machines() -> list[Live]:
        return lifecycle.with_machines()

    def is_disposable(name: DomainName) -> bool:  # one that was just forgotten may not be buried yet
        return name in inventory and inventory.get(name).domain.klass is DomainClass.DISPOSABLE

    async def end(name: DomainName) -> None:
        await lifecycle.kill(name)

    pressure = Pressure(
        read=drivers.memory,
        lives=running,
        machines=with_machines,
        is_disposable=is_disposable,
        spares=spares.taken,
        drop_spares=spares.drop_all,
        save_memory=seeds.save_memory,
        end=end,
        events=events,
    )
    admission = Admission(drivers.memory, pressure)

    # Domains, from their start to their end.
    launches = Launches(
        hypervisor=drivers.hypervisor,
        machines=machines,
        channels=channels,
        seeds=seeds,
        spares=spares,
        suspension=suspension,
        admission=admission,
    )
    burials = Burials(
        inventory=inventory,
        places=places,
        machines=machines,
        journals=journals,
        templates=templates,
        suspension=suspension,
        events=events,
    )
    lifecycle = Lifecycle(
        inventory=inventory,
        places=places,
        machines=machines,
        channels=channels,
        templates=templates,
        suspension=suspension,
        admission=admission,
        launches=launches,
        burials=burials,
        events=events,
    )
    disposables = Disposables(inventory, places, events, spares.claim)

    # Calls.
    consent = Consent(inventory, grants)
    reports = Reports()
    services = Services(places.services, drivers.service, reports)
    calls = Calls(inventory, policy, lifecycle, disposables, consent, services, audit, contracts, reports)

    manager = Manager(
        inventory=inventory,
        lifecycle=lifecycle,
        calls=calls,
        contracts=contracts,
        audit=audit,
        invariants=invariants,
        journals=journals,
        disposables=disposables,
        consent=consent,
        grants=grants,
        seeds=seeds,
        spares=spares,
        templates=templates,
        storage=drivers.storage,
        places=places,
        events=events,
        notices=notices,
        memory=drivers.memory,
        doctor=drivers.doctor,
        stop=stop,
    )
    return Pieces(manager, policy, suspension, pressure, nursery, services)
