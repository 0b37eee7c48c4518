"""A contract between real domains: who breaks it is cut off and named, and everybody else's calls go on."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.vm.boxes import Boxes, wait_until

pytestmark = pytest.mark.vm

SERVICES = "/usr/local/etc/qubes-rpc"
HOSTILE_SERVER = r"printf '#!/bin/sh\nhead -c 40 >/dev/null\necho your files are mine\n'"
HOSTILE_CALLER = r"printf '\005\0\0\0\377\377\377\377more than forty bytes of a file that is none' | "


def cuts(boxes: Boxes) -> list[dict[str, Any]]:
    lines = boxes.do("audit", "show", "--json").splitlines()
    return [line for line in map(json.loads, lines) if line.get("verdict") == "cut"]


def next_cut(boxes: Boxes, before: int) -> dict[str, Any]:
    """The one after those `before`: it goes another way than the exit code of who was cut."""
    wait_until(lambda: len(cuts(boxes)) > before, "a record of what was cut")
    return cuts(boxes)[before]


@pytest.fixture
def hostile(boxes: Boxes) -> Iterator[Boxes]:
    """`work` takes no files, but has something of its own to say."""
    install = f"mkdir -p {SERVICES} && {HOSTILE_SERVER} > {SERVICES}/qubes.Filecopy"
    boxes.sh("work", f"{install} && chmod 755 {SERVICES}/qubes.Filecopy", user="root")
    yield boxes
    boxes.sh("work", f"rm {SERVICES}/qubes.Filecopy", user="root")


def test_a_hostile_service_is_cut_and_named_and_other_calls_go_on(hostile: Boxes) -> None:
    before = len(cuts(hostile))
    with hostile.begin("run", "work", "--", "cat", stdin=-1, stdout=-1) as other:
        assert other.stdin
        assert other.stdout
        other.stdin.write(b"before\n")
        other.stdin.flush()
        assert other.stdout.readline() == b"before\n"

        copied = hostile.bento("run", "random", "--", "sh", "-c", "echo x > x; qvm-copy-to-vm work x")
        assert copied.returncode != 0
        assert "your files are mine" not in copied.stdout + copied.stderr

        other.stdin.write(b"after\n")
        other.stdin.close()
        assert other.stdout.read() == b"after\n"
    cut = next_cut(hostile, before)
    assert (cut["source"], cut["service"], cut["chosen"]) == ("random", "qubes.Filecopy", "work")
    assert cut["reason"].startswith("work broke the contract of qubes.Filecopy: in state ")
    assert "the server said 1818846752 for zero of result" in cut["reason"]
    assert f"call of qubes.Filecopy from random to work was cut: {cut['reason']}" in hostile.log()


def test_a_hostile_caller_is_cut_before_the_service_sees_what_it_may_not(boxes: Boxes) -> None:
    before = len(cuts(boxes))
    said = boxes.bento("run", "random", "--", "sh", "-c", f"{HOSTILE_CALLER} qrexec-client-vm work qubes.Filecopy")
    assert said.returncode == 125
    cut = next_cut(boxes, before)
    reason = "random broke the contract of qubes.Filecopy: in state copying the caller said 4294967295 for mode of"
    assert cut["reason"].startswith(reason)
    assert boxes.sh("random", "echo fine > fine; qvm-copy-to-vm work fine && echo copied") == "copied"
