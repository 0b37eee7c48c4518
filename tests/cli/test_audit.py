"""`bento audit`: what is asked of the manager, and how the log is told."""

import io
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bento.wire.admin import Event, encode_ok
from tests.cli.conftest import Bento
from tests.cli.fake import FakeManager

Capture = pytest.CaptureFixture[str]
OK = encode_ok(b"")
CALL = {
    "log": "random",
    "line": 2,
    "kind": "decided",
    "time": "2026-11-22T09:14:03.000+00:00",
    "source": "random",
    "service": "qubes.Filecopy",
    "argument": "e3b0",
    "asked": "work",
    "chosen": "work",
    "verdict": "allow",
    "rule": "30-user.policy:3",
    "policy": "abcdef" * 10 + "0000",
    "grant": "",
    "reason": "",
}
HASH = "0123456789abcdef" * 4


def line(**said: object) -> Event:
    return Event("random", "line", (("json", json.dumps({**CALL, **said})),))


def about(kind: str, **said: object) -> Event:
    row = {"log": "random", "line": 1, "kind": kind, "time": "2026-11-22T09:14:03.000+00:00", **said}
    return Event("random", "line", (("json", json.dumps(row)),))


@pytest.fixture(autouse=True)
def utc() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def shown(manager: FakeManager, capsys: Capture, bento: Bento, events: list[Event], *words: str) -> list[list[str]]:
    manager.answers["bento.audit.Show"] = [*events, OK]
    assert bento("audit", "show", *words) == 0
    return [row.split() for row in capsys.readouterr().out.splitlines()]


def test_lines_are_shown_with_what_was_decided(manager: FakeManager, bento: Bento, capsys: Capture) -> None:
    events = [line(), line(asked="", chosen="work"), line(verdict="deny", asked="\x1b[2J", chosen="")]
    assert shown(manager, capsys, bento, events) == [
        ["TIME", "SOURCE", "SERVICE", "TARGET", "DECISION"],
        ["2026-11-22", "09:14:03", "random", "qubes.Filecopy", "work", "allow"],
        ["2026-11-22", "09:14:03", "random", "qubes.Filecopy", "@default", "->", "work", "allow"],
        ["2026-11-22", "09:14:03", "random", "qubes.Filecopy", "^[[2J", "deny"],
    ]
    assert manager.asked == ["bento.audit.Show+ dom0 'count=50\\n'"]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"in_force": True, "rule_text": "* * a b allow"}, "30-user.policy:3  * * a b allow"),
        ({"in_force": False}, "30-user.policy:3  (of the policy abcdefabcdef, which is in force no more)"),
        ({"in_force": True, "rule_text": None, "rule": "", "reason": "no rule"}, "no rule"),
        ({"in_force": False, "verdict": "admin", "rule": ""}, "you, at the host"),
        (
            {"in_force": True, "rule_text": "t", "grant": "once", "verdict": "consent"},
            "30-user.policy:3  t; your answer: once",
        ),
    ],
)
def test_why_tells_what_decided(
    manager: FakeManager, bento: Bento, capsys: Capture, said: dict[str, Any], words: str
) -> None:
    manager.answers["bento.audit.Show"] = [line(**said), OK]
    assert bento("audit", "show", "--why") == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(f"  {words}")


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (about("began"), "the log begins"),
        (about("repaired", size=7, digest=HASH), "7 bytes that were no line were cut off, after a crash"),
        (about("dropped", last=2000, hash=HASH), "the lines up to number 2000 fell off"),
        (
            about("counted", source="random", calls=5, since="2026-11-22T09:13:03.000+00:00"),
            "5 more refused since 2026-11-22 09:13:03",
        ),
    ],
)
def test_what_the_log_says_of_itself_is_told_too(
    manager: FakeManager, bento: Bento, capsys: Capture, event: Event, words: str
) -> None:
    manager.answers["bento.audit.Show"] = [event, OK]
    assert bento("audit", "show", "--why") == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(words)


def test_a_time_that_no_calendar_has_is_told_as_it_is(manager: FakeManager, bento: Bento, capsys: Capture) -> None:
    assert shown(manager, capsys, bento, [line(time="9223372036854775807")])[1][0] == "9223372036854775807"


