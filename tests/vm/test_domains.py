"""The life of real domains, by commands: what they keep and what they lose, what they take of this machine."""

from collections.abc import Iterator

import pytest

from tests.vm.boxes import TEMPLATE, Boxes, wait_until

pytestmark = pytest.mark.vm

MIB = 1 << 20


def test_ls_shows_all_that_is_to_be_known_of_a_domain(boxes: Boxes) -> None:
    row = boxes.ls()["work"]
    facts = {key: row[key] for key in ("name", "class", "label", "state", "template", "netvm", "template_version")}
    assert facts == {
        "name": "work",
        "class": "AppVM",
        "label": "blue",
        "state": "Running",
        "template": TEMPLATE,
        "netvm": None,
        "template_version": row["template_version"],
    }
    assert 50 * MIB < row["memory_bytes"] < 1000 * MIB
    assert 0 < row["disk_bytes"] < 1000 * MIB
    assert 0 < row["start_seconds"] < row["uptime_seconds"] + 1
    halted = boxes.ls()["vault"]
    assert (halted["state"], halted["memory_bytes"], halted["pid"]) == ("Halted", 0, None)
    assert {row["name"]: row["class"] for row in boxes.ls().values()}["dom0"] == "AdminVM"


@pytest.fixture(scope="module")
def ten(new: Boxes) -> Iterator[list[str]]:
    """Ten domains of one template, of which the first has started."""
    names = [f"box{number}" for number in range(10)]
    for name in names:
        options = ("--property", "memory=300", "--property", "vcpus=2") if name == names[0] else ()
        new.do("create", name, "--template", TEMPLATE, "--label", "gray", *options)
    new.do("start", names[0])
    yield names
    new.do("kill", names[0])
    new.do("rm", *names)


def test_ten_domains_of_one_template_take_next_to_no_disk_before_they_write(boxes: Boxes, ten: list[str]) -> None:
    rows = boxes.ls(*ten)
    assert [row["state"] for row in rows.values()] == ["Running", *["Halted"] * 9]
    assert all(row["disk_bytes"] < MIB for row in rows.values()), rows
    assert "DISK" in boxes.do("ls", "--disk", *ten).split("\n")[0]


def test_a_domain_has_the_memory_and_the_processors_that_were_set(boxes: Boxes, ten: list[str]) -> None:
    kib, processors = boxes.sh(ten[0], "awk '/MemTotal/ {print $2}' /proc/meminfo; nproc").split()
    assert 200 << 10 < int(kib) < 300 << 10
    assert processors == "2"


def test_a_restart_keeps_home_and_throws_the_root_away_and_a_clone_has_the_home(boxes: Boxes) -> None:
    boxes.sh("random", "echo kept > at-home; mkdir -p .config/deep && echo kept > .config/deep/file")
    boxes.sh("random", "echo kept > /usr/local/bin/tool; echo lost > /etc/lost; rm /etc/motd", user="root")
    assert boxes.fail("clone", "random", "copy")[0] == 3, "not while it runs"
    boxes.do("shutdown", "--wait", "random")
    assert boxes.ls("random")["random"]["state"] == "Halted"
    boxes.do("clone", "random", "copy")
    boxes.do("start", "random", "copy")
    look = "cat at-home .config/deep/file /usr/local/bin/tool; ls /etc/lost /etc/motd 2>&1 | grep -c ^ls"
    for name in ("random", "copy"):
        assert boxes.sh(name, look).split() == ["kept", "kept", "kept", "1"], name
    boxes.sh("copy", "echo changed > at-home")
    assert boxes.sh("random", "cat at-home") == "kept", "a clone goes its own way"
    assert boxes.sh("copy", "hostname") == "copy"
    boxes.do("kill", "copy")
    boxes.do("rm", "copy")


def test_a_domain_gets_swap_in_the_background(boxes: Boxes) -> None:
    wait_until(lambda: "/swap" in boxes.sh("work", "cat /proc/swaps"), "swap")
    assert boxes.ls("work")["work"]["disk_bytes"] < 1000 * MIB, "swap that nobody uses takes no disk"


