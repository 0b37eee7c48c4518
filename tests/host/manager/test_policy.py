"""Answers about the policy, over the socket: the one in force, and one that comes with the request."""

import json
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest

from bento.wire.admin import Fault
from tests.host.manager.home import Home, new_home

POLICY = """\
my.Note +secret @anyvm work deny
my.Note * random work allow user=root
my.Read * work vault allow
my.Read * work vault deny
"""


@pytest.fixture(scope="module")
def shared() -> Iterator[Home]:
    with new_home() as home:
        home.start_manager()
        home.build()
        for name in ("random", "work", "vault"):
            home.create(name)
        for service in ("my.Note", "my.Read"):
            home.ask("admin.vm.feature.Set", "work", f"supported-rpc.{service}", "1")
        write(home, POLICY)
        yield home


def write(home: Home, text: str) -> None:
    (home.path / "config" / "policy.d" / "30-user.policy").write_text(text)


def ask(home: Home, method: str, **asked: object) -> Any:
    return json.loads(home.ask(f"bento.policy.{method}", payload=json.dumps(asked)))


def explained(home: Home, source: str, service: str, argument: str, target: str) -> Any:
    return ask(home, "Explain", source=source, service=service, argument=argument, target=target)


def test_an_allowed_call_is_explained_by_its_line_and_those_that_nearly_matched(shared: Home) -> None:
    assert explained(shared, "random", "my.Note", "", "work") == {
        "allowed": True,
        "target": "work",
        "user": "root",
        "autostart": True,
        "notify": False,
        "asked": False,
        "chosen": False,
        "rule": {"file": "30-user.policy", "line": 2, "rule": "my.Note * random work allow user=root"},
        "nearly": [
            {
                "file": "30-user.policy",
                "line": 1,
                "rule": "my.Note +secret @anyvm work deny",
                "columns": ["argument"],
                "why": "it is about the argument +secret",
            }
        ],
    }


def test_a_denied_call_is_explained_with_its_reason(shared: Home) -> None:
    found = explained(shared, "random", "my.Note", "secret", "work")
    assert (found["allowed"], found["reason"], found["rule"]["line"]) == (False, "rule", 1)
    assert found["sentence"] == "'my.Note+secret' from 'random' to 'work' is denied by 30-user.policy:1"
    nobody = explained(shared, "vault", "other", "", "work")
    assert (nobody["reason"], nobody["rule"], nobody["nearly"]) == ("no-rule", None, [])


def test_the_policy_in_force_is_checked(shared: Home) -> None:
    (found,) = ask(shared, "Check")
    assert (found["oddity"], found["file"], found["line"]) == ("never", "30-user.policy", 4)
    assert "30-user.policy:3" in found["sentence"]


def test_a_policy_that_comes_along_is_checked_in_its_place(shared: Home) -> None:
    files = [{"name": "a.policy", "text": "my.Note * gone work allow\n"}]
    assert [found["sentence"] for found in ask(shared, "Check", files=files)] == ["there is no domain gone"]
    broken = [{"name": "a.policy", "text": "s * work maybe\n"}]
    (found,) = ask(shared, "Check", files=broken)
    assert (found["oddity"], found["line"]) == ("broken", 1)
    assert found["sentence"] == "expected allow, ask or deny, found nothing"


def test_a_service_that_nobody_is_known_to_have_is_a_warning(shared: Home) -> None:
    own = shared.path / "config" / "qubes-rpc"
    own.mkdir()
    (own / "my.Own+argument").write_text("")
    (own / "no service").write_text("")
    known = ("my.Note", "my.Own", "qubes.Filecopy", "qubes.ConnectTCP")
    text = "".join(f"{service} * work vault allow\n" for service in (*known, "qubes.FileCopy", "unheard-of"))
    found = ask(shared, "Check", files=[{"name": "a.policy", "text": text}])
    assert [(one["oddity"], one["line"]) for one in found] == [("service", 5), ("service", 6)]
    assert found[0]["sentence"].endswith("qubes.FileCopy; did you mean qubes.Filecopy?")


def test_bytes_that_are_no_text_are_found_where_they_are(shared: Home) -> None:
    payload = b'{"files": [{"name": "a.policy", "text": "# \xff"}]}'
    (found,) = json.loads(shared.ask("bento.policy.Check", payload=payload))
    assert (found["line"], found["column"]) == (1, 3)
    assert found["sentence"].startswith("expected text in UTF-8")


def test_reach_tells_paths_and_their_links(shared: Home) -> None:
    found = ask(shared, "Reach", **{"from": "random", "to": "vault"})
    calls = {"kind": "calls", "asked": False, "any_but": False}
    assert {domain["name"]: domain["colour"] for domain in found["domains"]}["dom0"] == "#000000"
    assert found["fault"] is None
    assert found["paths"] == [
        {"from": "random", "to": "vault", "hops": 2, "questions": 0, "domains": ["random", "work", "vault"]}
    ]
    assert found["links"] == [
        {
            "from": "random",
            "to": "work",
            "text": "my.Note (any other argument) [plain]",
            "words": ["my.Note (any other argument) [plain]"],
            "services": [{"service": "my.Note", "argument": "other"}],
            "plain": ["my.Note"],
            **calls,
        },
        {
            "from": "work",
            "to": "vault",
            "text": "my.Read [plain]",
            "words": ["my.Read [plain]"],
            "services": [{"service": "my.Read", "argument": "*"}],
            "plain": ["my.Read"],
            **calls,
        },
    ]
    assert ask(shared, "Reach", **{"from": "random", "to": "vault"}, max_hops=1)["paths"] == []
    assert ask(shared, "Reach", **{"from": "random", "to": "vault"}, through="my.Note")["paths"] == []
    by_host = ask(shared, "Reach", **{"from": "dom0", "to": "vault"})["links"]
    text = "as the host"
    assert by_host == [
        {"from": "dom0", "to": "vault", "kind": "command", "asked": False, "text": text, "words": [text]}
    ]


