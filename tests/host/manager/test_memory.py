"""The host's memory as a client of the manager meets it: a start refused, memory reclaimed, a disposable that grew."""

import json
from pathlib import Path

import pytest

from bento.host.model.memory import MIB
from bento.wire.admin import Fault
from tests.host.manager.home import Home

GIB = 1024 * MIB


def host_has(home: Home, available: int, *, total: int = 16 * GIB) -> None:
    aside = home.path / ".memory"
    aside.write_text(json.dumps({"total": total, "available": available, "pressure": 0.0}))
    aside.rename(home.path / "memory")


@pytest.fixture
def measured(home: Home) -> Home:
    """A home on a host whose memory is what `host_has` says."""
    host_has(home, 8 * GIB)
    home.start_manager(BENTO_TEST_MEMORY=str(home.path / "memory"))
    home.build()
    return home


def test_a_start_is_refused_when_memory_is_out_and_possible_when_it_is_not(measured: Home) -> None:
    measured.create("work")
    host_has(measured, GIB)
    failure = measured.refused("admin.vm.Start", "work")
    assert failure.fault == Fault.NO_MEMORY
    assert failure.sentence.startswith("'work' cannot start: it takes some ")
    assert measured.state("work") == "Halted"
    assert not (measured.path / "run/domains" / str(measured.row("work")["uuid"])).exists()
    host_has(measured, 8 * GIB)
    measured.start("work")
    assert measured.run("work", "true").code == 0


def test_an_idle_domain_gives_memory_back_until_the_host_has_enough(measured: Home) -> None:
    measured.create("work")
    measured.start("work")
    with measured.events() as events:
        host_has(measured, GIB // 2)
        events.until("domain-memory-reclaimed", "work")
        host_has(measured, 8 * GIB)
        events.until("domain-memory-returned", "work")
    assert (measured.run_dir("work") / "balloon").read_text().split() == [str(400 * MIB)] * 2


def test_a_disposable_that_fills_memory_is_ended_and_said_why(measured: Home) -> None:
    measured.create("base", label="orange")
    measured.ask("admin.vm.property.Set", "base", "template_for_dispvms", "True")
    names = [measured.ask("admin.vm.CreateDisposable", "base") for _ in range(2)]
    for name in names:
        measured.start(name)
    with measured.events() as events:
        script = "dd if=/dev/zero of=$HOME/big bs=1M count=128 2>/dev/null; sync"
        assert measured.run(names[0], "sh", "-c", script).code == 0
        host_has(measured, 100 * MIB, total=256 * MIB)
        reason = dict(events.until("domain-out-of-memory")[-1].details)["reason"]
        events.until("domain-delete")
    assert "all disposables together may take 128 MiB" in reason
    assert names[0] in reason
    assert names[0] not in measured.states()
    assert measured.state(names[1]) == "Running"


def test_what_domains_take_is_told_with_the_hosts_memory(measured: Home) -> None:
    measured.create("work", label="green")
    measured.create("vault")
    measured.start("work")
    measured.run("work", "sh", "-c", "head -c 1000000 /dev/zero >$HOME/file")
    told = json.loads(measured.ask("bento.vm.Usage"))
    assert (told["host"]["total_bytes"], told["host"]["available_bytes"]) == (16 * GIB, 8 * GIB)
    (row,) = told["domains"]
    assert (row["name"], row["label"], row["state"], row["limit_bytes"]) == ("work", "green", "Running", 400 * MIB)
    assert 0 < row["proportional_bytes"] <= row["resident_bytes"]
    assert row["written_bytes"] >= 1_000_000
    assert row["scratch_bytes"] == 0, "its volumes lie on the disk"
    measured.ask("admin.vm.Pause", "work")
    (row,) = json.loads(measured.ask("bento.vm.Usage"))["domains"]
    assert row["state"] == "Paused"


def test_a_seed_that_nobody_uses_leaves_the_memory_and_is_still_there(measured: Home) -> None:
    with measured.events() as events:
        measured.create("base", label="orange")
        measured.ask("admin.vm.property.Set", "base", "template_for_dispvms", "True")
        events.until("seed-made", "base")
    (before,) = list(Path(measured.path / "seeds").glob("*/memory"))
    measured.create("work")
    measured.start("work")
    with measured.events() as events:
        host_has(measured, GIB // 2)
        events.until("domain-memory-reclaimed", "work")
    host_has(measured, 8 * GIB)
    assert before.exists()
    name = measured.ask("admin.vm.CreateDisposable", "base")
    measured.start(name)
    assert measured.run(name, "true").code == 0
