"""What dies under real domains, and what is left standing: QEMU, the manager, brokers, agents that never come."""

import os
import signal
import subprocess

import pytest

from tests.host.manager.home import end_process
from tests.vm.boxes import DAMAGED, MUTE, PATIENCE, Boxes

pytestmark = pytest.mark.vm

NO_SEED = ("--property", "fast_start=False")
"""Of templates that boot no agent: one would be waited for as long as a start, and other seeds for that one."""


def test_a_domain_whose_qemu_dies_is_halted_and_the_others_go_on(boxes: Boxes) -> None:
    boxes.sh("random", "echo kept > before-the-crash; sync")
    with boxes.begin("run", "random", "--", "sleep", "4713", stderr=subprocess.PIPE) as caller:
        boxes.sh("random", "until pgrep -f '^sleep 4713'; do sleep 0.1; done")
        end_process(boxes.ls("random")["random"]["pid"])
        assert caller.wait(PATIENCE) == 125
    boxes.see("random", state="Halted", pid=None, memory_bytes=0)
    assert boxes.sh("work", "echo on") == "on"
    boxes.do("start", "random")
    assert boxes.sh("random", "cat before-the-crash") == "kept"


def test_domains_run_on_when_the_manager_is_killed_and_the_next_command_finds_them(boxes: Boxes) -> None:
    boxes.sh("work", "echo $$ > /tmp/alive", user="root")
    before = boxes.ls("work", "random")
    old = boxes.pid
    end_process(old)
    after = boxes.ls("work", "random")
    for name in ("work", "random"):
        assert after[name]["state"] == "Running"
        for key in ("pid", "uuid", "start_seconds", "template_version"):
            assert after[name][key] == before[name][key]
    assert boxes.pid != old
    boxes.sh("work", "test -s /tmp/alive")
    boxes.sh("random", "date > after.txt; qvm-copy-to-vm work after.txt")


def test_a_manager_that_is_stopped_leaves_domains_running(boxes: Boxes) -> None:
    boxes.do("manager", "stop")
    assert boxes.bento("manager", "status").returncode == 3
    assert len(boxes.machine_pids()) >= 2
    assert boxes.sh("work", "echo on") == "on"


def test_a_domain_that_ended_while_no_manager_was_there_is_found_halted(boxes: Boxes) -> None:
    row = boxes.ls("random")["random"]
    boxes.do("manager", "stop")
    end_process(row["pid"])
    assert boxes.ls("random")["random"]["state"] == "Halted"
    boxes.do("start", "random")


def test_a_broker_that_is_killed_is_replaced_and_calls_work_again(boxes: Boxes) -> None:
    random = boxes.broker_pid("random")
    with boxes.begin("run", "work", "--", "cat", stdin=subprocess.PIPE, stderr=subprocess.PIPE) as caller:
        boxes.sh("work", "until pgrep -x cat; do sleep 0.1; done")
        os.kill(boxes.broker_pid("work"), signal.SIGKILL)
        assert caller.wait(PATIENCE) == 125, "its calls break, and say so"
    assert boxes.sh("work", "echo on") == "on"
    assert boxes.ls("work")["work"]["state"] == "Running"
    assert boxes.broker_pid("random") == random, "the other domain's broker did not notice"
    assert boxes.sh("random", "echo on") == "on"
    boxes.sh("work", "while pgrep -x cat; do sleep 0.1; done")


def test_a_damaged_root_ends_the_start_and_the_log_says_why(boxes: Boxes) -> None:
    boxes.do("create", "hurt", "--template", DAMAGED, "--label", "orange", *NO_SEED)
    code, sentence, tail = boxes.fail_at_length("start", "hurt")
    assert (code, sentence) == (4, "the machine of 'hurt' ended while it started; see 'bento logs hurt'")
    why = "the root image (vda) is damaged; this domain cannot start"
    assert why in tail
    assert why in boxes.do("logs", "hurt")
    assert boxes.ls("hurt")["hurt"]["state"] == "Halted"
    boxes.do("rm", "hurt")


def test_an_agent_that_never_answers_ends_the_start_at_its_deadline(boxes: Boxes) -> None:
    boxes.do("create", "mute1", "--template", MUTE, "--label", "orange", "--property", "qrexec_timeout=20", *NO_SEED)
    code, sentence, tail = boxes.fail_at_length("start", "mute1")
    assert (code, sentence) == (4, "'mute1' did not answer within 20 s; see 'bento logs mute1'")
    assert tail.startswith("  mute1: [")
    assert "Linux version" in boxes.do("logs", "mute1")
    row = boxes.ls("mute1")["mute1"]
    assert row["state"] == "Halted"
    assert boxes.machine_pids_of(row["uuid"]) == []
    boxes.do("rm", "mute1")


def test_a_start_that_takes_too_long_for_its_person_can_be_killed(boxes: Boxes) -> None:
    boxes.do("create", "mute2", "--template", MUTE, "--label", "orange", "--property", "qrexec_timeout=3600", *NO_SEED)
    with boxes.begin("start", "mute2", stderr=subprocess.PIPE) as starting:
        boxes.see("mute2", state="Transient")
        boxes.do("kill", "mute2")
        assert starting.wait(PATIENCE) == 4
        assert starting.stderr
        assert starting.stderr.readline() == b"bento: 'mute2' was killed while it started\n"
    assert boxes.ls("mute2")["mute2"]["state"] == "Halted"
    boxes.do("rm", "mute2")
