"""How a domain that starts gets its machine: one that goes on from a seed, or one that boots, in whichever way answers.

What else a start does, and when there may be one, is the lifecycle's (`lifecycle.py`). From here comes a machine whose
agent has answered, with a broker, or nothing: whatever was begun in vain is gone.
"""

import asyncio
import logging
from contextlib import AsyncExitStack

from bento.host.manager.admission import Admission
from bento.host.manager.brokers import End
from bento.host.manager.channels import Channels
from bento.host.manager.live import Live
from bento.host.manager.machines import Machines
from bento.host.manager.seedfiles import Kind, Seed
from bento.host.manager.seeds import Seeds
from bento.host.manager.spares import Spares
from bento.host.manager.suspension import Suspension
from bento.host.model.errors import Exhausted, Silent, Unavailable
from bento.host.model.inventory import DomainRecord, TemplateVersion
from bento.host.ports.hypervisor import Hypervisor

log = logging.getLogger(__name__)


class Launches:
    def __init__(
        self,
        *,
        hypervisor: Hypervisor,
        machines: Machines,
        channels: Channels,
        seeds: Seeds,
        spares: Spares,
        suspension: Suspension,
        admission: Admission,
    ) -> None:
        self._hypervisor = hypervisor
        self._machines = machines
        self._channels = channels
        self._seeds = seeds
        self._spares = spares
        self._suspension = suspension
        self._admission = admission

    async def until_answered(
        self, live: Live, record: DomainRecord, version: TemplateVersion, undo: AsyncExitStack
    ) -> asyncio.Task[End]:
        """A machine whose agent has answered, and its broker's life; `undo` ends both.

        Raises `NoMemory` or `Exhausted` where the host has too little, `Silent` where no machine answered in any way,
        `Unavailable` for all else.
        """
        if not live.fresh and (seed := await self._seeds.take(record)):
            try:
                async with self._admission.admitted(record, forked=True):
                    serving = await self._forked(live, record, version, undo, seed)
                if seed.kind is Kind.DISPOSABLES:
                    self._spares.expect(seed.base)
                return serving
            except Exhausted:
                raise  # a boot would take more of it
            except Unavailable as error:
                if live.unwanted.is_set():
                    raise
                log.warning("%s; it is started without a seed", error)
                self._seeds.distrust(seed)
        while True:
            try:
                async with self._admission.admitted(record, forked=False):
                    serving = await self._once(live, record, version, undo)
            except Silent as silent:
                if not self._hypervisor.was_silent(live.uuid):
                    raise
                log.warning("%s; it is started once more in another way", silent)
            else:
                self._hypervisor.answered(live.uuid)
                return serving

    async def _forked(
        self, live: Live, record: DomainRecord, version: TemplateVersion, undo: AsyncExitStack, seed: Seed
    ) -> asyncio.Task[End]:
        """From the machine that waits for it, if one does; without, or where that is of no use, from the seed itself.

        A machine that waited may have ended meanwhile, for which the seed is not to blame.
        """
        if live.uuid in self._spares:
            try:
                return await self._once(live, record, version, undo, seed)
            except Exhausted:
                raise
            except Unavailable as error:
                if live.unwanted.is_set():
                    raise
                log.warning("%s; it is forked anew", error)
        return await self._once(live, record, version, undo, seed)

    async def _once(
        self,
        live: Live,
        record: DomainRecord,
        version: TemplateVersion,
        undo: AsyncExitStack,
        seed: Seed | None = None,
    ) -> asyncio.Task[End]:
        """One try, from `seed` or by booting; raises `Silent` when the agent does not answer."""
        async with AsyncExitStack() as attempt:
            with self._machines.base_at_rest(record):
                spec = await self._machines.prepare(record, version, seed)
                self._suspension.note(spec)
                # Whatever machine of this domain is left from a crash was reaped at recovery.
                live.machine = await self._spares.adopt(spec) or await self._hypervisor.launch(spec)
            attempt.push_async_callback(live.machine.kill)
            # A guest that goes on from a seed takes its time to be awake, and its broker to begin: both at once.
            going = [asyncio.create_task(live.machine.resume())] if seed else []
            try:
                serving = await self._channels.attach(live, first=True)
                attempt.callback(serving.cancel)
            finally:
                await asyncio.gather(*going)
            await self._channels.answered(live, serving)
            await undo.enter_async_context(attempt.pop_all())
        return serving
