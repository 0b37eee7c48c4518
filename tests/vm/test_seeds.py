"""Disposables forked from a seed: real machines, of which no two are alike and nothing stays."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm.boxes import TEMPLATE, Boxes

pytestmark = pytest.mark.vm

WHO = """\
head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \\n'; echo
cat /proc/sys/kernel/random/uuid /proc/sys/kernel/random/boot_id /etc/machine-id
hostname
python3 -c 'import random; print(random.getrandbits(128))'
"""
"""Prints, a line each, what must differ between any two machines."""

MARK = "a-mark-that-must-not-stay-4711"


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


def test_no_two_forks_share_what_is_random_or_says_who_they_are(web: Boxes) -> None:
    names = [web.ask("admin.vm.CreateDisposable", "web") for _ in range(4)]
    web.do("start", *names)
    assert all(forked(web, name) for name in names)
    told = [web.sh(name, WHO).split("\n") for name in names]
    assert [who[4] for who in told] == names
    for column in zip(*told, strict=True):
        assert len(set(column)) == len(names), column
    assert all(len(who[0]) == 64 and len(who[3]) == 32 for who in told), told
    web.do("kill", *names)


def test_a_program_in_a_disposable_leaves_nothing(web: Boxes) -> None:
    with web.events() as events:
        script = "read mark; echo $mark | tee ~/kept /tmp/kept >/dev/null; sync; cat ~/kept"
        said = web.bento("run", "--disposable=web", "--", "sh", "-c", script, stdin=f"{MARK}\n")
        assert (said.returncode, said.stdout) == (0, f"{MARK}\n")
        events.until("domain-delete")
    assert [row for row in web.table() if row["class"] == "DispVM"] == []
    found = subprocess.run(["grep", "-rlF", MARK, str(web.path)], capture_output=True, text=True, check=False)
    assert found.stdout == ""


def test_a_domain_gets_a_disposable_for_a_call(web: Boxes) -> None:
    web.policy("qubes.VMExec * random @dispvm:web allow\n", "15-disposable.policy")
    web.do("start", "random") if web.ls()["random"]["state"] == "Halted" else None
    with web.events() as events:
        assert web.sh("random", "echo over there | qrexec-client-vm @dispvm:web qubes.VMExec+cat") == "over there"
        events.until("domain-delete")
    (web.path / "config/policy.d/15-disposable.policy").unlink()


def test_seeds_are_listed(web: Boxes) -> None:
    (row,) = json.loads(web.do("disp", "seeds", "--json"))
    assert (row["base"], row["current"]) == ("web", True)
    assert row["size_bytes"] < 400 << 20, "what was never touched takes no disk"
    assert "web" in web.do("disp", "seeds")
