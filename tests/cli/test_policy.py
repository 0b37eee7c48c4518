"""`bento policy`: what is asked of the manager, and how its answers are told."""

import json
import os
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bento.cli.files import ROOM
from tests.cli.conftest import Bento
from tests.cli.fake import FakeManager

Capture = pytest.CaptureFixture[str]
RULE = {"file": "a.policy", "line": 2, "rule": "s * random work allow"}
FINDINGS = [
    {"oddity": "name", "file": "a.policy", "line": 7, "column": 0, "sentence": "there is no domain gone"},
    {"oddity": "service", "file": "a\x1b.policy", "line": 0, "column": 0, "sentence": "odd\x1b[2J"},
]
BROKEN = {"oddity": "broken", "file": "a.policy", "line": 7, "column": 3, "sentence": "expected something"}


def answer(manager: FakeManager, method: str, value: object) -> None:
    manager.answers[f"bento.policy.{method}"] = json.dumps(value).encode()


def sent(manager: FakeManager) -> object:
    return json.loads(manager.requests[-1].payload.decode("utf-8", "surrogateescape"))


def test_a_check_tells_findings_by_their_place(manager: FakeManager, bento: Bento, capsys: Capture) -> None:
    answer(manager, "Check", FINDINGS)
    assert bento("policy", "check") == 0
    assert capsys.readouterr().out == "a.policy:7: there is no domain gone\na^[.policy: odd^[[2J\n"
    assert sent(manager) == {}
    assert bento("policy", "check", "--json") == 0
    assert json.loads(capsys.readouterr().out) == FINDINGS


def test_a_check_of_a_broken_policy_ends_as_bad_input(manager: FakeManager, bento: Bento, capsys: Capture) -> None:
    answer(manager, "Check", [BROKEN])
    assert bento("policy", "check") == 2
    assert capsys.readouterr().out == "a.policy:7:3: expected something\n"


def test_a_check_without_findings_says_so(manager: FakeManager, bento: Bento, capsys: Capture) -> None:
    answer(manager, "Check", [])
    assert bento("policy", "check") == 0
    assert capsys.readouterr().out == "Nothing is odd about this policy.\n"


def test_the_files_of_a_directory_are_sent_along(manager: FakeManager, bento: Bento, tmp_path: Path) -> None:
    answer(manager, "Check", [])
    (tmp_path / "b.policy").write_bytes("# käse\n".encode())
    (tmp_path / "a.policy").write_bytes(b"# \xff\r\n")
    (tmp_path / ".c.policy").write_text("hidden")
    (tmp_path / "notes.txt").write_text("no policy")
    assert bento("policy", "check", str(tmp_path)) == 0
    assert sent(manager) == {
        "files": [{"name": "a.policy", "text": "# \udcff\r\n"}, {"name": "b.policy", "text": "# käse\n"}]
    }


def test_what_the_files_may_include_is_sent_along_too(manager: FakeManager, bento: Bento, tmp_path: Path) -> None:
    answer(manager, "Check", [])
    (tmp_path / "a.policy").write_text("!include include/x\n")
    (tmp_path / "include/.hidden").mkdir(parents=True)
    (tmp_path / "include/.hidden/y").write_text("hidden")
    (tmp_path / "include/x").write_text("s * * * deny\n")
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe")
    assert bento("policy", "check", str(tmp_path)) == 0
    assert {file["name"]: file["text"] for file in files_sent(manager)} == {
        "a.policy": "!include include/x\n",
        "empty/": "",
        "include/": "",
        "include/x": "s * * * deny\n",
    }


def files_sent(manager: FakeManager) -> list[dict[str, str]]:
    payload: dict[str, list[dict[str, str]]] = json.loads(manager.requests[-1].payload)
    return payload["files"]


