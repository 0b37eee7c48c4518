"""Suspending and resuming pretended domains: what holds of a domain at rest, and what does not disturb it."""

import json
import os
import subprocess
from dataclasses import fields, replace
from pathlib import Path
from uuid import uuid4

import pytest

from bento.host.manager import saved
from bento.host.model.machine import Disk, MachineSpec
from bento.wire.admin import Event
from bento.wire.names import DomainName
from bento.wire.rpc import ExitCode
from tests.host.manager.home import Failed, Home, Listener

pytestmark = pytest.mark.slow  # managers and machines, started and ended in each

FILES = ["suspended.img", "suspended.json"]


@pytest.fixture
def work(served: Home) -> Home:
    """A home with `work`, which runs and remembers something."""
    served.create("work")
    served.start("work")
    remember(served, "work")
    return served


def remember(home: Home, name: str) -> None:
    assert home.run(name, "sh", "-c", "echo 'what nobody may read' >~/note").code == 0


def remembers(home: Home, name: str) -> bool:
    return home.run(name, "cat", "note").stdout == b"what nobody may read\n"


def watch(home: Home, method: str, name: str) -> list[Event]:
    with home.send(method, name) as connection:
        return Listener(connection).rest()


def suspend(home: Home, name: str = "work") -> list[Event]:
    return watch(home, "bento.vm.Suspend", name)


def resume(home: Home, name: str = "work") -> list[Event]:
    return watch(home, "bento.vm.Resume", name)


def refusal(home: Home, method: str, name: str = "work") -> str:
    with pytest.raises(Failed) as failed:
        watch(home, method, name)
    assert "\n" not in failed.value.sentence
    return failed.value.sentence


def kept(home: Home, name: str = "work") -> list[str]:
    return sorted(path.name for path in home.data_dir(name).iterdir() if path.name.startswith("suspended"))


def test_a_suspended_domain_has_no_machine_and_goes_on_where_it_was(work: Home) -> None:
    with work.events() as events:
        told = suspend(work)
        events.until("domain-suspended", "work")
        row = work.row("work")
        assert (row["state"], row["pid"], row["uptime_seconds"]) == ("Suspended", None, None)
        assert work.machine_pids() == []
        assert not (work.path / "run/domains" / row["uuid"]).exists()
        assert kept(work) == FILES
        told += resume(work)
        events.until("domain-resumed", "work")
    assert {event.name for event in told} == {"progress"}
    assert work.state("work") == "Running"
    assert remembers(work, "work")
    assert kept(work) == []


def test_nothing_of_it_lies_on_the_disk_in_the_clear(work: Home) -> None:
    suspend(work)
    found = subprocess.run(["grep", "-rl", "nobody may read", str(work.path)], capture_output=True, check=False)
    assert found.stdout == b""
    modes = {(work.data_dir("work") / name).stat().st_mode & 0o777 for name in FILES}
    assert modes == {(work.path / "host.key").stat().st_mode & 0o777} == {0o600}


def test_it_outlives_the_manager(work: Home) -> None:
    suspend(work)
    work.stop_manager()
    work.start_manager()
    assert work.state("work") == "Suspended"
    resume(work)
    assert remembers(work, "work")


@pytest.mark.parametrize("how", ["start", "a call"])
def test_what_starts_a_domain_resumes_a_suspended_one(work: Home, how: str) -> None:
    suspend(work)
    if how == "start":
        work.start("work")
    assert remembers(work, "work")


def test_a_call_that_may_start_nothing_does_not_resume_it(work: Home) -> None:
    suspend(work)
    with pytest.raises(Failed, match="it is suspended; 'bento resume work' lets it go on"):
        work.run("work", "true", autostart="no")


def test_its_calls_end_when_it_is_suspended(work: Home) -> None:
    with work.call("work", "qubes.VMExec+cat") as leg:
        suspend(work)
        assert leg.outcome().code == ExitCode.FAULT
    resume(work)
    assert remembers(work, "work")


def test_killing_it_throws_away_what_was_saved(work: Home) -> None:
    suspend(work)
    with work.events() as events:
        work.kill("work")
        events.until("domain-shutdown", "work")
    assert work.state("work") == "Halted"
    assert kept(work) == []
    work.start("work")
    assert not remembers(work, "work")


def test_it_is_resumed_once(work: Home) -> None:
    suspend(work)
    resume(work)
    assert refusal(work, "bento.vm.Resume") == "'work' is not suspended, it is running"
    work.kill("work")
    assert refusal(work, "bento.vm.Resume") == "'work' is not suspended, it is halted"


def test_it_may_be_suspended_again_and_again(work: Home) -> None:
    for _ in range(3):
        suspend(work)
        resume(work)
    assert remembers(work, "work")