def test_an_edit_with_a_mistake_is_told_and_the_policy_of_before_answers(shared: Home) -> None:
    before = ask(shared, "Reach", **{"from": "random"})
    try:
        write(shared, "nonsense")
        (found, *_) = ask(shared, "Check")
        assert ask(shared, "Reach", **{"from": "random"}) == before
    finally:
        write(shared, POLICY)
    assert (found["oddity"], found["file"], found["line"]) == ("broken", "30-user.policy", 1)
    assert found["sentence"].endswith("until this is mended, the policy of before holds")


def test_a_policy_that_was_broken_at_the_start_lets_nobody_reach_anybody_and_says_so(shared: Home) -> None:
    try:
        write(shared, "nonsense")
        shared.stop_manager()
        shared.start_manager()
        found = ask(shared, "Reach", **{"from": "random"})
        (odd,) = ask(shared, "Check")
    finally:
        write(shared, POLICY)
    assert odd["sentence"].endswith("until this is mended, every call is denied")
    assert found["paths"] == []
    assert found["fault"].startswith("30-user.policy:1:")


def test_a_diff_tells_what_changes_and_on_which_terms(shared: Home) -> None:
    old = [{"name": "a.policy", "text": "s * work vault allow\nt * work vault allow\n"}]
    new = [{"name": "a.policy", "text": "s * work vault allow user=root\nt * work random allow\n"}]
    found = ask(shared, "Diff", old=old, new=new)
    plain = {"user": None, "autostart": True, "notify": False, "asked": False, "chosen": False}
    t = {"text": "t", "any_but": False, "services": [{"service": "t", "argument": "*"}]}
    assert found == {
        "faults": {"old": None, "new": None},
        "allowed": [{"from": "work", "to": "random", **t, "before": [], "after": [plain]}],
        "asked": [],
        "denied": [{"from": "work", "to": "vault", **t, "before": [plain], "after": []}],
        "altered": [
            {
                "from": "work",
                "to": "vault",
                "text": "s",
                "any_but": False,
                "services": [{"service": "s", "argument": "*"}],
                "before": [plain],
                "after": [{**plain, "user": "root"}],
            }
        ],
    }
    broken = ask(shared, "Diff", old=old, new=[{"name": "a.policy", "text": "nonsense"}])
    assert broken["faults"]["new"].startswith("a.policy:1:")
    assert broken["allowed"] == []
    assert [change["text"] for change in broken["denied"]] == ["s, t"]


def logged(verdict: str, chosen: str = "", argument: str = "") -> dict[str, object]:
    digest = sha256(argument.encode()).hexdigest()
    call = {"source": "random", "service": "my.Note", "argument": digest, "asked": "work"}
    return {**call, "chosen": chosen, "verdict": verdict, "count": 2}


def test_a_log_is_replayed_against_the_policy_in_force_and_another(shared: Home) -> None:
    calls = [logged("allow", "work"), logged("deny", argument="secret")]
    nothing: dict[str, object] = {"fault": None, "changed": [], "gone": {}, "commands": 0}
    assert ask(shared, "Simulate", calls=calls) == {**nothing, "same": 4}
    files = [{"name": "a.policy", "text": "my.Note +secret random work allow\nmy.Note * random work ask\n"}]
    found = ask(shared, "Simulate", calls=calls, files=files)["changed"]
    assert [(one["calls"], one["argument"], one["before"], one["after"]["allowed"]) for one in found] == [
        (2, "", {"verdict": "allow", "target": "work"}, False),
        (2, "secret", {"verdict": "deny", "target": None}, True),
    ]
    assert found[0]["after"]["candidates"] == ["work"]
    assert found[1]["after"]["target"] == "work"


@pytest.mark.parametrize(
    ("method", "payload", "words"),
    [
        ("Check", "[" * 60_000, "JSON object"),
        ("Check", "{", "JSON object"),
        ("Check", "[]", "JSON object"),
        ("Check", '{"file": []}', "files"),
        ("Check", '{"files": {}}', "list files"),
        ("Check", '{"files": ["a"]}', "texts name and text"),
        ("Check", '{"files": [{"name": "a.policy", "text": "\\ud800"}]}', "texts name and text"),
        ("Explain", "{}", "text source"),
        ("Explain", '{"source": "-", "service": "s", "argument": "", "target": ""}', "not a domain name"),
        ("Reach", '{"to": "gone"}', "there is no domain 'gone'"),
        ("Reach", '{"to": "@dispvm:work"}', "no disposable template"),
        ("Reach", '{"through": ""}', "not a service name"),
        ("Reach", '{"max_hops": 0}', "whole number from 1"),
        ("Reach", '{"max_hops": true}', "whole number from 1"),
        ("Diff", '{"old": []}', "list new"),
        ("Simulate", "{}", "list calls"),
        ("Simulate", '{"calls": [1]}', "list calls"),
        ("Simulate", '{"calls": [{}]}', "count of a call"),
        ("Simulate", '{"calls": [{"count": true}]}', "count of a call"),
        ("Simulate", '{"calls": [{"count": 1}]}', "text source"),
        ("Simulate", json.dumps({"calls": [logged("perhaps")]}), "perhaps"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_with_a_sentence(
    shared: Home, method: str, payload: str, words: str
) -> None:
    failed = shared.refused(f"bento.policy.{method}", payload=payload)
    assert failed.fault in (Fault.BAD_VALUE, Fault.NOT_FOUND)
    assert words in failed.sentence
