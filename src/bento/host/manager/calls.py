"""Calls between domains: a broker asks, the policy decides, two brokers get a leg each. No byte of a call passes here.

Each call goes the same way: it is decided, by the policy and maybe the person;
the decision is written into the audit log; and only then, if it may be, is it
opened.

The source of a call is the domain whose broker asked. What the guest named is
only ever the target and the service, both parsed at the broker and again here.
"""

import logging
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import assert_never

from bento.host.manager import legs
from bento.host.manager.audit import Audit
from bento.host.manager.brokers import OnOver
from bento.host.manager.consent import Consent, Consented, Withheld
from bento.host.manager.contracts import Contracts
from bento.host.manager.disposables import Disposables
from bento.host.manager.inventory import Inventory
from bento.host.manager.lifecycle import Lifecycle
from bento.host.manager.policy import PolicyFiles
from bento.host.manager.reports import Reports
from bento.host.manager.services import Services
from bento.host.manager.world import KnownDomains
from bento.host.model.audit import Verdict
from bento.host.model.domain import ADMIN, DomainClass, PowerState
from bento.host.model.errors import BentoError, Unavailable
from bento.host.model.fault import Fault
from bento.host.policy.decide import Allowed, Asking, Call, Decision, Denied, End, decide
from bento.host.policy.files import Policy
from bento.host.policy.rules import Rule
from bento.host.policy.world import Disposable, World
from bento.wire.contract import BROKEN
from bento.wire.control import Asked, Blame, Open
from bento.wire.names import DomainName, LabelName, ServiceArgument, ServiceName, TargetName
from bento.wire.rpc import ExitCode

TRIES = 3
"""Brokers that are asked for one call: one that just died never got it, and its successor is waited for."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call comes to once everybody was asked. `target` None: to nothing, and `reason` says why."""

    verdict: Verdict
    rule: Rule | None
    target: End | None = None
    user: str = ""
    autostart: bool = False
    grant: str = ""
    reason: str = ""