def test_what_is_wanted_is_asked_for(manager: FakeManager, bento: Bento, capsys: Capture) -> None:
    words = ("--source", "random", "--target", "@dispvm:web", "--denied", "--why", "-n", "7")
    manager.answers["bento.audit.Show"] = [OK]
    assert bento("audit", "show", *words) == 0
    assert capsys.readouterr().out == "Nothing.\n"
    payload = manager.requests[-1].payload.decode()
    assert payload == "count=7\nsource=random\ntarget=@dispvm:web\ndenied=yes\nwhy=yes\n"
    assert bento("audit", "show", "--source", "-") == 2


@pytest.mark.parametrize("number", ["x", "0", "-1", "1.5", "9" * 5000, "\u0663"])
def test_how_many_is_a_whole_number_from_1(bento: Bento, capsys: Capture, number: str) -> None:
    assert bento("audit", "show", f"-n={number}") == 2
    told = capsys.readouterr().err
    assert told.startswith("bento: audit show: argument -n: takes a whole number from 1, not '")
    assert told.count("\n") == 1


def test_json_is_an_object_a_line(manager: FakeManager, bento: Bento, capsys: Capture) -> None:
    manager.answers["bento.audit.Show"] = [line(), line(), OK]
    assert bento("audit", "show", "--json") == 0
    assert [json.loads(text) for text in capsys.readouterr().out.splitlines()] == [CALL, CALL]


def test_damaged_lines_are_said_to_be_missing(manager: FakeManager, bento: Bento, capsys: Capture) -> None:
    manager.answers["bento.audit.Show"] = [line(), Event("", "damaged", (("count", "3"),)), OK]
    assert bento("audit", "show") == 0
    assert "3 lines are damaged and not shown" in capsys.readouterr().err


# ---- verify --------------------------------------------------------------------------------------

SOUND = [
    Event("random", "sound", (("first", "11"), ("count", "20"), ("hash", HASH))),
    Event("work", "sound", (("first", "1"), ("count", "5"), ("hash", HASH))),
]
BROKEN = Event("vault", "broken", (("line", "3"), ("why", "has no end")))


def test_a_whole_log_is_said_to_be_whole(manager: FakeManager, bento: Bento, capsys: Capture) -> None:
    manager.answers["bento.audit.Verify"] = [*SOUND, OK]
    assert bento("audit", "verify") == 0
    assert capsys.readouterr().out == "The audit log is whole: 15 lines of 2 sources.\n"
    assert bento("audit", "verify", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0] == {
        "log": "random",
        "sound": True,
        "first": 11,
        "count": 20,
        "hash": HASH,
    }


@pytest.mark.parametrize("words", [(), ("--head",), ("--json",)])
def test_a_broken_log_is_said_to_be_broken_and_ends_with_a_code_of_its_own(
    manager: FakeManager, bento: Bento, capsys: Capture, words: tuple[str, ...]
) -> None:
    manager.answers["bento.audit.Verify"] = [*SOUND, BROKEN, OK]
    assert bento("audit", "verify", *words) == 5
    output = capsys.readouterr()
    if "--json" in words:
        assert json.loads(output.out)[2] == {"log": "vault", "sound": False, "line": 3, "why": "has no end"}
    else:
        assert output.err == "bento: the log of vault is broken: line 3 has no end\n"
        assert not output.out, "what is broken has no head to keep"


def test_a_head_is_printed_and_sent_along_later(
    manager: FakeManager, bento: Bento, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.answers["bento.audit.Verify"] = [*SOUND, OK]
    assert bento("audit", "verify", "--head") == 0
    head = capsys.readouterr().out
    assert head == f"random 20 {HASH}\nwork 5 {HASH}\n"
    (tmp_path / "head").write_text(head)
    assert bento("audit", "verify", "--since", str(tmp_path / "head")) == 0
    assert "goes on from the head in" in capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(head.encode())))
    assert bento("audit", "verify", "--since", "-") == 0
    assert [one.payload.decode() for one in manager.requests] == ["", head, head]


def test_what_is_no_head_is_not_sent(manager: FakeManager, bento: Bento, capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "large").write_bytes(bytes(70_000))
    for name, words in (("empty", "is empty"), ("large", "is too long for one request"), ("missing", "cannot be read")):
        assert bento("audit", "verify", "--since", str(tmp_path / name)) == 2
        assert words in capsys.readouterr().err
    assert manager.requests == []
