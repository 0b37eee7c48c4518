"""The log's lines about calls."""

import logging

import pytest

from bento.host.manager.reports import LINES, MINUTE, Reports
from bento.wire.names import DomainName

FOE, WORK = DomainName("foe"), DomainName("work")


def test_a_domain_that_is_refused_without_end_does_not_wash_out_the_log(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    reports = Reports(lambda: now)
    with caplog.at_level(logging.INFO):
        for _ in range(100 * LINES):
            reports.say(FOE, logging.WARNING, "call denied")
        reports.say(WORK, logging.INFO, "call allowed")
        assert [record.getMessage() for record in caplog.records] == [
            *["call denied"] * LINES,
            "foe makes so many calls that some are not written here",
            "call allowed",
        ]
        caplog.clear()
        now = MINUTE
        reports.say(FOE, logging.WARNING, "call denied")
    assert [record.getMessage() for record in caplog.records] == [
        f"foe: {99 * LINES} more lines about its calls were left out",
        "call denied",
    ]