class Calls:
    def __init__(
        self,
        inventory: Inventory,
        policy: PolicyFiles,
        lifecycle: Lifecycle,
        disposables: Disposables,
        consent: Consent,
        services: Services,
        audit: Audit,
        contracts: Contracts,
        reports: Reports,
    ) -> None:
        self._inventory = inventory
        self._policy = policy
        self._lifecycle = lifecycle
        self._disposables = disposables
        self._consent = consent
        self._services = services
        self._audit = audit
        self._contracts = contracts
        self._reports = reports
        self._world = World(KnownDomains(inventory, lifecycle.state))

    async def answer(self, source: DomainName, asked: Asked) -> socket.socket | ExitCode:
        """What becomes of a call that a program in `source` asked for: a leg to its server, or a code."""
        call = Call(source, asked.service, asked.argument, asked.target)
        policy = await self.policy()
        decision = decide(policy, call, self._world)
        if isinstance(decision, Asking):
            consent = await self._consent.resolve(call, decision)
            policy = await self.policy()  # and the domains: they may be others by now
            outcome = _agreed(decision, consent, decide(policy, call, self._world))
        else:
            outcome = _decided(decision)
        try:
            self._write_down(call, outcome, policy)
        except Unavailable:
            return ExitCode.REFUSED  # the audit log has told the person why
        if decision.notify:
            self._consent.notify(source, _told(call, outcome))
        if outcome.target is None:
            return ExitCode.REFUSED
        return await self._proceed(call, outcome, outcome.target)

    async def command(
        self,
        target: End,
        service: ServiceName,
        argument: ServiceArgument,
        *,
        user: str,
        autostart: bool,
        rows: int,
        columns: int,
        label: LabelName | None = None,
        fresh: bool = False,
    ) -> socket.socket:
        """The leg of a call that the person at the host makes, whom no policy is asked about.

        `label` and `fresh` are for a disposable: what it shows (its base's), and whether it boots.
        """
        call = Call(ADMIN, service, argument, TargetName(str(target)))
        self._audit.record(TargetName(ADMIN), call, Verdict.ADMIN, chosen=call.target)
        if isinstance(target, Disposable):
            return await self._open_new(
                call, target.base, user=user, rows=rows, columns=columns, label=label, fresh=fresh
            )
        return await self._open_in(call, target, user=user, autostart=autostart, rows=rows, columns=columns)

    async def policy(self) -> Policy:
        """The policy in force, after an edit that is under way."""
        return await self._policy.current()

    @property
    def policy_fault(self) -> Fault | None:
        """What is wrong with the policy's files, whether or not a policy of before holds."""
        return self._policy.fault

    def world(self) -> World:
        """What the policy may know of the domains there are now; it does not change with them."""
        return World(dict(self._world.domains))

    def _write_down(self, call: Call, outcome: Outcome, policy: Policy) -> None:
        """Before anything comes of it. Raises `Unavailable`, and then nothing may."""
        self._audit.record(
            self._lane(call.source),
            call,
            outcome.verdict,
            chosen=TargetName(str(outcome.target or "")),
            rule=outcome.rule.place if outcome.rule else "",
            policy=policy.digest,
            grant=outcome.grant,
            reason=outcome.reason,
        )

    def _lane(self, source: DomainName) -> TargetName:
        """Whose share of the audit log a call counts against: disposables of one base are one."""
        domain = self._inventory.get(source).domain if source in self._inventory else None
        return TargetName(f"@dispvm:{domain.template}" if domain and domain.klass is DomainClass.DISPOSABLE else source)

    async def _proceed(self, call: Call, outcome: Outcome, target: End) -> socket.socket | ExitCode:
        try:
            if target == ADMIN:
                return await self._serve(call)
            if isinstance(target, Disposable):
                return await self._open_new(call, target.base, user=outcome.user)
            return await self._open_in(call, target, user=outcome.user, autostart=outcome.autostart)
        except BentoError as error:
            what = f"call of {call.service} from {call.source} failed: {error}"
            self._reports.say(call.source, logging.WARNING, what)
            return ExitCode.FAULT

    async def _serve(self, call: Call) -> socket.socket | ExitCode:
        """By a service of the admin domain."""
        program = self._services.find(call.service, call.argument)
        if program is None:
            what = f"{ADMIN} has no service {call.service}, which {call.source} asked for"
            self._reports.say(call.source, logging.WARNING, what)
            return ExitCode.NOT_FOUND
        contract = self._contracts.table(call.service)
        request = Open(call.service, call.argument, call.source, call.target, "", 0, 0, contract=contract)
        return await self._services.open(program, request, self._report(call, ADMIN))

    async def _open_new(
        self,
        call: Call,
        base: DomainName,
        *,
        user: str,
        rows: int = 0,
        columns: int = 0,
        label: LabelName | None = None,
        fresh: bool = False,
    ) -> socket.socket:
        """The caller's leg of a call that a new disposable serves, whomever `call` named, and that is its end."""
        name = self._disposables.make(base, asked_by=call.source, label=label, fresh=fresh).name

        def is_over(_blame: Blame, _sentence: str) -> None:
            self._lifecycle.discard(name)

        try:
            await self._lifecycle.start(name, for_call=True, fresh=fresh)
            return await self._open_in(call, name, user=user, autostart=False, rows=rows, columns=columns, over=is_over)
        except BaseException:
            self._lifecycle.discard(name)
            raise

    async def _open_in(
        self,
        call: Call,
        target: DomainName,
        *,
        user: str,
        autostart: bool,
        rows: int = 0,
        columns: int = 0,
        over: OnOver | None = None,
    ) -> socket.socket:
        """The caller's leg of a call that `target`, which is there, now serves, whomever `call` named.

        The broker holds both sides to the contract of the service, if it has one. `over` hears when a call that was
        opened is over.
        """
        contract = self._contracts.table(call.service)
        if not autostart:
            self._lifecycle.require_running(target)
        elif self._lifecycle.state(target) is not PowerState.RUNNING:
            await self._lifecycle.ensure_running(target)
        user = user or self._inventory.get(target).properties.get("default_user", "")
        request = Open(call.service, call.argument, call.source, call.target, user, rows, columns, contract=contract)
        report = self._report(call, target, over) if contract else over
        for _ in range(TRIES):
            broker = await self._lifecycle.broker(target)
            callers, servers = legs.pair()
            try:
                await broker.open(request, servers, report)
            except BaseException as error:
                callers.close()
                if not isinstance(error, OSError):
                    raise
            else:
                return callers
        raise Unavailable(f"the channel to '{target}' was lost again and again; see 'bento logs {target}'")

    def _report(self, call: Call, target: DomainName, over: OnOver | None = None) -> OnOver:
        """Hears that a call with a contract is over, tells who broke that, and passes it on."""

        def is_over(blame: Blame, sentence: str) -> None:
            if blame is not Blame.NOBODY and sentence.startswith(BROKEN):
                who = call.source if blame is Blame.CALLER else target
                reason = f"{who} broke the contract of {call.service}: {sentence.removeprefix(BROKEN)}"
                what = f"call of {call.service} from {call.source} to {target} was cut: {reason}"
                self._reports.say(who, logging.WARNING, what)
                with suppress(Unavailable):  # the audit log has told the person why
                    self._audit.record(self._lane(who), call, Verdict.CUT, chosen=TargetName(target), reason=reason)
            if over:
                over(blame, sentence)

        return is_over


def _decided(decision: Allowed | Denied) -> Outcome:
    match decision:
        case Allowed(target, user, autostart, _, rule):
            return Outcome(Verdict.ALLOWED, rule, target, user or "", autostart)
        case Denied(_, sentence, rule):
            return Outcome(Verdict.DENIED, rule, reason=sentence)
        case never:
            assert_never(never)


def _agreed(asking: Asking, consent: Consented | Withheld, now: Decision) -> Outcome:
    """What the person said of `asking`, if the policy that is in force `now` still leaves that to them."""
    match consent, now:
        case Withheld(sentence), _:
            return Outcome(Verdict.WITHHELD, asking.rule, reason=sentence)
        case Consented(target, grant), Asking(candidates, _, user, autostart, _, rule) if (
            target in candidates and user == asking.user
        ):
            return Outcome(Verdict.CONSENTED, rule, target, user or "", autostart, grant)
        case _:
            return Outcome(Verdict.WITHHELD, asking.rule, reason="the policy or the domains changed before the answer")


def _told(call: Call, outcome: Outcome) -> str:
    if outcome.target is None:
        return outcome.reason
    by = f" by {outcome.rule.place}" if outcome.rule else ""
    return f"{call.service} to {outcome.target} was allowed{by}"
