"""`bento policy simulate`: the log is read here and sent along as few calls; what comes back is put together."""

import json
from pathlib import Path
from typing import Any

import pytest

from bento.cli.files import ROOM
from bento.wire.admin import Request, encode_ok
from tests.cli.conftest import Bento
from tests.cli.fake import FakeManager

Capture = pytest.CaptureFixture[str]
CALL = {"source": "random", "service": "s", "argument": "00", "asked": "work", "chosen": "", "verdict": "deny"}
DENIED = {"reason": "rule", "sentence": "It is denied.", "notify": True, "rule": None, "allowed": False}
RULE = {"file": "a.policy", "line": 2, "rule": "s * random work allow"}
NOTHING: dict[str, Any] = {"fault": None, "same": 0, "changed": [], "gone": {}, "commands": 0}


def line(**fields: str) -> str:
    said = {"kind": "decided", "number": 1, **CALL, **fields}
    return json.dumps(said) + "\n"


def change(calls: int, before: dict[str, object], after: dict[str, object], argument: str | None) -> dict[str, object]:
    call = {"source": "random", "service": "s", "argument": argument, "asked": ""}
    return {"calls": calls, **call, "before": before, "after": after}


def test_calls_that_are_alike_are_sent_once(manager: FakeManager, bento: Bento, tmp_path: Path) -> None:
    manager.answers["bento.policy.Simulate"] = json.dumps(NOTHING).encode()
    log = tmp_path / "log"
    log.mkdir()
    (log / "1").write_text("f" * 64 + " " + line(number="1") + line(time="x"))
    (log / "2").write_text(line(verdict="allow", chosen="work") + '{"kind": "began"}\n')
    (tmp_path / "a.policy").write_text("# a\n")
    assert bento("policy", "simulate", str(log), str(tmp_path)) == 0
    assert json.loads(manager.requests[-1].payload) == {
        "files": [{"name": "a.policy", "text": "# a\n"}],
        "calls": [{**CALL, "count": 2}, {**CALL, "verdict": "allow", "chosen": "work", "count": 1}],
    }


def test_a_long_log_goes_in_pieces_that_fit(
    manager: FakeManager, bento: Bento, capsys: Capture, tmp_path: Path
) -> None:
    counted: list[int] = []

    def answered(request: Request) -> bytes:
        assert len(request.payload) <= ROOM
        counted.append(sum(call["count"] for call in json.loads(request.payload)["calls"]))
        return encode_ok(json.dumps({**NOTHING, "same": counted[-1], "gone": {"gone": 1}, "commands": 1}).encode())

    manager.answers["bento.policy.Simulate"] = answered
    (tmp_path / "log").write_text("".join(line(service=f"s{at}") for at in range(1500)))
    assert bento("policy", "simulate", str(tmp_path / "log"), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert len(counted) > 1
    assert (found["same"], found["gone"], found["commands"]) == (1500, {"gone": len(counted)}, len(counted))


def test_changes_are_told_the_most_frequent_first(
    manager: FakeManager, bento: Bento, capsys: Capture, tmp_path: Path
) -> None:
    changed = [
        change(1, {"verdict": "deny", "target": None}, {"allowed": True, "target": "work", "rule": RULE}, None),
        change(7, {"verdict": "allow", "target": "work"}, DENIED, "a"),
        change(2, {"verdict": "withhold", "target": None}, {**DENIED, "candidates": ["a", "b"], "rule": RULE}, ""),
    ]
    found = {**NOTHING, "fault": "a.policy:1:1: nonsense", "same": 3, "changed": changed, "gone": {"old": 4}}
    manager.answers["bento.policy.Simulate"] = json.dumps(found).encode()
    (tmp_path / "log").write_text(line() + "nonsense\n")
    assert bento("policy", "simulate", str(tmp_path / "log")) == 0
    said = capsys.readouterr()
    assert said.out == (
        "CALLS  WOULD BE        WAS             FROM    SERVICE  TARGET    BY\n"
        "    7  denied          allowed (work)  random  s+a      @default  no rule\n"
        "    2  asked (a or b)  asked           random  s        @default  a.policy:2\n"
        "    1  allowed (work)  denied          random  s+?      @default  a.policy:2\n"
        "10 calls would be decided otherwise, 3 as they were.\n"
        "4 are left out, for their domains are no more: old.\n"
    )
    assert said.err == (
        "bento: the policy is broken and denies every call: a.policy:1:1: nonsense\n"
        "bento: 1 lines are none of the audit log's, and left out\n"
    )


def test_a_log_that_cannot_be_read_is_one_sentence(manager: FakeManager, bento: Bento, capsys: Capture) -> None:
    assert bento("policy", "simulate", "/gone") == 2
    assert capsys.readouterr().err == "bento: /gone cannot be read: No such file or directory\n"
    assert manager.requests == []