def test_what_is_done_in_a_template_is_its_next_version_from_its_shutdown_on(boxes: Boxes) -> None:
    boxes.do("create", "later", "--template", TEMPLATE, "--label", "green")
    before = boxes.ls("random", TEMPLATE)
    version = before["random"]["template_version"]
    boxes.do("start", TEMPLATE)
    boxes.sh(TEMPLATE, "echo new > /etc/of-the-template; echo mine > /home/user/not-for-others", user="root")
    boxes.do("shutdown", "--wait", TEMPLATE)
    assert boxes.ls(TEMPLATE)[TEMPLATE]["template_version"] == version + 1

    boxes.do("start", "later")
    look = "cat /etc/of-the-template; ls /home/user/not-for-others; true"
    assert boxes.sh("random", look) == ""
    assert boxes.sh("later", look) == "new"
    rows = boxes.ls("random", "later")
    assert [rows[name]["template_version"] for name in ("random", "later")] == [version, version + 1]
    assert boxes.sh("random", "python3 -c 'import decimal; print(decimal.Decimal(1) / 8)'") == "0.125"
    boxes.do("kill", "later")
    boxes.do("rm", "later")


def test_a_template_in_use_is_not_removed(boxes: Boxes) -> None:
    code, sentence = boxes.fail("template", "rm", TEMPLATE)
    assert code == 3
    assert "in use by" in sentence
    assert "work" in sentence


def test_a_standalone_domain_keeps_its_root(boxes: Boxes) -> None:
    boxes.do("create", "alone", "--class", "StandaloneVM", "--template", TEMPLATE, "--label", "purple")
    boxes.do("start", "alone")
    boxes.sh("alone", "echo kept > /etc/own; rm /etc/motd; sync", user="root")
    boxes.do("kill", "alone")
    boxes.do("start", "alone")
    assert boxes.sh("alone", "cat /etc/own; ls /etc/motd 2>&1 | grep -c ^ls").split() == ["kept", "1"]
    assert boxes.ls("alone")["alone"]["disk_bytes"] < 100 * MIB
    boxes.do("kill", "alone")
    boxes.do("rm", "alone")


def test_a_paused_domain_stands_still_until_it_goes_on(boxes: Boxes) -> None:
    boxes.do("pause", "work")
    assert boxes.ls("work")["work"]["state"] == "Paused"
    code, sentence = boxes.fail("run", "work", "--", "true")
    assert (code, "paused" in sentence) == (3, True)
    assert boxes.fail("start", "work")[0] == 3
    boxes.do("unpause", "work")
    assert boxes.sh("work", "echo on") == "on"


def test_a_killed_domain_is_halted_at_once_and_keeps_what_it_synced(boxes: Boxes) -> None:
    boxes.sh("random", "echo kept > synced; sync")
    pid = boxes.ls("random")["random"]["pid"]
    boxes.do("kill", "random")
    assert boxes.ls("random")["random"]["state"] == "Halted"
    assert pid not in boxes.machine_pids()
    assert boxes.do("run", "random", "--", "cat", "synced") == "kept\n", "a run starts it"


def test_starting_what_runs_and_removing_what_runs_is_refused(boxes: Boxes) -> None:
    assert boxes.fail("start", "work") == (3, "'work' is not halted, it is running")
    code, sentence = boxes.fail("rm", "work")
    assert code == 3
    assert "bento shutdown --wait work" in sentence
    assert boxes.sh("work", "echo on") == "on"


def test_what_makes_no_sense_is_one_sentence_and_changes_nothing(boxes: Boxes) -> None:
    before = set(boxes.ls())
    for words in (
        ("start", "nobody"),
        ("run", "nobody", "--", "true"),
        ("create", "new", "--template", TEMPLATE, "--label", "plaid"),
        ("create", "new", "--template", "nothing", "--label", "red"),
        ("create", "new", "--template", TEMPLATE, "--label", "red", "--class", "Cloud"),
        ("create", "new", "--template", TEMPLATE, "--label", "red", "--property", "memory=much"),
        ("create", "work", "--template", TEMPLATE, "--label", "red"),
        ("prefs", "work", "memory", "-1"),
        ("prefs", "work", "no_such_property", "1"),
    ):
        assert boxes.fail(*words)[0] == 2, words
    assert set(boxes.ls()) == before
