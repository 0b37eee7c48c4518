"""Starting and ending, and everything that goes wrong between the two."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bento.wire.admin import Fault
from bento.wire.rpc import ExitCode, Stream
from tests.host.manager.home import Failed, Home, answer, end_process
from tests.host.manager.launcher import KVM_NOTICE

pytestmark = pytest.mark.slow  # managers and machines, started and ended in each


@pytest.fixture
def work(served: Home) -> Home:
    """A home whose domain `work` is halted."""
    served.create("work")
    return served


@pytest.fixture
def running(work: Home) -> Home:
    """A home whose domain `work` runs."""
    work.start("work")
    return work


def nothing_of_the_run_is_left(home: Home, name: str) -> bool:
    return not home.machine_pids() and not home.run_dir(name).exists() and not _volatile(home, name)


def _volatile(home: Home, name: str) -> list[Path]:
    return [p for p in home.data_dir(name).iterdir() if p.name in ("volatile.img", "next-root.img")]


def test_a_domain_starts_serves_and_ends(work: Home) -> None:
    work.start("work")
    assert work.state("work") == "Running"
    assert work.run("work", "sh", "-c", "cat; exit 7", stdin=b"hi").stdout == b"hi"
    work.shutdown("work")
    assert work.state("work") == "Halted"
    assert nothing_of_the_run_is_left(work, "work")


def test_what_runs_is_not_started_again(running: Home) -> None:
    assert running.refused("admin.vm.Start", "work").fault == Fault.NOT_HALTED
    assert running.run("work", "true").code == 0


@pytest.mark.parametrize(
    ("method", "fault"),
    [
        ("Shutdown", Fault.NOT_RUNNING),
        ("Kill", Fault.NOT_RUNNING),
        ("Pause", Fault.NOT_RUNNING),
        ("Unpause", Fault.NOT_PAUSED),
    ],
)
def test_what_does_not_run_cannot_be_stopped(work: Home, method: str, fault: Fault) -> None:
    assert work.refused(f"admin.vm.{method}", "work").fault == fault
    assert work.state("work") == "Halted"


def test_a_shutdown_takes_two_words(running: Home) -> None:
    assert running.refused("admin.vm.Shutdown", "work", "now").fault == Fault.BAD_VALUE
    assert running.state("work") == "Running"
    running.ask("admin.vm.Shutdown", "work", "force+wait")
    assert running.state("work") == "Halted"


def test_without_wait_a_shutdown_is_only_asked_for(running: Home) -> None:
    with running.events() as events:
        running.ask("admin.vm.Shutdown", "work")
        events.until("domain-shutdown", "work")
    assert nothing_of_the_run_is_left(running, "work")


def test_a_guest_that_does_not_shut_down_runs_on(running: Home) -> None:
    running.ask("admin.vm.property.Set", "work", "shutdown_timeout", "1")  # counts at once, not at the next start
    os.kill(_agent(running, "work"), signal.SIGSTOP)
    failed = running.refused("admin.vm.Shutdown", "work", "wait")
    assert "did not shut down within 1 s" in failed.sentence
    assert "bento kill work" in failed.sentence
    assert running.state("work") == "Running"
    os.kill(_agent(running, "work"), signal.SIGCONT)
    with running.events() as events:
        if running.state("work") == "Running":
            events.until("domain-shutdown", "work")  # it heard us after all
    assert running.state("work") == "Halted"


def test_a_call_that_comes_during_a_shutdown_starts_the_domain_again(running: Home) -> None:
    before, agent = running.row("work")["pid"], _agent(running, "work")
    os.kill(agent, signal.SIGSTOP)  # so that it takes its time
    running.ask("admin.vm.Shutdown", "work")
    assert running.state("work") == "Transient"
    assert running.refused("admin.vm.Shutdown", "work").fault == Fault.NOT_RUNNING
    with running.send("bento.vm.Call", "work", "qubes.VMShell") as calling:
        os.kill(agent, signal.SIGCONT)
        assert answer(calling) == ""
    assert running.state("work") == "Running"
    assert running.row("work")["pid"] != before


def test_a_call_that_comes_during_a_shutdown_that_does_not_work_is_served_after_it(served: Home) -> None:
    served.create("deaf")
    served.start("deaf")
    served.ask("admin.vm.property.Set", "deaf", "shutdown_timeout", "1")
    before = served.row("deaf")["pid"]
    served.ask("admin.vm.Shutdown", "deaf")
    assert served.run("deaf", "true").code == 0
    assert served.row("deaf")["pid"] == before


def test_a_broker_killed_during_a_shutdown_does_not_hold_it_up(running: Home) -> None:
    agent = _agent(running, "work")
    os.kill(agent, signal.SIGSTOP)  # it will not hear of it from the first one
    with running.send("admin.vm.Shutdown", "work", "wait") as shutting:
        while running.state("work") != "Transient":
            pass
        for _ in range(2):
            end_process(running.broker_pid("work"))
            wait_for_broker(running, "work")
        os.kill(agent, signal.SIGCONT)
        assert answer(shutting) == ""
    assert running.state("work") == "Halted"


def wait_for_broker(home: Home, name: str) -> None:
    while name not in home.brokers():
        pass


def test_a_killed_domain_is_gone_when_the_kill_returns(running: Home) -> None:
    running.kill("work")
    assert running.state("work") == "Halted"
    assert nothing_of_the_run_is_left(running, "work")
    running.start("work")


def test_a_machine_that_dies_is_buried(running: Home) -> None:
    with running.events() as events:
        end_process(running.row("work")["pid"])
        events.until("domain-shutdown", "work")
    assert running.state("work") == "Halted"
    assert nothing_of_the_run_is_left(running, "work")
    running.start("work")


def test_a_guest_that_powers_itself_off_is_halted(running: Home) -> None:
    with running.events() as events, running.call("work", "qubes.VMShell") as leg:
        leg.give(b"kill $PPID\n")  # the agent, without which a pretended machine ends
        events.until("domain-shutdown", "work")
    assert running.state("work") == "Halted"
    assert nothing_of_the_run_is_left(running, "work")


def test_a_machine_that_dies_at_its_start_leaves_nothing(served: Home) -> None:
    served.create("stillborn")
    with served.events() as events:
        failed = served.refused("admin.vm.Start", "stillborn")
        events.until("domain-start-failed", "stillborn")
    assert failed.fault == Fault.GENERAL
    assert served.state("stillborn") == "Halted"
    assert nothing_of_the_run_is_left(served, "stillborn")


def test_a_guest_that_never_answers_fails_at_its_deadline(served: Home) -> None:
    served.create("mute")
    served.ask("admin.vm.property.Set", "mute", "qrexec_timeout", "1")
    failed = served.refused("admin.vm.Start", "mute")
    assert failed.fault == Fault.NOT_STARTED
    assert "did not answer within 1 s" in failed.sentence
    assert "bento logs mute" in failed.sentence
    assert served.state("mute") == "Halted"
    assert nothing_of_the_run_is_left(served, "mute")


def test_a_guest_that_is_silent_on_kvm_alone_is_emulated_and_so_are_all_after_it(home: Home) -> None:
    home.start_manager(BENTO_TEST_KVM="yes")
    home.build()
    for name in ("kvmless", "kvmless2"):
        home.create(name)
        home.ask("admin.vm.property.Set", name, "qrexec_timeout", "5")
    home.start("kvmless")
    assert home.run("kvmless", "true").code == 0
    assert KVM_NOTICE in home.ask("bento.Notices")
    home.start("kvmless2")
    assert "once more" not in home.log().partition("kvmless2")[2]
    home.kill_manager()
    home.start_manager(BENTO_TEST_KVM="yes")
    assert home.states()["kvmless"] == "Running"
    home.kill("kvmless")
    home.start("kvmless")
    assert home.log().count("once more") == 1


def test_a_guest_that_is_silent_either_way_says_nothing_about_kvm(home: Home) -> None:
    home.start_manager(BENTO_TEST_KVM="yes")
    home.build()
    for name, seconds in (("mute", "1"), ("work", "60"), ("kvmless", "1")):
        home.create(name)
        home.ask("admin.vm.property.Set", name, "qrexec_timeout", seconds)
    assert "did not answer" in home.refused("admin.vm.Start", "mute").sentence
    assert nothing_of_the_run_is_left(home, "mute")
    home.start("work")  # on KVM, which is trusted from now on
    assert "did not answer" in home.refused("admin.vm.Start", "kvmless").sentence
    assert KVM_NOTICE not in home.ask("bento.Notices")
    assert home.log().count("once more") == 1


def test_a_start_can_be_killed(served: Home) -> None:
    served.create("mute")
    with served.events() as events, served.send("admin.vm.Start", "mute") as starting:
        events.until("domain-pre-start")
        with served.send("admin.vm.Kill", "mute") as first, served.send("admin.vm.Kill", "mute") as second:
            answers = []
            for connection in (first, second):
                try:
                    answers.append(answer(connection))
                except Failed as failed:  # it was dead already
                    answers.append(failed.fault)
            assert answers[0] == "" or answers[1] == ""
        with pytest.raises(Failed, match="was killed while it started"):
            answer(starting)
    assert served.state("mute") == "Halted"
    assert nothing_of_the_run_is_left(served, "mute")


def test_starts_kills_and_shutdowns_at_once_leave_a_true_state(work: Home) -> None:
    def ask(method: str) -> str:
        try:
            return work.ask(f"admin.vm.{method}", "work")
        except Failed as failed:
            return failed.fault

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, ["Start", "Kill", "Start", "Shutdown", "Start", "Pause", "Kill", "Unpause"] * 6))
    assert "" in answers
    state = work.state("work")
    if state == "Paused":
        work.ask("admin.vm.Unpause", "work")
    if state != "Halted":
        assert work.run("work", "true").code == 0
        work.kill("work")
    assert nothing_of_the_run_is_left(work, "work")
    assert "a request failed" not in work.log()
    assert "a task of the manager failed" not in work.log()


def test_a_paused_domain_goes_on_where_it_was(running: Home) -> None:
    with running.call("work", "qubes.VMShell") as leg:
        leg.write(b"echo before\n")
        running.ask("admin.vm.Pause", "work")
        assert running.state("work") == "Paused"
        assert running.refused("bento.vm.Call", "work", "qubes.VMShell").fault == Fault.NOT_RUNNING
        assert running.refused("admin.vm.Shutdown", "work").fault == Fault.NOT_RUNNING
        assert running.refused("admin.vm.Pause", "work").fault == Fault.NOT_RUNNING
        assert running.refused("admin.vm.Start", "work").fault == Fault.NOT_HALTED
        running.ask("admin.vm.Unpause", "work")
        leg.give(b"echo after\n")
        assert leg.outcome().stdout == b"before\nafter\n"


def test_a_paused_domain_can_be_killed(running: Home) -> None:
    running.ask("admin.vm.Pause", "work")
    running.kill("work")
    assert nothing_of_the_run_is_left(running, "work")


def test_a_killed_broker_is_replaced(running: Home) -> None:
    for _ in range(3):
        before = running.broker_pid("work")
        end_process(before)
        assert running.run("work", "echo", "hi").stdout == b"hi\n"
        assert running.broker_pid("work") != before


def test_a_killed_nursery_is_replaced_with_all_its_brokers(running: Home) -> None:
    running.create("other")
    running.start("other")
    end_process(running.nursery_pid())
    for name in ("work", "other"):
        assert running.run(name, "echo", name).stdout.decode() == f"{name}\n"


def test_a_call_breaks_with_its_broker_and_the_next_one_works(running: Home) -> None:
    with running.call("work", "qubes.VMShell") as leg:
        end_process(running.broker_pid("work"))
        with pytest.raises(ConnectionError):
            leg.outcome()
    assert running.run("work", "true").code == 0


def test_what_a_guest_said_last_arrives_although_its_machine_is_gone(running: Home) -> None:
    size = 400_000  # more than the leg's socket takes, so that some of it waits in the broker
    with running.call("work", "qubes.VMShell") as leg:
        leg.give(f"head -c {size} /dev/zero; touch done; exec sleep 1000\n".encode())
        running.run("work", "sh", "-c", "until [ -e done ]; do :; done")
        running.kill("work")
        assert leg.outcome().code == ExitCode.FAULT
        said_to_the_broker_for_sure = size - (64 << 10)  # a pipe in the guest may hold the rest
        assert len(leg.received[Stream.STDOUT]) >= said_to_the_broker_for_sure


def test_many_domains_start_and_end_at_once(served: Home) -> None:
    names = [f"box{number}" for number in range(6)]
    for name in names:
        served.create(name)
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(served.start, names))
        assert {served.states()[name] for name in names} == {"Running"}
        list(pool.map(served.shutdown, names))
    assert {served.states()[name] for name in names} == {"Halted"}


def test_a_started_domain_is_there_for_all_who_wait_for_it(work: Home) -> None:
    barrier = threading.Barrier(4)

    def run(_: int) -> int:
        barrier.wait()
        return work.run("work", "true").code

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, range(4))) == [0, 0, 0, 0]


def _agent(home: Home, name: str) -> int:
    """The agent's process in a pretended domain."""
    machine = home.row(name)["pid"]
    (child,) = Path(f"/proc/{machine}/task/{machine}/children").read_text().split()
    return int(child)
