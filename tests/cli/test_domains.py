"""Making, copying, removing and powering domains: what goes to the manager, and what its answers end as."""

import threading
from pathlib import Path

import pytest

from bento.cli.faults import BY_FAULT
from bento.wire.admin import Failure, Fault, Request
from tests.cli.conftest import Bento
from tests.cli.fake import FakeManager


def test_create_names_the_class_the_template_and_the_label(manager: FakeManager, bento: Bento) -> None:
    manager.answers["admin.vm.Create.AppVM"] = b""
    manager.answers["admin.vm.property.Set"] = b""
    words = ("--class", "AppVM", "--template", "debian-12", "--label", "red", "--property", "memory=300")
    assert bento("create", "work", *words) == 0
    assert manager.asked == [
        "admin.vm.Create.AppVM+debian-12 dom0 'name=work label=red'",
        "admin.vm.property.Set+memory work '300'",
    ]


def test_create_without_a_template_leaves_the_choice_to_the_manager(manager: FakeManager, bento: Bento) -> None:
    manager.answers["admin.vm.Create.AppVM"] = b""
    assert bento("create", "work", "-l", "red") == 0
    assert manager.asked == ["admin.vm.Create.AppVM+ dom0 'name=work label=red'"]


def test_a_property_that_cannot_be_leaves_no_domain_behind(
    manager: FakeManager, bento: Bento, capsys: pytest.CaptureFixture[str]
) -> None:
    manager.answers["admin.vm.Create.AppVM"] = b""
    manager.answers["admin.vm.Remove"] = b""
    manager.answers["admin.vm.property.Set"] = Failure(Fault.NO_SUCH_PROPERTY, "there is no property 'memroy'")
    assert bento("create", "work", "-l", "red", "--property", "memroy=300") == 2
    assert manager.asked[-1] == "admin.vm.Remove+ work"
    assert capsys.readouterr().err == "bento: there is no property 'memroy'\n"


