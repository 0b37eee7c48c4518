"""What of the inventory the policy may know."""

from collections.abc import Callable, Iterator, Mapping

from bento.host.manager.inventory import Inventory
from bento.host.manager.properties import makes_disposables
from bento.host.model.domain import DomainClass, PowerState
from bento.host.model.inventory import DomainRecord
from bento.host.policy.world import DomainFacts
from bento.wire.names import DomainName, FeatureName

INTERNAL = FeatureName("internal")
"""The field's: set to anything on domains that a person need not see."""


class KnownDomains(Mapping[DomainName, DomainFacts]):
    """The domains as they are at each look. A decision looks at a few of them, so nothing is gone through for it."""

    def __init__(self, inventory: Inventory, state: Callable[[DomainName], PowerState]) -> None:
        self._inventory = inventory
        self._state = state
        self._known: dict[tuple[DomainName, bool], DomainFacts] = {}
        self._of = -1
        """The change of the inventory that `_known` was made after."""

    def __getitem__(self, name: DomainName) -> DomainFacts:
        if self._of != self._inventory.changes:
            self._known, self._of = {}, self._inventory.changes
        running = self._state(name) is PowerState.RUNNING
        if (name, running) not in self._known:
            if name not in self._inventory:
                raise KeyError(name)
            self._known[name, running] = self._facts(self._inventory.get(name), running)
        return self._known[name, running]

    def __iter__(self) -> Iterator[DomainName]:
        return (record.name for record in self._inventory)

    def __len__(self) -> int:
        return sum(1 for _ in self._inventory)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._inventory

    def _facts(self, record: DomainRecord, running: bool) -> DomainFacts:
        domain = record.domain
        return DomainFacts(
            klass=domain.klass,
            tags=record.tags,
            uuid=domain.uuid,
            running=running,
            internal=bool(record.features.get(INTERNAL)),
            template_for_dispvms=makes_disposables(record),
            default_dispvm=self._inventory.default_dispvm(record),
            base=domain.template if domain.klass is DomainClass.DISPOSABLE else None,
        )
