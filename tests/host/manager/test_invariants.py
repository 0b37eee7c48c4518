"""Statements about the policy, over the socket: what would break one is refused, with the path that breaks it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from bento.wire.admin import Fault
from tests.host.manager.home import Home, new_home

POLICY = """\
my.Note * @tag:untrusted work allow
my.Read * work @default allow target=vault
my.Open * work @dispvm:web allow
my.Odd * @type:DispVM vault allow
"""
STATEMENTS = """\
# What is in the vault stays there.
never reach from @tag:untrusted to vault
always ask for my.Copy from @anyvm
"""


@pytest.fixture
def home() -> Iterator[Home]:
    with new_home() as home:
        home.start_manager()
        home.build()
        for name in ("random", "work", "vault", "web"):
            home.create(name)
        write(home, policy=POLICY, statements=STATEMENTS)
        yield home


def write(home: Home, *, policy: str | None = None, statements: str | None = None) -> None:
    if policy is not None:
        (home.path / "config" / "policy.d" / "30-user.policy").write_text(policy)
    if statements is not None:
        (home.path / "config" / "invariants").write_text(statements)
    ask(home, "Invariant")  # waits until the edit is taken in


def ask(home: Home, method: str, **asked: object) -> Any:
    return json.loads(home.ask(f"bento.policy.{method}", payload=json.dumps(asked)))


def holding(home: Home, **asked: object) -> list[bool]:
    return [statement["holds"] for statement in ask(home, "Invariant", **asked)["statements"]]


def paths(home: Home) -> list[list[str]]:
    return [path["domains"] for path in ask(home, "Reach", **{"from": "random", "to": "vault"})["paths"]]


def test_statements_are_told_with_what_breaks_them(home: Home) -> None:
    assert ask(home, "Invariant") == {
        "fault": None,
        "statements": [
            {
                "file": "invariants",
                "line": 2,
                "statement": "never reach from @tag:untrusted to vault",
                "holds": True,
                "nobody": ["@tag:untrusted"],
            },
            {
                "file": "invariants",
                "line": 3,
                "statement": "always ask for my.Copy from @anyvm",
                "holds": True,
                "nobody": [],
            },
        ],
    }
    (found,) = ask(home, "Invariant", statements="never reach from work to vault")["statements"]
    assert not found["holds"]
    assert found["breach"]["text"] == "work -[my.Read]-> vault"
    assert [link["text"] for link in found["breach"]["links"]] == ["my.Read"]
    copying = [{"name": "a.policy", "text": "my.Copy * random work allow"}]
    assert holding(home, files=copying) == [True, False]


def test_statements_that_make_no_sense_are_named_by_their_place(home: Home) -> None:
    assert ask(home, "Invariant", statements="never") == {
        "fault": "invariants:1:6: expected reach or allow, found nothing",
        "statements": [],
    }
    assert "text statements" in home.refused("bento.policy.Invariant", payload='{"statements": 1}').sentence
    assert home.refused("bento.policy.Invariant", payload='{"statements": "\\ud800"}').fault == Fault.BAD_VALUE


def test_a_tag_that_would_break_a_statement_is_refused_with_the_path(home: Home) -> None:
    failed = home.refused("admin.vm.tag.Set", "random", "untrusted")
    assert failed.fault == Fault.REFUSED
    assert failed.sentence == (
        "it would break invariants:2, 'never reach from @tag:untrusted to vault':"
        " random -[my.Note]-> work -[my.Read]-> vault"
    )
    assert home.ask("admin.vm.tag.List", "random") == ""
    home.ask("admin.vm.tag.Set", "random", "harmless")
    home.ask("admin.vm.tag.Set", "vault", "untrusted")


def test_a_tag_whose_loss_would_break_a_statement_is_refused(home: Home) -> None:
    home.ask("admin.vm.tag.Set", "random", "kept")
    write(home, policy="my.Copy * @tag:kept @anyvm deny\nmy.Copy * random work allow\n")
    assert holding(home) == [True, True]
    assert "'always ask for my.Copy" in home.refused("admin.vm.tag.Remove", "random", "kept").sentence


def test_a_new_domain_that_would_break_a_statement_is_not_made(home: Home) -> None:
    write(home, statements="never allow my.Late from newcomer", policy="my.Late * newcomer work allow\n")
    assert holding(home) == [True]
    failed = home.refused("admin.vm.Create.AppVM", argument="debian-12", payload="name=newcomer label=red")
    assert "newcomer -[my.Late]-> work" in failed.sentence
    assert "newcomer -[my.Late]-> work" in home.refused("bento.vm.Clone", "random", "newcomer").sentence
    assert "newcomer" not in home.ask("admin.vm.List")
    write(home, statements="")
    home.create("newcomer")


def test_a_property_that_would_break_a_statement_is_refused(home: Home) -> None:
    write(home, statements="never reach from work to vault through my.Open\nnever reach from @type:DispVM to vault")
    failed = home.refused("admin.vm.property.Set", "web", "template_for_dispvms", "True")
    assert "@dispvm:web -[my.Odd]-> vault" in failed.sentence
    assert "False" in home.ask("admin.vm.property.Get", "web", "template_for_dispvms")


def test_a_policy_that_breaks_a_statement_does_not_come_into_force(home: Home) -> None:
    assert holding(home) == [True, True]
    write(home, policy=POLICY + "my.Copy * random vault allow\n")
    assert ["random", "vault"] not in paths(home)
    (found,) = [one for one in ask(home, "Check") if one["oddity"] == "broken"]
    assert (found["file"], found["line"]) == ("invariants", 3)
    assert "random -[my.Copy]-> vault" in found["sentence"]
    write(home, statements="")
    assert ["random", "vault"] in paths(home)


def test_a_policy_that_breaks_a_statement_at_the_start_denies_everything(home: Home) -> None:
    home.stop_manager()
    (home.path / "config" / "policy.d" / "30-user.policy").write_text(POLICY + "my.Copy * random vault allow\n")
    home.start_manager()
    found = ask(home, "Reach", **{"from": "random"})
    assert found["paths"] == []
    assert found["fault"].startswith("invariants:3:1: the policy breaks 'always ask for my.Copy from @anyvm'")


def test_a_statement_that_is_broken_already_does_not_keep_domains_from_being_changed(home: Home) -> None:
    assert holding(home) == [True, True]  # the policy is in force before the statement comes
    write(home, statements="never reach from work to vault\nnever allow my.Note from random")
    assert holding(home) == [False, True]
    home.ask("admin.vm.tag.Set", "work", "harmless")
    assert "never allow my.Note" in home.refused("admin.vm.tag.Set", "random", "untrusted").sentence


def test_a_file_of_statements_that_makes_no_sense_lets_no_change_through(home: Home) -> None:
    write(home, statements="never reach from random to vault\nnonsense")
    assert ask(home, "Invariant")["fault"].startswith("invariants:2:1: expected never or always")
    assert "invariants:2:1" in home.refused("admin.vm.tag.Set", "random", "harmless").sentence
    (home.path / "config" / "invariants").unlink()
    (home.path / "config" / "invariants").mkdir()
    assert "is not a plain file" in home.refused("admin.vm.tag.Set", "random", "harmless").sentence
