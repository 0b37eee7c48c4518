"""Calls between domains: a broker asks, the policy decides, two brokers get a leg each. No byte of a call passes here.

The source of a call is the domain whose broker asked. What the guest named is
only ever the target and the service, both parsed at the broker and again here.
"""

import logging
import socket

from bento.host.manager.brokers import OnOver
from bento.host.manager.disposables import Disposables
from bento.host.manager.inventory import Inventory
from bento.host.manager.lifecycle import Lifecycle
from bento.host.manager.policy import PolicyFiles
from bento.host.manager.reports import Reports
from bento.host.manager.world import facts
from bento.host.model.domain import ADMIN, PowerState
from bento.host.model.errors import BentoError, Conflict, Unavailable
from bento.host.policy.decide import Allowed, Asking, Call, Denied, decide
from bento.host.policy.files import Policy
from bento.host.policy.world import Disposable, World
from bento.wire.control import Asked, Open
from bento.wire.names import DomainName, ServiceArgument, ServiceName, TargetName
from bento.wire.rpc import ExitCode

TRIES = 3
"""Brokers that are asked for one call: one that just died never got it, and its successor is waited for."""


class Calls:
    def __init__(
        self, inventory: Inventory, policy: PolicyFiles, lifecycle: Lifecycle, disposables: Disposables
    ) -> None:
        self._inventory = inventory
        self._policy = policy
        self._lifecycle = lifecycle
        self._disposables = disposables
        self._reports = Reports()

    async def answer(self, source: DomainName, asked: Asked) -> socket.socket | ExitCode:
        """What becomes of a call that a program in `source` asked for: a leg to its server, or a code."""
        call = Call(source, asked.service, asked.argument, asked.target)
        match decide(self.policy(), call, self.world()):
            case Denied(sentence=sentence):
                self._reports.say(source, logging.WARNING, f"call denied: {sentence}")
                return ExitCode.REFUSED
            case Asking(rule=rule):
                what = (
                    f"call denied: {rule.place} asks about {asked.service} from {source}, and nobody can be asked yet"
                )
                self._reports.say(source, logging.WARNING, what)
                return ExitCode.REFUSED
            case Allowed(target=target) if target == ADMIN:
                what = f"call allowed, but {ADMIN} has no service {asked.service}: {source} asked"
                self._reports.say(source, logging.WARNING, what)
                return ExitCode.NOT_FOUND
            case Allowed(target=target, user=user, autostart=autostart, rule=rule):
                if isinstance(target, Disposable):
                    what = f"call denied: {rule.place} sends it to {target}, and no disposable can be made yet"
                    self._reports.say(source, logging.WARNING, what)
                    return ExitCode.REFUSED
                what = f"call allowed: {asked.service} from {source} to {target} by {rule.place}"
                self._reports.say(source, logging.INFO, what)
                try:
                    return await self.open(
                        target,
                        asked.service,
                        asked.argument,
                        source=source,
                        requested=asked.target,
                        user=user or "",
                        autostart=autostart,
                    )
                except BentoError as error:
                    self._reports.say(source, logging.WARNING, f"call of {asked.service} from {source} failed: {error}")
                    return ExitCode.FAULT

    async def open(
        self,
        target: DomainName,
        service: ServiceName,
        argument: ServiceArgument,
        *,
        source: DomainName,
        requested: TargetName,
        user: str,
        autostart: bool,
        rows: int = 0,
        columns: int = 0,
        over: OnOver | None = None,
    ) -> socket.socket:
        """The caller's leg of a call that `target` now serves. The policy has been asked, or does not apply.

        `over` hears when a call that was opened is over.
        """
        if (state := self._lifecycle.state(target)) is not PowerState.RUNNING:
            if not autostart:
                raise Conflict(
                    f"'{target}' does not run; 'bento start {target}' starts it",
                    actual=state,
                    required=PowerState.RUNNING,
                )
            await self._lifecycle.ensure_running(target)
        user = user or self._inventory.get(target).properties.get("default_user", "")
        call = Open(service, argument, source, requested, user, rows, columns)
        for _ in range(TRIES):
            broker = await self._lifecycle.broker(target)
            callers, servers = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                await broker.open(call, servers, over)
            except BaseException as error:
                callers.close()
                if not isinstance(error, OSError):
                    raise
            else:
                return callers
        raise Unavailable(f"the channel to '{target}' was lost again and again; see 'bento logs {target}'")

    async def open_in_new(
        self,
        base: DomainName,
        service: ServiceName,
        argument: ServiceArgument,
        *,
        source: DomainName,
        requested: TargetName,
        user: str,
    ) -> socket.socket:
        """The same, served by a new disposable made from `base`, which ends with the call."""
        name = self._disposables.make(base, asked_by=source).name
        try:
            await self._lifecycle.start(name, for_call=True)
            return await self.open(
                name,
                service,
                argument,
                source=source,
                requested=requested,
                user=user,
                autostart=False,
                over=lambda _blame, _sentence: self._lifecycle.discard(name),
            )
        except BaseException:
            self._lifecycle.discard(name)
            raise

    def policy(self) -> Policy:
        """The policy in force."""
        return self._policy.current()

    def world(self) -> World:
        """What the policy may know of the domains there are now."""
        return World({record.name: facts(record, self._runs(record.name)) for record in self._inventory})

    def _runs(self, name: DomainName) -> bool:
        return self._lifecycle.state(name) is PowerState.RUNNING
