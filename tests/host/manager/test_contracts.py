"""Contracts of services: found, shadowed, re-read, refused when they are wrong, and kept by both sides of a call."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bento.host.contract.table import make
from bento.host.manager.contracts import SHIPPED, Contracts
from bento.host.model.errors import Unavailable
from bento.wire.admin import Fault
from bento.wire.names import ServiceName
from bento.wire.rpc import ExitCode
from tests.crash.invariants import eventually
from tests.host.manager.home import Home, Listener, new_home

ECHO = ServiceName("my.Echo")

CONTRACT = """
message line
    line text at most 20 of [a-z]
state asking caller
    caller says line -> answering
    caller ends -> over
state answering server
    server says line -> asking
    exit 1..255
state over server
    exit 0
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    made = tmp_path / "contracts"
    made.mkdir()
    return made


def test_a_service_that_nobody_wrote_a_contract_for_has_none(own: Path) -> None:
    assert Contracts(own).table(ECHO) == b""
    assert Contracts(own / "gone").table(ECHO) == b""


def test_bento_brings_contracts_along(tmp_path: Path) -> None:
    contracts = Contracts(tmp_path / "gone")
    expected = ["qubes.Filecopy", "qubes.GetAppmenus", "qubes.GetDate", "qubes.Gpg"]
    assert [found.service for found in contracts.all()] == expected
    assert contracts.services() == set(expected)
    assert not any(found.own or found.faults for found in contracts.all())
    path = SHIPPED / "qubes.Gpg.contract"
    assert contracts.table(ServiceName("qubes.Gpg")) == make(path.name, path.read_bytes())


def test_the_persons_own_shadow_those_of_bento_and_hold_at_once(own: Path) -> None:
    contracts = Contracts(own)
    gpg = ServiceName("qubes.Gpg")
    shipped = contracts.table(gpg)
    (own / "qubes.Gpg.contract").write_text(CONTRACT)
    (own / "my.Echo.contract").write_text(CONTRACT)
    assert contracts.table(gpg) == contracts.table(ECHO) == make("x", CONTRACT.encode())
    assert {found.service for found in contracts.all() if found.own} == {"qubes.Gpg", "my.Echo"}
    (own / "qubes.Gpg.contract").unlink()
    assert contracts.table(gpg) == shipped
    (own / "my.Echo.contract").write_text(CONTRACT.replace("20", "30"))
    assert contracts.table(ECHO) == make("x", CONTRACT.replace("20", "30").encode())


def test_what_is_no_contracts_name_is_none(own: Path) -> None:
    for name in (".my.Echo.contract", "my.Echo.contract~", "my.Echo"):
        (own / name).write_text("nonsense")
    assert Contracts(own).table(ECHO) == b""
    assert not any(found.own for found in Contracts(own).all())


def fifo(path: Path) -> None:
    os.mkfifo(path)


def dangling(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere")


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "misspelt": (
        lambda path: path.write_text("state x nobody"),
        ":1:9: expected caller or server or both, found 'nobody'",
    ),
    "unsound": (
        lambda path: path.write_text("state x server"),
        ":1: from state x no end can be reached; say 'exit' where the server may end",
    ),
    "too long": (lambda path: path.write_bytes(b"#" * 70_000), ": has 65537 bytes; a contract has at most 65536"),
    "a FIFO": (fifo, "': cannot be read: is not a plain file"),
    "a directory": (lambda path: path.mkdir(), "': cannot be read: is not a plain file"),
    "a link to nowhere": (dangling, "': cannot be read: is not a plain file"),
}


@pytest.mark.parametrize("how", WRONG)
def test_a_service_whose_contract_is_wrong_cannot_be_called(own: Path, how: str) -> None:
    spoil, problem = WRONG[how]
    contracts = Contracts(own)
    spoil(own / "qubes.Gpg.contract")
    with pytest.raises(Unavailable) as found:
        contracts.table(ServiceName("qubes.Gpg"))
    assert f"qubes.Gpg.contract{problem}; mend " in str(found.value)
    assert ServiceName("qubes.Gpg") not in contracts.services()
    assert contracts.table(ECHO) == b"", "another service is not concerned"


def test_a_file_of_no_services_name_is_told_of(own: Path) -> None:
    (own / "my Echo.contract").write_text(CONTRACT)
    found = next(found for found in Contracts(own).all() if found.own)
    assert "is not a service name" in found.faults[0].problem


def test_no_service_can_be_called_while_nobody_knows_which_have_a_contract(tmp_path: Path) -> None:
    (tmp_path / "contracts").write_text("not a directory")
    with pytest.raises(Unavailable, match=r"its contract cannot be read: .*/contracts: Not a directory"):
        Contracts(tmp_path / "contracts").table(ECHO)


# ---- in a manager, with domains ------------------------------------------------------------------


ECHO_LINES = 'while read -r line; do echo "$line"; if [ "$line" = bad ]; then echo BAD; fi; done'

POLICY = """
my.Echo     *  random  work      allow
my.Echo     *  random  vault     allow
my.Echo     *  random  @adminvm  allow
test.Where  *  random  work      allow
"""