def test_what_is_no_policy_is_said_before_anybody_is_asked(
    manager: FakeManager, bento: Bento, capsys: Capture, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    assert bento("policy", "check", str(gone)) == 2
    assert capsys.readouterr().err == f"bento: {gone} cannot be read: No such file or directory\n"
    assert bento("policy", "check", str(tmp_path)) == 2
    assert "there is no policy file in" in capsys.readouterr().err
    fifo = tmp_path / "a.policy"
    os.mkfifo(fifo)
    assert bento("policy", "check", str(tmp_path)) == 2
    assert capsys.readouterr().err == f"bento: {fifo} is not a plain file\n"
    assert manager.requests == []


def test_a_policy_too_long_for_a_request_is_one_sentence(
    manager: FakeManager, bento: Bento, capsys: Capture, tmp_path: Path
) -> None:
    for directory in ("one", "two"):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "a.policy").write_text("#" * (ROOM // 2))
    assert bento("policy", "diff", str(tmp_path / "one"), str(tmp_path / "two")) == 2
    assert capsys.readouterr().err.startswith("bento: that is too much policy for one request")
    (tmp_path / "one" / "a.policy").write_text("#" * 70_000)
    assert bento("policy", "check", str(tmp_path / "one")) == 2
    assert "is too long for one request" in capsys.readouterr().err
    assert manager.requests == []


ALLOWED = {
    "allowed": True,
    "target": "work",
    "user": "root",
    "autostart": False,
    "notify": True,
    "asked": False,
    "chosen": False,
    "rule": RULE,
    "nearly": [{**RULE, "line": 1, "rule": "s +a random work deny", "columns": ["argument"], "why": "it is about +a"}],
}


def test_an_allowed_call_is_told_with_its_terms_and_lines(manager: FakeManager, bento: Bento, capsys: Capture) -> None:
    answer(manager, "Explain", ALLOWED)
    assert bento("policy", "explain", "random", "s+b+c", "@default") == 0
    assert sent(manager) == {"source": "random", "service": "s", "argument": "b+c", "target": "@default"}
    assert capsys.readouterr().out == (
        "It is allowed and goes to work, as root, if it runs already, and you are told.\n"
        "  a.policy:2  s * random work allow\n"
        "nearly matched, above that:\n"
        "  a.policy:1  s +a random work deny\n"
        "    but it is about +a\n"
    )
    assert bento("policy", "explain", "random", "s", "work", "--json") == 0
    assert json.loads(capsys.readouterr().out) == ALLOWED


def test_a_denied_call_is_told_with_the_nearest_lines(manager: FakeManager, bento: Bento, capsys: Capture) -> None:
    miss = ALLOWED["nearly"][0]  # type: ignore[index]  # a list of objects
    denied = {"allowed": False, "reason": "no-rule", "sentence": "It is denied.", "notify": True, "rule": None}
    answer(manager, "Explain", {**denied, "nearly": [{**miss, "line": line} for line in range(1, 13)]})
    assert bento("policy", "explain", "random", "s", "work") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:3] == ["It is denied.", "nearly matched:", "  a.policy:3  s +a random work deny"]
    assert said[-1] == "  and 2 further up; --json has them all"


def test_names_that_are_none_are_refused_at_once(manager: FakeManager, bento: Bento, capsys: Capture) -> None:
    for words in (("-x", "s", "work"), ("random", "+a", "work"), ("random", "s+ä", "work"), ("random", "s", "w w")):
        assert bento("policy", "explain", *words) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    for limit in (
        ("--to", "a b"),
        ("--through", "a/b"),
        ("--max-hops", "0"),
        ("--max-hops", "x"),
        ("--json", "--dot"),
        ("--dot", "--svg"),
        ("--to", "@dispvm:"),
    ):
        assert bento("policy", "reach", *limit) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert manager.requests == []


def path(*domains: str, questions: int = 0) -> dict[str, object]:
    ends = {"from": domains[0], "to": domains[-1]}
    return {**ends, "hops": len(domains) - 1, "questions": questions, "domains": list(domains)}


def link(source: str, target: str, text: str, *, asked: bool = False) -> dict[str, object]:
    return {"from": source, "to": target, "kind": "calls", "asked": asked, "text": text, "words": text.split(", ")}


REACH = {
    "fault": None,
    "domains": [
        {"name": "work", "label": "blue", "colour": "#3465a4"},
        {"name": "random", "label": "red", "colour": "#cc0000"},
        {"name": "web", "label": "orange", "colour": "#f57900"},
    ],
    "paths": [
        path("random", "@dispvm:web"),
        path("dom0", "work"),
        path("random", "vault", questions=1),
        path("random", "work", "vault"),
        path("random", "work"),
    ],
    "links": [
        link("random", "@dispvm:web", "w"),
        link("dom0", "work", "as the host"),
        link("random", "work", "s, t"),
        link("random", "work", "by another kind"),
        link("random", "work", "v (you are asked)", asked=True),
        link("random", "vault", "u (you are asked)", asked=True),
        link("work", "vault", "any service"),
    ],
}


def test_reach_is_a_table_of_ways(manager: FakeManager, bento: Bento, capsys: Capture) -> None:
    answer(manager, "Reach", REACH)
    assert bento("policy", "reach") == 0
    assert sent(manager) == {}
    assert capsys.readouterr().out == (
        "FROM    TO           HOPS  ASKS  BY\n"
        "random  @dispvm:web     1     -  w\n"
        "random  vault           1     1  u (you are asked)\n"
        "random  vault           2     -  [s, t; by another kind] work -> [any service] vault\n"
        "random  work            1     -  s, t; by another kind\n"
    )
    limits = ("--from", "dom0", "--to", "@dispvm:work", "--through", "s", "--max-hops", "2")
    assert bento("policy", "reach", *limits) == 0
    assert sent(manager) == {"from": "dom0", "to": "@dispvm:work", "through": "s", "max_hops": 2}
    assert "dom0    work            1     -  as the host\n" in capsys.readouterr().out


def test_reach_goes_on_to_other_programs(manager: FakeManager, bento: Bento, capsys: Capture) -> None:
    answer(manager, "Reach", REACH)
    assert bento("policy", "reach", "--json") == 0
    assert json.loads(capsys.readouterr().out) == REACH
    assert bento("policy", "reach", "--dot") == 0
    graph = capsys.readouterr().out.splitlines()
    assert (graph[0], graph[-1]) == ("digraph reach {", "}")
    assert '  "random" -> "work" [label="s, t"];' in graph
    assert '  "random" -> "vault" [label="u (you are asked)", style=dashed];' in graph
    assert not [line for line in graph if "dom0" in line]
    assert bento("policy", "reach", "--dot", "--from", "dom0") == 0
    assert '  "dom0" -> "work" [label="as the host"];' in capsys.readouterr().out


def test_reach_is_a_picture_in_the_domains_colours(manager: FakeManager, bento: Bento, capsys: Capture) -> None:
    answer(manager, "Reach", REACH)
    assert bento("policy", "reach", "--svg") == 0
    picture = ElementTree.fromstring(capsys.readouterr().out)
    words = {text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert {"random", "work", "vault", "by another kind, s, t"} <= words
    assert "dom0" not in words
    assert {"#3465a4", "#cc0000", "#f57900"} <= {one.get("fill") for one in picture.iter()}


def test_nobody_is_an_answer_too(manager: FakeManager, bento: Bento, capsys: Capture) -> None:
    answer(manager, "Reach", {**REACH, "fault": "a.policy:1:1: nonsense", "paths": [path("dom0", "work")]})
    assert bento("policy", "reach") == 0
    said = capsys.readouterr()
    assert said.out == "Nobody.\n"
    assert said.err == "bento: the policy is broken and denies every call: a.policy:1:1: nonsense\n"


def change(text: str, before: list[object], after: list[object]) -> dict[str, object]:
    return {"from": "random", "to": "work", "text": text, "before": before, "after": after}


PLAIN = {"user": None, "autostart": True, "notify": False, "asked": False, "chosen": False}
ASKED = {**PLAIN, "asked": True}


def test_a_diff_tells_the_fate_of_services(manager: FakeManager, bento: Bento, capsys: Capture, tmp_path: Path) -> None:
    found = {
        "faults": {"old": None, "new": "a.policy:1:1: nonsense"},
        "allowed": [change("s", [], [PLAIN])],
        "asked": [change("u", [PLAIN], [ASKED, {**ASKED, "chosen": True}])],
        "denied": [change("any service but s", [PLAIN], [])],
        "altered": [change("t", [PLAIN], [PLAIN, {**PLAIN, "user": "root"}])],
    }
    answer(manager, "Diff", found)
    (tmp_path / "a.policy").write_text("nonsense")
    (tmp_path / "empty").mkdir()
    assert bento("policy", "diff", str(tmp_path / "empty"), str(tmp_path)) == 0
    assert sent(manager) == {"old": [], "new": [{"name": "a.policy", "text": "nonsense"}]}
    user = "as its default user"
    assert capsys.readouterr().out == (
        "The new policy is broken and denies every call: a.policy:1:1: nonsense\n"
        "NOW      FROM    TO    SERVICES\n"
        f"allowed  random  work  s: {user}; before denied\n"
        f"asked    random  work  u: {user}, if you agree or {user}, if you agree (it is the one chosen);"
        f" before {user}\n"
        f"denied   random  work  any service but s: denied; before {user}\n"
        f"altered  random  work  t: {user} or as root; before {user}\n"
    )
    assert bento("policy", "diff", str(tmp_path), str(tmp_path), "--json") == 0
    assert json.loads(capsys.readouterr().out) == found


def test_domains_that_fare_alike_are_told_together(
    manager: FakeManager, bento: Bento, capsys: Capture, tmp_path: Path
) -> None:
    everybody = ["random", "vault", "work"]
    pairs = [(one, other) for one in everybody for other in everybody if one != other]
    denied = [{**change("s", [PLAIN], []), "from": one, "to": other} for one, other in pairs]
    itself = {**change("s", [PLAIN], []), "from": "@dispvm:web", "to": "@dispvm:web"}
    nothing: dict[str, object] = {"allowed": [], "asked": [], "altered": []}
    answer(manager, "Diff", {"faults": {"old": None, "new": None}, "denied": [*denied, itself], **nothing})
    assert bento("policy", "diff", str(tmp_path), str(tmp_path)) == 0
    assert capsys.readouterr().out == (
        "NOW     FROM                 TO                   SERVICES\n"
        "denied  random, vault, work  random, vault, work  s: denied; before as its default user\n"
        "denied  @dispvm:web          @dispvm:web          s: denied; before as its default user\n"
    )


def test_a_diff_of_the_same_says_so(manager: FakeManager, bento: Bento, capsys: Capture, tmp_path: Path) -> None:
    nothing: dict[str, object] = {"allowed": [], "asked": [], "denied": [], "altered": []}
    answer(manager, "Diff", {"faults": {"old": None, "new": None}, **nothing})
    assert bento("policy", "diff", str(tmp_path), str(tmp_path)) == 0
    assert capsys.readouterr().out == "The two make the same of every call.\n"


HOLDS = {"file": "invariants", "line": 2, "statement": "never reach from a to b", "holds": True, "nobody": ["a", "b"]}
BREACH = {"from": "c", "to": "d", "text": "c -[s]-> d", "links": []}
BREAKS = {**HOLDS, "line": 3, "statement": "always ask for s from c", "holds": False, "nobody": [], "breach": BREACH}


def test_statements_are_told_to_hold_or_how_they_are_broken(
    manager: FakeManager, bento: Bento, capsys: Capture
) -> None:
    answer(manager, "Invariant", {"fault": None, "statements": [HOLDS, BREAKS]})
    assert bento("policy", "invariant") == 5
    assert sent(manager) == {}
    assert capsys.readouterr().out == (
        "invariants:2: holds: never reach from a to b\n"
        "    for now nobody is a or b\n"
        "invariants:3: BROKEN: always ask for s from c\n"
        "    c -[s]-> d\n"
    )
    assert bento("policy", "invariant", "--json") == 5
    assert json.loads(capsys.readouterr().out)["statements"] == [HOLDS, BREAKS]
    answer(manager, "Invariant", {"fault": None, "statements": [HOLDS]})
    assert bento("policy", "invariant") == 0


def test_other_statements_and_another_policy_are_sent_along(manager: FakeManager, bento: Bento, tmp_path: Path) -> None:
    answer(manager, "Invariant", {"fault": None, "statements": []})
    (tmp_path / "mine").write_text("never reach from a to b\n")
    (tmp_path / "a.policy").write_text("# a\n")
    assert bento("policy", "invariant", str(tmp_path / "mine"), "--policy", str(tmp_path)) == 0
    assert sent(manager) == {
        "statements": "never reach from a to b\n",
        "files": [{"name": "a.policy", "text": "# a\n"}],
    }
    assert bento("policy", "invariant", str(tmp_path / "gone")) == 2


def test_no_statements_and_statements_that_make_no_sense_are_two_things(
    manager: FakeManager, bento: Bento, capsys: Capture
) -> None:
    answer(manager, "Invariant", {"fault": None, "statements": []})
    assert bento("policy", "invariant") == 0
    assert capsys.readouterr().out == "There are no statements.\n"
    answer(manager, "Invariant", {"fault": "invariants:1:1: expected never or always", "statements": []})
    assert bento("policy", "invariant") == 2
    assert capsys.readouterr().err == "bento: invariants:1:1: expected never or always\n"
    assert bento("policy", "invariant", "--json") == 2
