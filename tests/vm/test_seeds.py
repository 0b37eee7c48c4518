"""Disposables forked from a seed: real machines, of which no two are alike and nothing stays."""

import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bento.host.manager.spares import USUAL
from tests.host.manager.home import end_process
from tests.vm.boxes import TEMPLATE, Boxes, wait_until
from tests.vm.unlike import probe, require_unlike

pytestmark = pytest.mark.vm

FORKS, AT_ONCE = 50, 10


@pytest.fixture(scope="module")
def web(new: Boxes) -> Iterator[Boxes]:
    """The disposable template `web` with its seed, and nothing that runs but the others' domains."""
    with new.events() as events:
        new.do("create", "web", "--template", TEMPLATE, "--label", "red")
        new.do("prefs", "web", "template_for_dispvms", "True")
        events.until("seed-made", "web")
    yield new
    new.do("rm", "web")


def forked(boxes: Boxes, name: str) -> bool:
    """Whether its machine went on from another one."""
    return b"-incoming" in Path(f"/proc/{boxes.row(name)['pid']}/cmdline").read_bytes().split(b"\0")


def seeds(boxes: Boxes) -> list[dict[str, Any]]:
    """Those for disposables: other tests' AppVMs may have one, too."""
    return [row for row in json.loads(boxes.do("disp", "seeds", "--json")) if row["for"] == "disposables"]


