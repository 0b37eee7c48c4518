"""AppVMs that go on from a seed of their template: real machines, each with the files that are its own."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.manager.home import end_process
from tests.vm.boxes import TEMPLATE, Boxes, wait_until
from tests.vm.test_seeds import forked
from tests.vm.unlike import probe, require_unlike

pytestmark = pytest.mark.vm

NAMES = ["ledger", "letters", "lists", "logs"]


@pytest.fixture(scope="module")
def quick(new: Boxes) -> Iterator[Boxes]:
    """AppVMs that are halted, of which the first has run, and the seed of their template."""
    for name in NAMES:
        new.do("create", name, "--template", TEMPLATE, "--label", "green")
    new.do("start", "--fresh", NAMES[0])
    new.do("shutdown", "--wait", NAMES[0])
    new.do("start", NAMES[0])
    wait_until(lambda: has_seed(new), "a seed")
    new.do("shutdown", "--wait", NAMES[0])
    yield new
    new.bento("kill", *NAMES)
    new.do("rm", *NAMES)


def has_seed(boxes: Boxes) -> bool:
    rows = json.loads(boxes.do("disp", "seeds", "--json"))
    return any((row["base"], row["for"], row["current"]) == (TEMPLATE, "AppVMs", True) for row in rows)


@pytest.fixture
def ledger(quick: Boxes) -> Iterator[str]:
    """The name of a halted AppVM, which it is again after the test."""
    yield NAMES[0]
    quick.bento("kill", NAMES[0])


def private(boxes: Boxes, name: str) -> Path:
    return boxes.data_dir(name) / "private.img"


def test_what_is_private_stays_and_what_is_not_goes(quick: Boxes, ledger: str) -> None:
    quick.do("start", ledger)
    assert forked(quick, ledger)
    keep = "echo first >/home/user/kept; echo first >/usr/local/kept; mkdir -p /rw/config; echo first >/rw/config/kept"
    quick.sh(ledger, f"{keep}; echo first >/etc/lost; echo first >/root/lost", user="root")
    quick.do("shutdown", "--wait", ledger)
    quick.do("start", ledger)
    assert forked(quick, ledger)
    # The very first call sees it all.
    assert quick.sh(ledger, "cat ~/kept /usr/local/kept /rw/config/kept").split() == ["first"] * 3
    assert quick.sh(ledger, "ls /etc/lost /root/lost 2>&1 | grep -c 'No such file'", user="root") == "2"


def test_it_is_laid_out_as_if_it_had_booted(quick: Boxes, ledger: str) -> None:
    mounts = "grep -E ' (/|/rw|/home|/usr/local|/etc/machine-id) ' /proc/mounts | sort"
    look = f"{mounts}; cat /sys/block/vd?/size; find ~ /rw -maxdepth 1 -printf '%M %u %g %p\n' | sort"
    told = []
    for way in ((), ("--fresh",)):
        quick.do("start", *way, ledger)
        told.append(quick.sh(ledger, look))
        assert forked(quick, ledger) is not bool(way)
        quick.do("shutdown", "--wait", ledger)
    assert told[0] == told[1]


def test_no_two_of_them_share_what_is_random_or_says_who_they_are(quick: Boxes) -> None:
    """Three of them have never run: the first start makes the files of a home, from a seed, too."""
    quick.do("start", *NAMES)
    assert all(forked(quick, name) for name in NAMES)
    require_unlike([probe(quick, name) for name in NAMES])
    assert {quick.sh(name, "stat -c '%U %n' /home/user /rw/home /rw/usrlocal") for name in NAMES} == {
        "user /home/user\nroot /rw/home\nroot /rw/usrlocal"
    }
    quick.do("shutdown", "--wait", *NAMES)


def test_a_private_volume_that_the_host_enlarged_is_grown_into(quick: Boxes, ledger: str) -> None:
    os.truncate(private(quick, ledger), 3 << 30)
    quick.do("start", ledger)
    assert forked(quick, ledger)
    wait_until(lambda: int(quick.sh(ledger, "df --output=size /rw | tail -1")) > 2_900_000, "room")
    quick.do("shutdown", "--wait", ledger)


def test_files_of_a_domain_that_was_killed_are_there(quick: Boxes, ledger: str) -> None:
    quick.do("start", ledger)
    quick.sh(ledger, "echo synced >~/synced; sync")
    quick.do("kill", ledger)
    quick.do("start", ledger)
    assert forked(quick, ledger)
    assert quick.sh(ledger, "cat ~/synced") == "synced"
    assert "vdb was not closed cleanly" in quick.do("logs", ledger)


def test_a_manager_that_is_killed_in_the_middle_leaves_a_domain_that_starts(quick: Boxes, ledger: str) -> None:
    uuid = str(quick.row(ledger)["uuid"])
    quick.sh(ledger, "echo mine >~/mine")
    quick.do("shutdown", "--wait", ledger)
    with quick.begin("start", ledger) as starting:
        wait_until(lambda: bool(quick.running(uuid)), "a machine")
        end_process(quick.pid)
        starting.wait()
    # `run` starts it, unless it was up before the manager died.
    assert quick.sh(ledger, "cat ~/mine").split() == ["mine"]
    quick.do("shutdown", "--wait", ledger)


def test_a_damaged_private_volume_does_not_keep_a_domain_from_starting(quick: Boxes) -> None:
    name = NAMES[-1]
    with private(quick, name).open("r+b") as volume:
        volume.write(os.urandom(1 << 20))
    quick.do("start", name)
    assert forked(quick, name)
    assert "the private volume (vdb) cannot be used: /home is not kept" in quick.do("logs", name)
    assert quick.sh(name, "ls -d ~") == "/home/user"
    quick.do("kill", name)


def test_an_agent_that_is_started_again_leaves_the_private_volume_where_it_is(quick: Boxes, ledger: str) -> None:
    quick.do("start", ledger)
    quick.sh(ledger, "echo mine >~/mine")
    agent = "grep -sl bento.guest.__main[_]_ /proc/[0-9]*/cmdline | cut -d/ -f3"
    before = quick.sh(ledger, agent, user="root")
    quick.bento("run", "--user", "root", ledger, "--", "sh", "-c", f"kill -9 $({agent})")
    assert quick.sh(ledger, agent, user="root") != before
    assert quick.sh(ledger, "cat ~/mine") == "mine"
