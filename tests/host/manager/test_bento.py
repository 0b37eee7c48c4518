"""Bento's own methods: console, log, notices, doctor, status."""

import json
import os
import socket

import pytest

from bento.wire.admin import Fault
from tests.host.manager.home import PATIENCE, Failed, Home, answer, end_process
from tests.host.manager.launcher import NOTICE


def console(home: Home, name: str) -> socket.socket:
    stream = socket.socket(fileno=home.take_file("bento.vm.Console", name))
    stream.settimeout(PATIENCE)
    return stream


def read_until(stream: socket.socket, wanted: bytes) -> bytes:
    heard = b""
    while wanted not in heard:
        piece = stream.recv(4096)
        assert piece, heard
        heard += piece
    return heard


def test_a_console_is_joined_typed_at_and_taken_over(served: Home) -> None:
    served.create("work")
    served.start("work")
    with console(served, "work") as first:
        first.sendall(b"typed at first\r")
        read_until(first, b"typed at first")
        with console(served, "work") as second:
            second.sendall(b"typed at second\r")
            read_until(second, b"typed at second")
            while first.recv(4096):
                pass


def test_a_console_is_there_as_soon_as_a_manager_is(served: Home) -> None:
    served.create("work")
    served.start("work")
    for _ in range(3):
        served.kill_manager()
        served.start_manager()
        with console(served, "work") as stream:
            stream.sendall(b"typed")
            read_until(stream, b"typed")


def test_a_domain_whose_broker_died_has_a_console_all_the_same(served: Home) -> None:
    served.create("work")
    served.start("work")
    for _ in range(3):
        end_process(served.broker_pid("work"))
        with console(served, "work") as stream:
            stream.sendall(b"typed")
            read_until(stream, b"typed")


def test_a_guest_that_does_not_answer_yet_has_a_console(served: Home) -> None:
    served.create("mute")
    with served.events() as events, served.send("admin.vm.Start", "mute") as starting:
        events.until("domain-pre-start")
        console(served, "mute").close()
        served.kill("mute")
        with pytest.raises(Failed):
            answer(starting)


def test_a_halted_domain_has_no_console_but_a_log(served: Home) -> None:
    served.create("work")
    assert served.refused("bento.vm.Console", "work").fault == Fault.NOT_RUNNING
    failed = served.refused("bento.vm.Log", "work")
    assert "never ran" in failed.sentence
    served.start("work")
    with console(served, "work") as stream:
        stream.sendall(b"some words\r")
        read_until(stream, b"some words")
    served.kill("work")
    log = served.take_file("bento.vm.Log", "work")
    try:
        assert b"some words" in os.read(log, 1 << 16)
        assert os.fstat(log).st_mode & 0o077 == 0
    finally:
        os.close(log)


def test_a_log_goes_on_from_run_to_run(served: Home) -> None:
    served.create("work")
    for words in (b"first run", b"second run"):
        served.start("work")
        with console(served, "work") as stream:
            stream.sendall(words)
            read_until(stream, words)
        served.shutdown("work")
    log = served.take_file("bento.vm.Log", "work")
    try:
        text = os.read(log, 1 << 16)
    finally:
        os.close(log)
    assert text.index(b"first run") < text.index(b"second run")


def test_a_log_that_is_a_link_is_not_followed(served: Home) -> None:
    served.create("work")
    (served.data_dir("work") / "console.log").symlink_to("/etc/passwd")
    assert served.refused("bento.vm.Log", "work").fault == Fault.GENERAL
    assert "console.log" in served.refused("admin.vm.Start", "work").sentence
    assert served.state("work") == "Halted"


def test_a_notice_is_handed_out_once_per_home(home: Home) -> None:
    home.start_manager()
    assert json.loads(home.ask("bento.Notices")) == [NOTICE]
    assert json.loads(home.ask("bento.Notices")) == []
    home.kill_manager()
    home.start_manager()
    assert json.loads(home.ask("bento.Notices")) == []


def test_a_notice_that_nobody_took_waits_for_the_next_manager(home: Home) -> None:
    home.start_manager()
    home.kill_manager()
    home.start_manager()
    assert json.loads(home.ask("bento.Notices")) == [NOTICE]


def test_the_doctor_is_asked_through_the_manager(shared: Home) -> None:
    assert json.loads(shared.ask("bento.Doctor")) == [{"name": "kvm", "ok": False}]


def test_the_status_says_who_and_where(shared: Home) -> None:
    status = json.loads(shared.ask("bento.manager.Status"))
    assert status["pid"] == shared.pid
    assert status["data"] == str(shared.path)
    assert status["run"] == str(shared.path / "run")


def test_a_stopped_manager_has_answered_first(home: Home) -> None:
    home.start_manager()
    assert home.ask("bento.manager.Stop") == ""
    assert home.wait_for_end() == 0


def test_methods_of_the_whole_system_go_to_the_admin_domain(shared: Home) -> None:
    for method in ("bento.Doctor", "bento.manager.Stop", "bento.template.List", "admin.label.List"):
        assert shared.refused(method, "debian-12").fault == Fault.NO_METHOD
