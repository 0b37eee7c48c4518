"""The daemon's life: one for a home, none for root, and what it does with what another one left."""

import os
import select
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.host.manager.home import Home, end_process, new_home

pytestmark = pytest.mark.slow  # managers and machines, started and ended in each


def test_a_second_manager_of_a_home_is_content_with_the_first(served: Home) -> None:
    second, ready = served.begin_manager()
    with open(ready, "rb") as told:
        assert told.read() == b"ready\n"
    assert second.wait(60) == 0
    served.create("work")


def test_a_manager_that_comes_while_another_one_ends_takes_its_place(home: Home) -> None:
    home.start_manager()
    first = home.process
    assert first
    # Stopped while it holds the home and does not accept any more: as if it took long to end.
    os.kill(first.pid, signal.SIGSTOP)
    (home.path / "run/manager.sock").unlink()
    second, ready = home.begin_manager()
    first.kill()
    first.wait()
    with open(ready, "rb") as told:
        assert told.readline() == b"ready\n"
        home.process = second
        assert home.ask("admin.label.List")


def test_many_managers_at_once_are_one(home: Home) -> None:
    started = [home.begin_manager() for _ in range(5)]
    for _, ready in started:
        with open(ready, "rb") as told:
            assert told.readline() == b"ready\n", home.log()
    serving = [process for process, _ in started if _is_first(home, process)]
    for process, _ in started:
        if process not in serving:
            assert process.wait(60) == 0
    (home.process,) = serving


def _is_first(home: Home, process: "subprocess.Popen[bytes]") -> bool:
    return f'"pid": {process.pid}' in home.ask("bento.manager.Status")


def test_two_homes_never_meet(served: Home) -> None:
    served.create("work")
    served.start("work")
    with new_home() as other:
        other.start_manager()
        assert other.states() == {"dom0": "Running"}
        other.kill_manager()
        other.start_manager()
        other.stop_manager()
    assert served.run("work", "true").code == 0


def test_root_is_refused(home: Home) -> None:
    program = [sys.executable, "-m", *home.module]
    box = ["unshare", "--user", "--map-root-user", "--"]
    refused = subprocess.run([*box, *program], check=False, env=home.environment(), capture_output=True, text=True)
    assert refused.returncode == 4
    assert refused.stderr == "bento: the manager never runs as root; start it as an ordinary account\n"
    assert list(home.path.iterdir()) == []


def test_a_home_that_cannot_work_is_told_on_the_pipe(home: Home) -> None:
    line = home.try_manager(BENTO_HOME=f"/tmp/{'long' * 30}")
    assert line.startswith("error: ")
    assert "BENTO_HOME" in line
    assert home.wait_for_end() == 4


def test_the_state_of_a_newer_bento_is_refused_and_left_as_it_is(home: Home) -> None:
    home.start_manager()
    home.build()
    home.stop_manager()
    database = home.path / "bento.db"
    with closing(sqlite3.connect(database)) as state:
        state.execute("PRAGMA user_version=1000")
    before = database.read_bytes()
    line = home.try_manager()
    assert line.startswith("error: ")
    assert "newer Bento" in line
    assert home.wait_for_end() == 4
    assert database.read_bytes() == before
    assert (home.path / "templates/debian-12/1/root.erofs").exists()


def test_a_state_that_is_no_database_is_refused(home: Home) -> None:
    (home.path / "bento.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
    line = home.try_manager()
    assert line.startswith("error: ")
    assert "bento.db" in line


@pytest.mark.parametrize("table", ["domain", "tag", "version"])
def test_a_damaged_state_is_told_on_the_pipe(home: Home, table: str) -> None:
    home.start_manager()
    home.stop_manager()
    with closing(sqlite3.connect(home.path / "bento.db")) as state:
        state.execute(f"ALTER TABLE {table} RENAME TO lost")
    line = home.try_manager()
    assert line.startswith("error: the state in ")
    assert home.wait_for_end() == 4


def test_a_manager_ends_at_a_signal_and_its_domains_run_on(served: Home) -> None:
    served.create("work")
    served.start("work")
    before = served.row("work")
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(served.pid, number)
        assert served.wait_for_end() == 0
        assert not (served.path / "run/manager.sock").exists()
        served.start_manager()
        row = served.row("work")
        assert (row["state"], row["pid"], row["start_seconds"]) == ("Running", before["pid"], before["start_seconds"])
        assert served.run("work", "true").code == 0
    served.shutdown("work")


def test_a_paused_domain_is_still_paused_for_the_next_manager(served: Home) -> None:
    served.create("work")
    served.start("work")
    served.ask("admin.vm.Pause", "work")
    served.kill_manager()
    served.start_manager()
    assert served.state("work") == "Paused"
    served.ask("admin.vm.Unpause", "work")
    assert served.run("work", "true").code == 0


def test_a_domain_that_ended_while_no_manager_was_there_is_halted(served: Home) -> None:
    for name in ("work", "other"):
        served.create(name)
        served.start(name)
    victim, volatile = served.row("work")["pid"], served.data_dir("work") / "volatile.img"
    assert volatile.exists()
    served.kill_manager()
    end_process(victim)
    served.start_manager()
    assert (served.state("work"), served.state("other")) == ("Halted", "Running")
    assert not volatile.exists()
    # And for good: nothing says any more that it ran, so its template's version is not kept for it.
    served.build()
    assert {path.name for path in (served.path / "templates/debian-12").iterdir()} == {"1", "2"}
    served.shutdown("other")
    assert {path.name for path in (served.path / "templates/debian-12").iterdir()} == {"2"}
    served.start("work")


def test_brokers_do_not_outlive_their_manager(served: Home) -> None:
    served.create("work")
    served.start("work")
    brokers = [served.broker_pid("work"), served.nursery_pid()]
    served.kill_manager()
    for broker in brokers:
        assert _ends_by_itself(broker)


def _ends_by_itself(pid: int) -> bool:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], 60)[0])
    finally:
        os.close(handle)


def test_what_a_killed_manager_left_half_made_is_taken_away(served: Home) -> None:
    served.create("work")
    served.start("work")
    served.shutdown("work")
    served.kill_manager()
    data = served.path
    leftovers = [
        data / "domains/4f2c0a6e-0f3b-4c0e-9d0e-7a3f0c1b2d3e/private.img",
        data / "run/domains/4f2c0a6e-0f3b-4c0e-9d0e-7a3f0c1b2d3e/qmp.sock",
        data / "templates/.new-1/root.erofs",
        data / "templates/debian-12/2/root.erofs",
        data / "templates/other/1/root.erofs",
    ]
    (work,) = [d for d in (data / "domains").iterdir() if (d / "private.img").exists()]
    leftovers += [work / "private.img.partial", work / "volatile.img", work / "next-root.img"]
    for path in leftovers:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    served.start_manager()
    assert not [path for path in leftovers if path.exists() or (path.parent != work and path.parent.exists())]
    assert not (data / "templates/other").exists()
    served.start("work")


def test_a_manager_that_is_stopped_while_a_domain_starts_leaves_no_machine(served: Home) -> None:
    served.create("mute")
    with served.events() as events, served.send("admin.vm.Start", "mute"):
        events.until("domain-pre-start")
        served.stop_manager()
    assert served.machine_pids() == []
    served.start_manager()
    assert served.state("mute") == "Halted"


def test_a_log_says_what_was_done(served: Home) -> None:
    served.create("work")
    served.start("work")
    text = Path(served.path / "manager.log").read_text()
    assert "work started in" in text