def test_only_what_runs_is_suspended(work: Home) -> None:
    work.ask("admin.vm.Pause", "work")
    assert "it is paused; 'bento unpause work'" in refusal(work, "bento.vm.Suspend")
    work.ask("admin.vm.Unpause", "work")
    suspend(work)
    goes_on = "'bento resume work' lets it go on, 'bento kill work' throws its saved state away"
    assert refusal(work, "bento.vm.Suspend") == f"'work' is not running, it is suspended; {goes_on}"
    assert refusal(work, "bento.vm.Suspend", "dom0").startswith("'dom0' is this machine itself")


@pytest.mark.parametrize(
    ("method", "argument"), [("admin.vm.Shutdown", ""), ("admin.vm.Remove", ""), ("bento.vm.Clone", "copy")]
)
def test_what_needs_a_running_or_a_halted_domain_says_what_to_do(work: Home, method: str, argument: str) -> None:
    suspend(work)
    sentence = work.refused(method, "work", argument).sentence
    assert "suspended" in sentence
    assert "'bento resume work'" in sentence
    assert "'bento kill work'" in sentence
    assert work.state("work") == "Suspended"


def test_no_disposable_is_made_from_a_suspended_domain(work: Home) -> None:
    work.ask("admin.vm.property.Set", "work", "template_for_dispvms", "True")
    suspend(work)
    name = work.ask("admin.vm.CreateDisposable", "work")
    assert "is suspended; 'bento resume' and 'bento shutdown" in work.refused("admin.vm.Start", name).sentence


def test_its_version_of_the_template_stays_as_long_as_it_is_suspended(work: Home) -> None:
    suspend(work)
    work.build()
    work.create("other")
    work.start("other")
    work.kill("other")
    assert work.row("work")["template_version"] == 1
    resume(work)
    assert remembers(work, "work")
    work.kill("work")
    versions = json.loads(work.ask("bento.template.Info", argument="debian-12"))["versions"]
    assert [version["version"] for version in versions] == [2]


def test_it_goes_on_as_the_machine_that_it_was_whatever_is_set_meanwhile(work: Home) -> None:
    memory = work.ask("admin.vm.property.Get", "work", "memory").split()[-1]
    suspend(work)
    work.ask("admin.vm.property.Set", "work", "memory", "800")
    described = json.loads((work.data_dir("work") / "suspended.json").read_text())["about"]
    assert described["machine"]["memory_bytes"] == int(memory) << 20
    resume(work)
    assert remembers(work, "work")


