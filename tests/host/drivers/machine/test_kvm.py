"""The probe's clock and memory, with children that misbehave in named ways; and once the real one."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bento.host.drivers.machine.kvm import SOURCE, KvmVerdict, Patience, Step, ask, follow, probe

ENDLESS = Patience(start=600.0, step=600.0, death=600.0)
NONE_FOR_STEPS = Patience(start=600.0, step=0.0, death=600.0)
ALL_PASS = "".join(f"echo pass {step}\n" for step in Step)


def shell(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


def judged(child: str, *patience: Patience) -> KvmVerdict:
    return asyncio.run(ask(shell(child), patience or (ENDLESS,)))


def followed(output: bytes, patience: Patience = ENDLESS, *, ended: bool = True) -> tuple[Step, bool] | None:
    async def read() -> tuple[Step, bool] | None:
        reader = asyncio.StreamReader(limit=512)
        reader.feed_data(output)
        if ended:
            reader.feed_eof()
        failure = await follow(reader, patience)
        return (failure.step, failure.hung) if failure else None

    return asyncio.run(read())


def test_a_child_that_passes_all_steps_makes_kvm_usable() -> None:
    found = judged(ALL_PASS)
    assert (found.usable, found.step) == (True, None)


def test_a_child_that_hangs_after_its_end_still_counts_and_is_killed() -> None:
    assert judged(ALL_PASS + "exec sleep infinity").usable


def test_a_step_without_an_answer_hangs() -> None:
    assert followed(b"pass start\npass open\n", NONE_FOR_STEPS, ended=False) == (Step.API, True)


def test_half_an_answer_hangs_too() -> None:
    assert followed(b"pass start\npass op", NONE_FOR_STEPS, ended=False) == (Step.OPEN, True)


def test_a_child_that_never_starts_to_answer_hangs_at_the_start() -> None:
    assert followed(b"", Patience(start=0.0), ended=False) == (Step.START, True)


def test_an_endless_line_is_a_failure_of_the_step() -> None:
    assert followed(b"pass start\n" + b"x" * 10_000, ended=False) == (Step.OPEN, False)


def test_a_hanging_child_is_killed_and_reaped(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    found = judged(f"echo $$ > {pid_file}; echo pass start; exec sleep infinity", NONE_FOR_STEPS)
    assert (found.usable, found.step) == (False, Step.OPEN)
    assert found.reason == "no answer within 0 ms"
    assert gone(int(pid_file.read_text()))


def test_a_child_that_ignores_polite_signals_is_killed_all_the_same(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = f"trap '' TERM INT HUP ALRM; echo $$ > {pid_file}; echo pass start; while :; do read x; done"
    assert judged(script, NONE_FOR_STEPS).step is Step.OPEN
    assert gone(int(pid_file.read_text()))


def test_a_cancelled_probe_leaves_no_child(tmp_path: Path) -> None:
    started = tmp_path / "started"
    os.mkfifo(started)

    async def cancel() -> int:
        task = asyncio.create_task(ask(shell(f"echo $$ > {started}; exec sleep infinity"), (ENDLESS,)))
        pid = int(await asyncio.to_thread(started.read_text))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return pid

    assert gone(asyncio.run(cancel()))


@pytest.mark.parametrize("end", ["exit 0", "exit 1", "kill -SEGV $$"])
def test_a_child_that_dies_fails_the_step_it_was_in(end: str) -> None:
    found = judged(f"echo pass start; echo pass open; {end}")
    assert (found.usable, found.step) == (False, Step.API)
    assert "died" in found.reason


def test_a_child_that_prints_garbage_is_not_believed() -> None:
    found = judged("echo pass start; head -c 300 /dev/urandom | tr -d '\\n'; echo; " + ALL_PASS)
    assert (found.usable, found.step) == (False, Step.OPEN)
    assert found.reason.isprintable()


def test_a_child_that_prints_without_end_is_killed_and_reaped() -> None:
    async def in_time() -> KvmVerdict:
        async with asyncio.timeout(20):  # else it is a hang
            return await ask(["yes"], (ENDLESS,))

    assert asyncio.run(in_time()).step is Step.START


def test_steps_out_of_order_are_not_believed() -> None:
    assert judged("echo pass start; echo pass api").step is Step.OPEN


def test_a_child_that_cannot_be_executed_fails_the_start(tmp_path: Path) -> None:
    found = asyncio.run(ask([str(tmp_path / "absent")], [ENDLESS]))
    assert (found.usable, found.step) == (False, Step.START)


def test_a_hang_is_tried_again_with_more_patience(tmp_path: Path) -> None:
    second = f"[ -e {tmp_path}/mark ] || {{ touch {tmp_path}/mark; echo pass start; exec sleep infinity; }}\n{ALL_PASS}"
    assert judged(second, NONE_FOR_STEPS, ENDLESS).usable


def test_a_failure_that_is_no_hang_is_final(tmp_path: Path) -> None:
    second = f"[ -e {tmp_path}/mark ] || {{ touch {tmp_path}/mark; exit 1; }}\n{ALL_PASS}"
    assert judged(second, ENDLESS, ENDLESS).step is Step.START


class Counted:
    """A stand-in child that leaves a line for each time it ran, and a device node to ask about."""

    def __init__(self, directory: Path, script: str) -> None:
        self.cache = directory / "cache"
        self.device = directory / "kvm"
        self.device.write_text("")
        self._runs = directory / "runs"
        self._child = shell(f"echo x >> {self._runs}\n{script}")

    def probe(self, qemu_version: str = "7.2.22") -> KvmVerdict:
        asked = probe(self.cache, qemu_version, device=self.device, child=self._child, patience=[ENDLESS])
        return asyncio.run(asked)

    @property
    def runs(self) -> int:
        return len(self._runs.read_text().splitlines())


@pytest.mark.parametrize("script", [ALL_PASS, "echo pass start; echo pass open; echo fail api old"])
def test_a_second_question_is_answered_from_memory(tmp_path: Path, script: str) -> None:
    counted = Counted(tmp_path, script)
    assert counted.probe() == counted.probe()
    assert counted.runs == 1


def test_another_qemu_is_another_question(tmp_path: Path) -> None:
    counted = Counted(tmp_path, ALL_PASS)
    counted.probe("7.2.22")
    counted.probe("8.0.0")
    assert counted.runs == 2


def test_a_torn_memory_is_asked_again_and_mended(tmp_path: Path) -> None:
    counted = Counted(tmp_path, ALL_PASS)
    counted.probe()
    (kept,) = counted.cache.iterdir()
    kept.write_bytes(kept.read_bytes()[:-5])
    counted.probe()
    counted.probe()
    assert counted.runs == 2


@pytest.mark.parametrize("script", ["echo pass start; echo fail open busy", "exit 1"])
def test_a_closed_door_and_a_broken_child_are_not_remembered(tmp_path: Path, script: str) -> None:
    counted = Counted(tmp_path, script)
    counted.probe()
    counted.probe()
    assert counted.runs == 2


def test_the_child_is_told_which_device(tmp_path: Path) -> None:
    found = asyncio.run(probe(tmp_path / "cache", "7.2", device=tmp_path / "absent"))
    assert (found.usable, found.step) == (False, Step.OPEN)
    assert "there is no /dev/kvm" in found.reason


def test_a_device_that_is_no_kvm_is_not_usable(tmp_path: Path) -> None:
    (tmp_path / "kvm").write_text("")
    found = asyncio.run(probe(tmp_path / "cache", "7.2", device=tmp_path / "kvm"))
    assert (found.usable, found.step) == (False, Step.API)


def test_the_verdict_on_this_machine_agrees_with_what_else_can_be_seen(tmp_path: Path) -> None:
    """Valid anywhere: which way the verdict falls depends on the machine, but not what must go with it."""
    found = asyncio.run(probe(tmp_path, "7.2"))
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR))
    except OSError:
        assert found.step is Step.OPEN
        return
    assert found.step not in (Step.START, Step.OPEN)
    assert found.usable == (found.step is None)
    if found.usable:
        child = [sys.executable, "-m", "bento.host.drivers.machine.kvm_guest"]
        environment = os.environ | {"PYTHONPATH": str(SOURCE)}
        ran = subprocess.run(child, env=environment, capture_output=True, text=True, check=True)
        assert ran.stdout.splitlines() == [f"pass {step}" for step in Step]


def gone(pid: int) -> bool:
    """No such process, and no zombie of ours either."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
