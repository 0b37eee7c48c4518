"""Records: a record that says nothing shares nothing with another, and none can be changed in place."""

from collections.abc import MutableMapping, MutableSet
from dataclasses import FrozenInstanceError, replace
from uuid import UUID

import pytest

from bento.host.model.domain import LABELS, Domain, DomainClass
from bento.host.model.inventory import DomainRecord, Phase, Run
from bento.wire.names import DomainName

RECORD = DomainRecord(Domain(UUID(int=1), DomainName("work"), DomainClass.APP, LABELS[0].name, None), slot=1)


def test_a_record_goes_by_its_domains_name() -> None:
    assert RECORD.name == "work"


def test_a_new_record_has_nothing_of_its_own() -> None:
    assert not RECORD.properties
    assert not RECORD.tags
    assert not RECORD.features
    assert (RECORD.base, RECORD.origin, RECORD.run) == (None, None, None)


def test_a_records_parts_cannot_be_changed_in_place() -> None:
    assert not isinstance(RECORD.properties, MutableMapping)
    assert not isinstance(RECORD.features, MutableMapping)
    assert not isinstance(RECORD.tags, MutableSet)
    with pytest.raises(FrozenInstanceError):
        RECORD.slot = 2  # type: ignore[misc]  # that is what is tried


def test_a_changed_record_is_another_value() -> None:
    running = replace(RECORD, run=Run(Phase.RUNNING, 1, 1000.0))
    assert running != RECORD
    assert replace(running, run=None) == RECORD


def test_a_run_took_no_time_until_its_agent_answered() -> None:
    assert Run(Phase.STARTING, 1, 1000.0).start_seconds == 0.0