@pytest.mark.parametrize("damage", ["a bit", "the end", "a longer end", "another key", "another machine"])
def test_what_is_not_what_was_written_is_refused_and_kept(work: Home, damage: str) -> None:
    suspend(work)
    image, facts = (work.data_dir("work") / name for name in FILES)
    sound = {path: path.read_bytes() for path in (image, facts)}
    content = bytearray(sound[image])
    match damage:
        case "a bit":
            content[len(content) // 2] ^= 1
        case "the end":
            del content[-30:]
        case "a longer end":
            content += b"\0"
        case "another key":
            written = json.loads(sound[facts])
            written["key"] = written["key"][:-2] + f"{int(written['key'][-2:], 16) ^ 1:02x}"
            facts.write_text(json.dumps(written))
        case _:
            written = json.loads(sound[facts])
            written["about"]["machine"]["vcpus"] += 1
            facts.write_text(json.dumps(written))
    image.write_bytes(content)
    sentence = refusal(work, "bento.vm.Resume")
    assert "'work'" in sentence
    assert work.state("work") == "Suspended"
    assert work.machine_pids() == []
    for path, before in sound.items():
        path.write_bytes(before)
    resume(work)
    assert remembers(work, "work")


def test_one_domains_image_is_not_anothers(work: Home) -> None:
    work.create("bank")
    work.start("bank")
    for name in ("work", "bank"):
        suspend(work, name)
    for name in FILES:
        (work.data_dir("bank") / name).write_bytes((work.data_dir("work") / name).read_bytes())
    assert "'bank' cannot go on" in refusal(work, "bento.vm.Resume", "bank")


def test_without_the_hosts_key_it_is_refused_and_kept(work: Home) -> None:
    suspend(work)
    key, elsewhere = work.path / "host.key", work.path / "elsewhere"
    key.rename(elsewhere)
    assert f"bring back {key} from a backup" in refusal(work, "bento.vm.Resume")
    assert not key.exists()
    elsewhere.rename(key)
    resume(work)
    assert remembers(work, "work")


def test_another_hypervisor_does_not_touch_it(work: Home) -> None:
    suspend(work)
    work.stop_manager()
    work.start_manager(BENTO_TEST_FINGERPRINT="of another QEMU")
    sentence = refusal(work, "bento.vm.Resume")
    assert "another QEMU" in sentence
    assert "'bento kill work'" in sentence
    work.stop_manager()
    work.start_manager()
    resume(work)
    assert remembers(work, "work")


def test_where_it_cannot_be_written_it_runs_on_and_nothing_is_left(work: Home) -> None:
    work.stop_manager()
    work.start_manager(BENTO_TEST_SEALING="no room")
    with work.call("work", "qubes.VMExec+cat") as leg, work.events() as events:
        sentence = refusal(work, "bento.vm.Suspend")
        events.until("domain-suspend-failed", "work")
        assert sentence == "'work' runs on, it could not be suspended: File too large"
        leg.give(b"still there\n")
        assert leg.outcome().stdout == b"still there\n", "its calls go on, too"
    assert kept(work) == []
    assert remembers(work, "work")


def test_where_the_state_cannot_be_written_it_runs_on(work: Home, tmp_path: Path) -> None:
    full = tmp_path / "full"
    work.stop_manager()
    work.start_manager(BENTO_TEST_FULL=str(full))
    full.write_text("state")
    assert "'work' runs on" in refusal(work, "bento.vm.Suspend")
    full.unlink()
    assert remembers(work, "work")
    suspend(work)
    full.write_text("state")
    assert "the state cannot be written" in refusal(work, "bento.vm.Resume")
    assert (work.state("work"), work.machine_pids()) == ("Suspended", [])
    full.unlink()
    resume(work)
    assert remembers(work, "work")


def test_a_disposable_with_its_disks_in_memory_is_suspended_too(work: Home) -> None:
    work.ask("admin.vm.Shutdown", "work", "wait")
    work.ask("admin.vm.property.Set", "work", "template_for_dispvms", "True")
    name = work.ask("admin.vm.CreateDisposable", "work")
    work.start(name)
    remember(work, name)
    suspend(work, name)
    work.stop_manager()
    work.start_manager()
    assert work.state(name) == "Suspended"
    resume(work, name)
    assert remembers(work, name)
    with work.events() as events:
        work.kill(name)
        events.until("domain-delete")


def test_a_suspended_disposable_that_is_killed_is_gone(work: Home) -> None:
    work.ask("admin.vm.Shutdown", "work", "wait")
    work.ask("admin.vm.property.Set", "work", "template_for_dispvms", "True")
    name = work.ask("admin.vm.CreateDisposable", "work")
    work.start(name)
    suspend(work, name)
    directory = work.data_dir(name)
    work.kill(name)
    assert name not in work.states()
    assert not directory.exists()


def test_the_key_of_what_is_not_whole_any_more_is_overwritten(work: Home) -> None:
    suspend(work)
    directory = work.data_dir("work")
    work.stop_manager()
    with open(directory / "suspended.json", "rb") as key:
        size = len(key.read())
        (directory / "suspended.img").unlink()
        work.start_manager()
        assert work.state("work") == "Halted"
        assert kept(work) == []
        assert os.pread(key.fileno(), size, 0) == bytes(size)


def test_a_disposable_that_is_there_for_one_call_is_not_suspended(work: Home) -> None:
    work.ask("admin.vm.Shutdown", "work", "wait")
    work.ask("admin.vm.property.Set", "work", "template_for_dispvms", "True")
    with work.call("work", "qubes.VMExec+cat", disposable="yes") as leg:
        (name,) = [row["name"] for row in work.table() if row["class"] == "DispVM"]
        assert refusal(work, "bento.vm.Suspend", name) == f"'{name}' is there for one call, and ends with it"
        leg.give(b"on it goes")
        assert leg.outcome().stdout == b"on it goes"


def test_all_that_a_machine_is_told_to_be_is_kept_with_it() -> None:
    nowhere = Path("/nowhere")
    spec = MachineSpec(
        uuid=uuid4(),
        name=DomainName("work"),
        run_dir=nowhere / "run",
        slot=7,
        memory_bytes=1 << 20,
        vcpus=3,
        kernel=nowhere / "kernel",
        initrd=nowhere / "initrd",
        cmdline="quiet",
        disks=(Disk(nowhere / "a", True), Disk(nowhere / "b", False, scratch=True)),
        gives_back=True,
    )
    where_it_began = {"memory_file", "image"}
    assert {each.name for each in fields(spec)} - where_it_began == set(saved._encode(spec))
    assert saved._decode(json.loads(json.dumps(saved._encode(spec)))) == spec
    began = replace(spec, memory_file=nowhere)
    assert saved._decode(json.loads(json.dumps(saved._encode(began)))) == spec
