"""The way to the manager where it is rough: nobody may go there, it goes away, it answers before it has heard all."""

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bento.cli import manager as client
from bento.cli.exits import Failed
from bento.wire.home import find_home
from tests.cli.conftest import Bento
from tests.cli.fake import FakeManager


@pytest.fixture
def listener(home: Path) -> Iterator[socket.socket]:
    """A manager's socket, with whatever a test makes of its connections."""
    (home / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(home / "run" / "manager.sock"))
        sock.listen()
        yield sock


def test_a_socket_that_may_not_be_reached_is_named(
    listener: socket.socket, home: Path, bento: Bento, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "run" / "manager.sock").chmod(0)
    assert bento("ls") == 4
    assert capsys.readouterr().err == (
        f"bento: cannot reach the manager at {home}/run/manager.sock: Permission denied\n"
    )


def test_a_manager_that_goes_away_is_told_from_one_that_refuses(
    listener: socket.socket, bento: Bento, capsys: pytest.CaptureFixture[str]
) -> None:
    def reset() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1)  # closing with unread data resets the connection

    thread = threading.Thread(target=reset)
    thread.start()
    assert bento("start", "work") == 4
    thread.join()
    assert capsys.readouterr().err == (
        "bento: the manager went away in the middle of the request: Connection reset by peer\n"
    )


def test_a_request_that_is_too_long_is_never_sent(
    manager: FakeManager, bento: Bento, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bento("prefs", "work", "kernelopts", "x" * 70_000) == 2
    assert bento("run", "work", "--", "echo", "x" * 65_000) == 2
    assert capsys.readouterr().err.count("\n") == 2
    assert manager.requests == []


def test_bytes_that_are_no_text_arrive_as_they_are(manager: FakeManager, bento: Bento) -> None:
    manager.answers["admin.vm.property.Set"] = b""
    assert bento("prefs", "work", "kernelopts", os.fsdecode(b"\xff")) == 0
    assert manager.requests[0].payload == b"\xff"


def test_nothing_is_left_open_when_a_later_request_cannot_be_sent(manager: FakeManager) -> None:
    manager.answers["admin.vm.Start"] = b""
    asked = [client.request("admin.vm.Start", "a"), client.request("admin.vm.Start", "b", payload="x" * 70_000)]
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(Failed, match="too long"):
        list(client.Manager(find_home(os.environ)).ask_each(asked))
    assert len(os.listdir("/proc/self/fd")) <= len(before) + 1  # the fake may still hold its end
