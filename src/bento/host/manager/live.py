"""One domain's power while it is not halted: its state, its machine, its broker, and news of all three."""

import asyncio
import time
from dataclasses import dataclass, field
from uuid import UUID

from bento.host.manager.brokers import Broker
from bento.host.model.domain import TRANSITIONS, PowerState, Step
from bento.host.model.errors import BentoError, Conflict
from bento.host.model.machine import MachineState
from bento.host.ports.hypervisor import Machine
from bento.wire.names import DomainName


@dataclass(slots=True)
class Live:
    """What there is of a domain from its start to its burial. What is recorded of it is in the inventory."""

    name: DomainName
    uuid: UUID
    state: PowerState = PowerState.HALTED
    machine: Machine | None = None
    broker: Broker | None = None
    cut_off: str = ""
    """Why its broker is not replaced."""
    called: float = field(default_factory=time.monotonic)
    """When it last began, or was asked to serve a call: seconds of the monotonic clock."""
    for_call: bool = False
    """It runs for one call, and is over with it."""
    fresh: bool = False
    """It boots, whatever seed there is."""
    starting: asyncio.Task[None] | None = None
    unwanted: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by a kill."""
    packed: bool = False
    """A TemplateVM's root lies packed on its next-root volume."""
    saved: bool = False
    """All that it was is on the disk, and counts: its machine is only to be buried."""
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the machine has ended; burying it follows."""
    halted: asyncio.Event = field(default_factory=asyncio.Event)
    failure: BentoError | None = None
    """What went wrong when it was buried."""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while the machine is paused or resumed."""
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def move(self, step: Step) -> None:
        after = TRANSITIONS.get((self.state, step))
        if after is None:
            now = self.state.lower()
            raise Conflict(f"'{self.name}' cannot {step} now, it is {now}", actual=now, required=step)
        self.state = after
        self.tell()

    def tell(self) -> None:
        """Wake whoever waits for a `change` of state or broker."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def change(self) -> None:
        await self._changed.wait()

    async def is_gone(self) -> bool:
        """Whether the machine has ended, or is just being killed, even if its keeper does not know yet."""
        assert self.machine
        try:
            return self.gone.is_set() or self.unwanted.is_set() or await self.machine.state() is MachineState.GONE
        except BentoError:
            return False
