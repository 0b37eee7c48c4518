"""The manager is killed at the audit log's deeds: no call leaves a trace without its line, and the chain goes on."""

import json
import signal

import pytest

from tests.crash.invariants import settle
from tests.host.manager.home import Failed, Home, Listener, new_home

POINTS = [f"{deed}{after}:{n}" for deed in ("audit", "fsync", "mkdir") for after in ("", ".after") for n in (1, 2, 3)]


def lines(home: Home) -> list[dict[str, object]]:
    with home.send("bento.audit.Show", payload="source=dom0\ncount=1000\n") as connection:
        return [json.loads(dict(event.details)["json"]) for event in Listener(connection).rest()]


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_no_call_leaves_a_trace_without_its_line(point: str) -> None:
    with new_home() as home:
        home.start_manager()
        home.build()
        home.create("work")
        home.start("work")
        home.stop_manager()
        home.try_manager(BENTO_TEST_DIE=point)
        answered = 0
        try:
            while answered < 20 or not point.startswith("mkdir"):  # which is done once, if at all
                assert home.run("work", "sh", "-c", "echo trace >>trace").code == 0
                answered += 1
        except (OSError, Failed):
            assert home.wait_for_end() == -signal.SIGKILL, home.log()
            home.start_manager()
        trace = home.run_dir("work") / "guest/home/trace"
        traces = trace.read_text().count("trace") if trace.exists() else 0
        calls = sum(line["kind"] == "decided" for line in lines(home))
        assert answered <= traces <= calls <= answered + 1
        settle(home)
