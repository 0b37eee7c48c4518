"""Suspended domains: real machines whose programs go on where they were, and of whose memory nothing is to be read."""

import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.host.manager.home import end_process
from tests.vm.boxes import TEMPLATE, Boxes, wait_until

pytestmark = pytest.mark.vm

MARK = "a-mark-in-memory-that-nobody-may-read-0815"
REMEMBER = 'read mark; MARK=$mark setsid sleep 1000000 </dev/null >/dev/null 2>&1 & echo "$!"'
"""Leaves a process behind that has what it is told in its memory; prints its number."""


def remember(boxes: Boxes, name: str) -> str:
    """The number of a process that knows `MARK`."""
    return boxes.do("run", name, "--", "sh", "-c", f"{{ {REMEMBER}; }}", stdin=f"{MARK}\n").strip()


def remembers(boxes: Boxes, name: str, process: str) -> bool:
    return f"MARK={MARK}" in boxes.sh(name, f"tr '\\0' '\\n' </proc/{process}/environ")


def has_mark(boxes: Boxes) -> str:
    """The files of the home that hold `MARK` in the clear."""
    return subprocess.run(["grep", "-rlF", MARK, str(boxes.path)], capture_output=True, text=True, check=False).stdout


def state(boxes: Boxes, name: str) -> object:
    return boxes.ls(name)[name]["state"]


def test_a_domain_goes_on_where_it_was_and_nothing_of_it_can_be_read_meanwhile(boxes: Boxes) -> None:
    process = remember(boxes, "work")
    assert remembers(boxes, "work", process)
    boot = boxes.sh("work", "cat /proc/sys/kernel/random/boot_id")
    boxes.do("suspend", "work")
    row = boxes.ls("work")["work"]
    assert (row["state"], row["pid"]) == ("Suspended", None)
    assert boxes.machine_pids_of(row["uuid"]) == []
    assert has_mark(boxes) == ""
    assert row["disk_bytes"] < 600 << 20, "what was never touched takes no disk"
    end_process(boxes.pid)
    assert state(boxes, "work") == "Suspended"
    # Its clock is set to the host's time of when it is greeted: it lags by what it takes to hear that. The time that
    # passed while it was suspended is longer: a manager was started meanwhile, beside several commands.
    earliest = int(time.time())
    boxes.do("resume", "work")
    now = int(boxes.sh("work", "date +%s"))
    assert earliest <= now <= time.time()
    assert remembers(boxes, "work", process)
    assert boxes.sh("work", "cat /proc/sys/kernel/random/boot_id") == boot
    assert not list(boxes.data_dir("work").glob("suspended*"))


@pytest.fixture
def disposable(new: Boxes) -> Iterator[str]:
    """One that was forked from a seed, and cleans up after itself."""
    with new.events() as events:
        new.do("create", "web", "--template", TEMPLATE, "--label", "red")
        new.do("prefs", "web", "template_for_dispvms", "True")
        events.until("seed-made", "web")
    name = new.ask("admin.vm.CreateDisposable", "web")
    new.do("start", name)
    yield name
    if name in new.ls():
        new.do("kill", name)
    new.do("rm", "web")


def test_a_disposable_goes_on_with_what_lies_on_its_disks(new: Boxes, disposable: str) -> None:
    process = remember(new, disposable)
    new.do("run", disposable, "--", "sh", "-c", "cat >~/kept; sync", stdin=MARK)
    new.do("suspend", disposable)
    assert has_mark(new) == ""
    assert new.fail("run", "--no-autostart", disposable, "--", "true")[0] == 3
    assert new.sh(disposable, "cat ~/kept") == MARK, "a call resumes it"
    assert remembers(new, disposable, process)
    # Its disk is a file system that was never torn.
    assert new.sh(disposable, "echo 3 >/proc/sys/vm/drop_caches; cat /home/user/kept", user="root") == MARK
    new.do("suspend", disposable)
    directory = new.data_dir(disposable)
    with new.events() as events:
        new.do("kill", disposable)
        events.until("domain-delete")
    assert not directory.exists()


def kill_manager_during(boxes: Boxes, verb: str, reached: Callable[[], bool]) -> None:
    """Give a command, and kill the manager as soon as it has `reached` something, or is through."""
    manager = boxes.pid
    with boxes.begin(verb, "work", stderr=subprocess.DEVNULL) as command:
        wait_until(lambda: reached() or command.poll() is not None, verb)
        end_process(manager)


def test_a_manager_that_is_killed_on_the_way_leaves_the_domain_once_and_whole(boxes: Boxes) -> None:
    process = remember(boxes, "work")
    image, qmp = boxes.data_dir("work") / "suspended.img", boxes.run_dir("work") / "qmp.sock"
    for written in (0, 40 << 20):
        kill_manager_during(boxes, "suspend", partial(is_larger, image, written))
        if state(boxes, "work") == "Suspended":  # it was quicker than we
            boxes.do("resume", "work")
        assert remembers(boxes, "work", process)
        assert not image.exists()
    boxes.do("suspend", "work")
    kill_manager_during(boxes, "resume", qmp.exists)
    if state(boxes, "work") == "Suspended":
        boxes.do("resume", "work")
    assert remembers(boxes, "work", process)
    assert not image.exists()


def is_larger(path: Path, size: int) -> bool:
    return path.exists() and path.stat().st_size > size