def test_no_two_of_fifty_forks_share_what_is_random_or_says_who_they_are(web: Boxes) -> None:
    told: list[list[str]] = []
    for _ in range(FORKS // AT_ONCE):
        names = [web.ask("admin.vm.CreateDisposable", "web") for _ in range(AT_ONCE)]
        web.do("start", *names)
        assert all(forked(web, name) for name in names)
        told += [probe(web, name) for name in names]
        web.do("kill", *names)
    assert len(told) == FORKS
    require_unlike(told)


def test_the_next_disposable_was_forked_ahead_and_is_like_no_other(web: Boxes) -> None:
    told: list[list[str]] = []
    for _ in range(2):  # both have run a while before, from the same state on
        assert web.run("web", "true", disposable="yes").code == 0
        wait_until(lambda: len(spares(web)) >= USUAL, "machines for the next ones")
        waiting = [spare["pid"] for spare in spares(web)]
        assert "(web)" in web.do("top", "--once")
        names = [web.ask("admin.vm.CreateDisposable", "web") for _ in range(USUAL + 1)]
        web.do("start", *names)
        # The last one may be one, too: where that many were started at once before, as many are made.
        assert all(web.row(name)["pid"] in waiting for name in names[:USUAL])
        told += [probe(web, name) for name in names]
        web.do("kill", *names)
    require_unlike(told)


def test_one_forked_ahead_that_died_is_not_missed(web: Boxes) -> None:
    wait_until(lambda: len(spares(web)) >= USUAL, "machines for the next ones")
    name = web.ask("admin.vm.CreateDisposable", "web")
    (pid,) = [spare["pid"] for spare in spares(web) if spare["uuid"] == web.row(name)["uuid"]]
    end_process(pid)
    web.do("start", name)
    assert forked(web, name)
    assert web.sh(name, "hostname") == name
    web.do("kill", name)


def spares(boxes: Boxes) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(boxes.ask("bento.vm.Usage"))["spares"]
    return rows


def test_a_program_in_a_disposable_leaves_nothing(web: Boxes) -> None:
    mark = f"a-mark-that-must-not-stay-{secrets.token_hex(8)}"
    name = web.ask("admin.vm.CreateDisposable", "web")
    web.do("start", name)
    script = "read mark; for f in /root/kept /home/user/kept /rw/kept /usr/local/kept /tmp/kept /dev/ttyS0; do"
    script += " echo $mark >$f; done; sync; echo 3 >/proc/sys/vm/drop_caches; cat /root/kept"
    said = web.bento("run", "--user", "root", name, "--", "sh", "-c", script, stdin=f"{mark}\n")
    assert (said.returncode, said.stdout) == (0, f"{mark}\n")
    wait_until(lambda: mark in web.do("logs", name), "the mark in what the console said")
    assert where_is(mark, web) == "", "while it runs"
    with web.events() as events:
        web.do("kill", name)
        events.until("domain-delete")
    assert where_is(mark, web) == ""
    assert [row for row in web.table() if row["class"] == "DispVM"] == []


def where_is(mark: str, boxes: Boxes) -> str:
    """Every file that has it, of this home or written since it stands, in any place for what is passing."""
    home = subprocess.run(["grep", "-rlF", mark, str(boxes.path)], capture_output=True, text=True, check=False).stdout
    places = {"/tmp", "/var/tmp", "/dev/shm", f"/run/user/{os.getuid()}"}
    new = ["-newer", str(boxes.path / "bento.db"), "-type", "f", "-size", "-65536k", "-user", str(os.getuid())]
    search = ["find", *sorted(places), "-xdev", *new, "-exec", "grep", "-lF", mark, "{}", "+"]
    return home + subprocess.run(search, capture_output=True, text=True, check=False).stdout


def test_a_domain_gets_a_disposable_for_a_call(web: Boxes) -> None:
    web.policy("qubes.VMExec * random @dispvm:web allow\n", "15-disposable.policy")
    web.do("start", "random") if web.ls()["random"]["state"] == "Halted" else None
    with web.events() as events:
        assert web.sh("random", "echo over there | qrexec-client-vm @dispvm:web qubes.VMExec+cat") == "over there"
        events.until("domain-delete")
    (web.path / "config/policy.d/15-disposable.policy").unlink()


def test_seeds_are_listed(web: Boxes) -> None:
    (row,) = seeds(web)
    assert (row["base"], row["current"]) == ("web", True)
    assert row["size_bytes"] < 400 << 20, "what was never touched takes no disk"
    assert "web" in web.do("disp", "seeds")


def test_forks_finish_on_the_template_they_began_with_and_the_next_is_of_the_new(web: Boxes) -> None:
    old, version = web.ask("admin.vm.CreateDisposable", "web"), web.row(TEMPLATE)["template_version"]
    web.do("start", old)
    (before,) = seeds(web)
    web.do("start", TEMPLATE)
    # Besides, an identity that programs of a template have made must not become every domain's.
    change = "echo new >/etc/of-the-seeds; mkdir -p /var/lib/dbus; echo one-for-all >/var/lib/dbus/machine-id"
    web.sh(TEMPLATE, change, user="root")
    with web.events() as events:
        web.do("shutdown", "--wait", TEMPLATE)
        events.until("seed-made", "web")
    (after,) = seeds(web)
    assert (before["template_version"], after["template_version"]) == (version, web.row(TEMPLATE)["template_version"])
    assert after["template_version"] > version
    assert after["key"] != before["key"]

    new = web.ask("admin.vm.CreateDisposable", "web")
    web.do("start", new)
    assert forked(web, new)
    assert web.sh(new, "cat /etc/of-the-seeds; cmp /etc/machine-id /var/lib/dbus/machine-id") == "new"
    script = (
        "echo 3 >/proc/sys/vm/drop_caches; ls /etc/of-the-seeds; python3 -c 'import decimal; print(decimal.Decimal(1))'"
    )
    assert web.run(old, "sh", "-c", script, user="root").stdout == b"1\n"
    assert [web.row(name)["template_version"] for name in (old, new)] == [version, after["template_version"]]
    web.do("kill", old, new)


def test_a_torn_seed_is_not_used_and_made_anew(web: Boxes) -> None:
    (row,) = seeds(web)
    web.do("manager", "stop")
    kept = web.path / "seeds" / row["key"] / "memory"
    kept.chmod(0o600)
    with open(kept, "r+b") as memory:
        at = os.lseek(memory.fileno(), 64 << 20, os.SEEK_DATA)
        byte = os.pread(memory.fileno(), 1, at)[0]
        os.pwrite(memory.fileno(), bytes((byte ^ 1,)), at)
    web.do("ls")
    name = web.ask("admin.vm.CreateDisposable", "web")
    with web.events() as events:
        web.do("start", name)
        assert not forked(web, name)
        events.until("seed-made", "web")
    web.do("kill", name)
    name = web.ask("admin.vm.CreateDisposable", "web")
    web.do("start", name)
    assert forked(web, name)
    web.do("kill", name)