@pytest.fixture(scope="module")
def shared() -> Iterator[Home]:
    """`random` and `work` run, and `work` serves my.Echo, which has a contract and keeps it but for one line."""
    with new_home() as home:
        home.start_manager()
        home.build()
        for name in ("work", "random"):
            home.create(name)
            home.start(name)
        home.install("work", "my.Echo", ECHO_LINES)
        home.policy(POLICY)
        (home.path / "config" / "contracts").mkdir()
        (home.path / "config" / "contracts" / "my.Echo.contract").write_text(CONTRACT)
        yield home


def cuts(home: Home) -> list[tuple[str, str, str]]:
    """Source, target and reason of what the audit log says was cut."""
    with home.send("bento.audit.Show", payload="count=1000") as connection:
        shown = [json.loads(dict(event.details)["json"]) for event in Listener(connection).rest()]
    return [(line["source"], line["chosen"], line["reason"]) for line in shown if line.get("verdict") == "cut"]


def test_a_call_that_keeps_its_contract_passes(shared: Home) -> None:
    outcome = shared.run_from("random", "work", "my.Echo", stdin=b"hello\n")
    assert (outcome.stdout, outcome.code) == (b"hello\n", 0)


def test_a_caller_that_breaks_the_contract_is_cut_and_named(shared: Home) -> None:
    outcome = shared.run_from("random", "work", "my.Echo", stdin=b"WORLD\n")
    assert outcome.code == ExitCode.FAULT
    reason = (
        "random broke the contract of my.Echo:"
        " in state asking the caller has characters in text of line that are not allowed"
    )
    eventually(lambda: last_cut(shared, ("random", "work", reason)))
    assert f"call of my.Echo from random to work was cut: {reason}" in shared.log()


def test_a_server_that_breaks_the_contract_is_cut_and_named(shared: Home) -> None:
    with shared.call_from("random", "work", "my.Echo") as leg:
        leg.write(b"bad\n")
        outcome = leg.outcome()
    assert outcome.code == ExitCode.FAULT
    assert b"BAD" not in outcome.stdout
    reason = "work broke the contract of my.Echo: in state asking the server spoke out of turn"
    eventually(lambda: last_cut(shared, ("random", "work", reason)))
    assert f"call of my.Echo from random to work was cut: {reason}" in shared.log()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"WORLD\n", "random broke the contract of my.Echo: in state asking the caller"),
        (b"bad\n", "dom0 broke the contract of my.Echo: in state asking the server"),
    ],
)
def test_a_contract_broken_in_a_call_of_the_host_is_in_the_audit_log(shared: Home, line: bytes, words: str) -> None:
    path = shared.path / "config/qubes-rpc/my.Echo"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{ECHO_LINES}\n")
    path.chmod(0o755)
    with shared.call_from("random", "dom0", "my.Echo") as leg:
        leg.write(line)
        assert leg.outcome().code == ExitCode.FAULT
    eventually(lambda: last_cut(shared, ("random", "dom0", words)))


def last_cut(home: Home, expected: tuple[str, str, str]) -> None:
    # The call is over before its line is written.
    assert [(source, target, reason[: len(expected[2])]) for source, target, reason in cuts(home)[-1:]] == [expected]


def test_the_person_is_held_to_a_contract_too(shared: Home) -> None:
    with shared.call("work", "my.Echo") as leg:
        leg.give(b"NO\n")
        assert leg.outcome().code == ExitCode.FAULT
    eventually(lambda: last_cut(shared, ("dom0", "work", "dom0 broke the contract of my.Echo")))


def test_a_service_whose_contract_is_wrong_is_refused_with_a_sentence(shared: Home) -> None:
    path = shared.path / "config" / "contracts" / "my.Echo.contract"
    path.write_text("state")
    try:
        assert shared.run_from("random", "work", "my.Echo", stdin=b"hello\n").code == ExitCode.FAULT
        assert "my.Echo cannot be called, because its contract is wrong: my.Echo.contract:1:6: " in shared.log()
        assert "mend " in shared.refused("bento.vm.Call", "work", "my.Echo").sentence
    finally:
        path.write_text(CONTRACT)
    assert shared.run_from("random", "work", "my.Echo", stdin=b"hello\n").code == 0


def ask(home: Home, method: str, payload: bytes = b"") -> Any:
    return json.loads(home.ask(f"bento.contract.{method}", payload=payload.decode("latin-1")))


def test_the_manager_lists_and_shows_contracts(shared: Home) -> None:
    listed = ask(shared, "List")
    assert {one["service"]: (one["own"], one["faults"]) for one in listed}["qubes.Filecopy"] == (False, [])
    shown = ask(shared, "Show", b"qubes.Filecopy")
    assert shown == {**next(one for one in listed if one["service"] == "qubes.Filecopy"), "text": shown["text"]}
    assert shown["text"] == (SHIPPED / "qubes.Filecopy.contract").read_text()


def test_a_service_without_a_contract_has_none_to_show(shared: Home) -> None:
    refused = shared.refused("bento.contract.Show", payload="my.Other")
    assert refused.fault == Fault.BAD_VALUE
    assert "bento contract ls" in refused.sentence


def test_the_manager_checks_a_contract(shared: Home) -> None:
    assert ask(shared, "Check", b"x\0" + CONTRACT.encode()) == []
    assert ask(shared, "Check", b"a\x1b\0state x") == [
        {
            "file": "a?",
            "line": 1,
            "column": 8,
            "problem": "expected caller or server or both, found the end of the line",
        }
    ]
