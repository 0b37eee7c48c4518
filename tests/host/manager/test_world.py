"""What the policy is told of the domains: as they are at each look, and made anew only after a change."""

from pathlib import Path
from uuid import UUID

import pytest

from bento.host.drivers.sqlite import SqliteStore
from bento.host.manager.inventory import Inventory
from bento.host.manager.world import KnownDomains
from bento.host.model.domain import ADMIN, Domain, DomainClass, PowerState
from bento.host.model.inventory import DomainRecord
from bento.host.policy.world import DomainFacts, World
from bento.wire.names import DomainName, FeatureName, LabelName, Tag

WORK, BASE, DISP = map(DomainName, ("work", "base", "disp1"))


class House:
    def __init__(self, tmp_path: Path) -> None:
        self.inventory = Inventory(SqliteStore(tmp_path / "db"))
        self.running: set[DomainName] = {ADMIN}
        self.add(WORK)
        self.add(BASE, template_for_dispvms="True")
        self.add(DISP, DomainClass.DISPOSABLE, BASE)
        self.domains = KnownDomains(self.inventory, self.state)

    def add(
        self,
        name: DomainName,
        klass: DomainClass = DomainClass.APP,
        template: DomainName | None = None,
        **properties: str,
    ) -> None:
        slot = self.inventory.free_slot()
        domain = Domain(UUID(int=slot), name, klass, LabelName("red"), template)
        self.inventory.put(DomainRecord(domain, slot=slot, properties=properties))

    def state(self, name: DomainName) -> PowerState:
        return PowerState.RUNNING if name in self.running else PowerState.HALTED


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_each_domain_is_told_with_what_rules_can_ask_of_it(house: House) -> None:
    house.inventory.change(WORK, tags=frozenset({Tag("t")}), features={FeatureName("internal"): "1"})
    assert dict(house.domains) == {
        ADMIN: DomainFacts(DomainClass.ADMIN, uuid=UUID(int=0), running=True),
        WORK: DomainFacts(DomainClass.APP, frozenset({Tag("t")}), UUID(int=1), internal=True),
        BASE: DomainFacts(DomainClass.APP, uuid=UUID(int=2), template_for_dispvms=True),
        DISP: DomainFacts(DomainClass.DISPOSABLE, uuid=UUID(int=3), default_dispvm=BASE, base=BASE),
    }
    assert len(house.domains) == 4


def test_who_is_nobody_is_not_told(house: House) -> None:
    world = World(house.domains)
    assert not world.has(DomainName("gone"))
    assert world.facts(DomainName("gone")) is None
    assert world.identified(UUID(int=9)) is None
    assert world.identified(UUID(int=2)) == BASE


def test_a_change_of_one_domain_shows_in_another_that_depends_on_it(house: House) -> None:
    assert house.domains[WORK].default_dispvm is None
    house.inventory.change(ADMIN, properties={"default_dispvm": "base"})
    assert house.domains[WORK].default_dispvm == BASE
    house.inventory.change(BASE, properties={})
    assert house.domains[WORK].default_dispvm is None


def test_what_runs_is_looked_at_each_time(house: House) -> None:
    assert not house.domains[WORK].running
    house.running.add(WORK)
    assert house.domains[WORK].running
    house.running.clear()
    assert not house.domains[WORK].running


def test_a_domain_that_was_removed_is_gone(house: House) -> None:
    assert DISP in house.domains
    house.inventory.drop(DISP)
    assert DISP not in house.domains
    assert house.domains.get(DISP) is None


def test_without_a_change_nothing_is_made_anew(house: House) -> None:
    assert house.domains[WORK] is house.domains[WORK]
