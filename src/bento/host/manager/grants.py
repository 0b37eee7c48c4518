"""Grants: what the person allowed for longer than one call, all of it in one place.

A grant only ever answers an `ask` of the policy in force, for the very errand
that the person said yes to, and only with a target that the policy still
offers: no rule is widened by it, and a rule that turned to deny is not asked
about. Two kinds:

- *for this session*: until the manager ends, the calling domain halts, or one of the two domains is removed. Kept in
  memory, so none survives the manager, however that ends.
- *until a time*: kept in the store, so it survives the manager and restarts of the domains, and ends at its time, or
  when one of the two domains is removed.
"""

import logging
import secrets
import time
from collections.abc import Callable

from bento.host.manager.inventory import Inventory
from bento.host.model.errors import NoSuch
from bento.host.model.grant import Errand, Grant
from bento.host.ports.store import Store
from bento.wire.consent import Term, Yes
from bento.wire.names import DomainName

log = logging.getLogger(__name__)


class Grants:
    def __init__(self, inventory: Inventory, store: Store, clock: Callable[[], float] = time.time) -> None:
        """`clock`: seconds since 1970."""
        self._inventory = inventory
        self._store = store
        self._clock = clock
        self._by_errand = {grant.errand: grant for grant in store.grants()}
        self.sweep()

    def find(self, errand: Errand) -> Grant | None:
        grant = self._by_errand.get(errand)
        # Not before it was made either: a clock that was set back must not make a grant last longer.
        return grant if grant and self._holds(grant) and grant.made <= self._clock() else None

    def add(self, errand: Errand, source: DomainName, base: DomainName, yes: Yes) -> Grant:
        """Record a yes that is for longer than once; it takes the place of an earlier one for the same errand.

        `base` is the target's name, or that of its base if it is a new disposable. Raises `Unavailable`.
        """
        self.sweep()
        now = self._clock()
        grant = Grant(
            secrets.token_hex(4),
            errand,
            source,
            yes.target,
            self._inventory.get(base).domain.uuid,
            made=now,
            until=now + yes.seconds if yes.term is Term.UNTIL else None,
            run=self._run(source) if yes.term is Term.SESSION else None,
        )
        if grant.until is None:
            self._forget(errand)
        else:
            self._store.put_grant(grant)
        self._by_errand[errand] = grant
        return grant

    def all(self) -> list[Grant]:
        """Those that count now, the oldest first."""
        self.sweep()
        return sorted(self._by_errand.values(), key=lambda grant: grant.made)

    def revoke(self, number: str) -> None:
        for grant in self.all():
            if grant.id == number:
                self._forget(grant.errand)
                log.info("grant %s was revoked", number)
                return
        raise NoSuch(f"there is no grant '{number}'; 'bento grants' shows those there are")

    def sweep(self) -> None:
        """Forget those that have come to their end."""
        for grant in tuple(self._by_errand.values()):
            if not self._holds(grant):
                self._forget(grant.errand)

    def _forget(self, errand: Errand) -> None:
        if (grant := self._by_errand.get(errand)) is None:
            return
        if grant.until is not None:
            self._store.drop_grant(grant.id)
        del self._by_errand[errand]

    def _holds(self, grant: Grant) -> bool:
        known = {record.domain.uuid for record in self._inventory}
        if not {grant.errand.source, grant.target_uuid} <= known:
            return False
        return grant.run == self._run(grant.source) if grant.until is None else self._clock() < grant.until

    def _run(self, source: DomainName) -> float | None:
        """What tells this run of the domain from any other; None while it is halted."""
        run = self._inventory.get(source).run
        return run.started if run else None