@pytest.mark.parametrize(
    "words",
    [
        ("create", "wo rk", "--label", "red"),
        ("create", "work"),
        ("create", "work", "--label", "r d"),
        ("create", "work", "--label", "red", "--class", "Box"),
        ("create", "work", "--label", "red", "--class", "TemplateVM"),
        ("create", "work", "--label", "red", "--template", "../x"),
        ("create", "work", "--label", "red", "--property", "memory"),
        ("clone", "work", "none"),
        ("clone", "w\x1b[31m", "other"),
        ("start",),
        ("start", "work", "@anyvm"),
        ("shutdown", "work", "--timeout", "soon"),
        ("frobnicate",),
        ("start", "--frob", "work"),
        ("template",),
        ("template", "frob"),
    ],
)
def test_what_makes_no_sense_is_one_sentence_and_never_asked(
    manager: FakeManager, bento: Bento, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    assert bento(*words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("bento: ")
    assert err.count("\n") == 1
    assert err[:-1].isprintable()
    assert manager.requests == []


@pytest.mark.parametrize("fault", Fault)
def test_every_failure_has_its_exit_code(
    manager: FakeManager, bento: Bento, capsys: pytest.CaptureFixture[str], fault: Fault
) -> None:
    manager.answers["bento.vm.Log"] = Failure(Fault.NOT_RUNNING, "there is no log")
    manager.answers["admin.vm.Start"] = Failure(fault, "what it says, 100% of it")
    assert bento("start", "work") == BY_FAULT[fault]
    assert capsys.readouterr() == ("", "bento: what it says, 100% of it\n")


def test_a_failure_of_an_unknown_kind_is_the_outside_worlds(manager: FakeManager, bento: Bento) -> None:
    manager.answers["admin.vm.Start"] = Failure("QubesMoonPhaseError", "not today")
    assert bento("start", "work") == 4


def test_a_failure_that_quotes_a_guest_does_not_steer_the_terminal(
    manager: FakeManager, bento: Bento, capsys: pytest.CaptureFixture[str]
) -> None:
    manager.answers["admin.vm.Start"] = Failure(Fault.GENERAL, "its console ends with:\n\x1b[2Joops")
    bento("start", "work")
    assert capsys.readouterr().err == "bento: its console ends with:\n^[[2Joops\n"


@pytest.mark.parametrize(
    ("verb", "method"),
    [
        ("start", "Start"),
        ("kill", "Kill"),
        ("pause", "Pause"),
        ("unpause", "Unpause"),
        ("rm", "Remove"),
        ("shutdown", "Shutdown"),
    ],
)
def test_each_of_several_names_is_asked_for_once(manager: FakeManager, bento: Bento, verb: str, method: str) -> None:
    manager.answers[f"admin.vm.{method}"] = b""
    assert bento(verb, "a", "b", "c", "a") == 0
    assert sorted(manager.asked) == [f"admin.vm.{method}+ {name}" for name in "abc"]


def test_one_name_that_fails_does_not_keep_the_others(
    manager: FakeManager, bento: Bento, capsys: pytest.CaptureFixture[str]
) -> None:
    manager.answers["admin.vm.Start"] = b""
    manager.answers["admin.vm.Start+ b"] = Failure(Fault.NOT_HALTED, "'b' runs already")
    manager.answers["admin.vm.Start+ d"] = Failure(Fault.NOT_FOUND, "there is no domain 'd'")
    assert bento("start", "a", "b", "c", "d") == 3
    assert capsys.readouterr().err == "bento: 'b' runs already\nbento: there is no domain 'd'\n"
    assert len(manager.requests) == 4


def test_a_start_that_the_guest_never_answered_shows_the_end_of_its_console(
    manager: FakeManager, bento: Bento, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    log = tmp_path / "console.log"
    log.write_bytes(b"x" * 9000 + b"\nno root\x1b[2J\r\nKernel panic\n")
    manager.answers["admin.vm.Start"] = Failure(Fault.NOT_STARTED, "'work' did not answer within 60 s")
    with log.open("rb") as opened:
        manager.files["bento.vm.Log"] = lambda _: opened.fileno()
        assert bento("start", "work") == 4
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "bento: 'work' did not answer within 60 s"
    assert said[-2:] == ["  work: no root^[[2J", "  work: Kernel panic"]
    assert sum(map(len, said)) < 5000


def test_a_start_without_an_answer_and_without_a_log_is_a_sentence(
    manager: FakeManager, bento: Bento, capsys: pytest.CaptureFixture[str]
) -> None:
    manager.answers["admin.vm.Start"] = Failure(Fault.NOT_STARTED, "the machine of 'work' ended")
    manager.answers["bento.vm.Log"] = Failure(Fault.NOT_RUNNING, "'work' never ran")
    assert bento("start", "work") == 4
    assert capsys.readouterr().err == "bento: the machine of 'work' ended\n"


def test_two_domains_start_at_the_same_time(manager: FakeManager, bento: Bento) -> None:
    both = threading.Barrier(2)

    def start(_: Request) -> bytes:
        both.wait(20)
        return b"0\0"

    manager.answers["admin.vm.Start"] = start
    assert bento("start", "a", "b") == 0


@pytest.mark.parametrize(
    ("words", "argument"),
    [
        ((), ""),
        (("--force",), "force"),
        (("--wait",), "wait"),
        (("--wait", "--force"), "force+wait"),
        (("--timeout", "60"), "wait"),
    ],
)
def test_shutdown_says_how(manager: FakeManager, bento: Bento, words: tuple[str, ...], argument: str) -> None:
    manager.answers["admin.vm.Shutdown"] = b""
    assert bento("shutdown", "work", *words) == 0
    assert manager.asked == [f"admin.vm.Shutdown+{argument} work"]


def test_a_shutdown_that_takes_too_long_is_let_go(
    manager: FakeManager, bento: Bento, capsys: pytest.CaptureFixture[str]
) -> None:
    done = threading.Event()

    def never(_: Request) -> bytes:
        done.wait(20)
        return b"0\0"

    manager.answers["admin.vm.Shutdown"] = never
    assert bento("shutdown", "work", "--timeout", "0.01") == 4
    done.set()
    assert capsys.readouterr().err == "bento: work takes longer than 0.01 seconds\n"


def test_a_clone_names_its_source_and_itself(manager: FakeManager, bento: Bento) -> None:
    manager.answers["bento.vm.Clone"] = b""
    assert bento("clone", "work", "work-2") == 0
    assert manager.asked == ["bento.vm.Clone+work-2 work"]
