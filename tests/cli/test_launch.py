"""Starting the manager: by the first command, once, with its reason where it cannot."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bento.cli import launch as launching
from bento.cli.exits import Failed
from bento.wire.home import Home, find_home
from tests.cli.conftest import SOURCE, Bento
from tests.cli.fake import FakeManager

# A manager that answers everything alike, until somebody tells it to stop.
WORKING = """
import json, os, socket, sys
home = os.environ["BENTO_HOME"]
with open(home + "/started", "a") as file:
    file.write(json.dumps({"cwd": os.getcwd(), "session": os.getsid(0) == os.getpid(), "path": sys.path[1:]}) + "\\n")
listener = socket.socket(socket.AF_UNIX)
listener.bind(home + "/run/manager.sock")
listener.listen(16)
print("a word on standard output", flush=True)
os.write(int(sys.argv[sys.argv.index("--ready-fd") + 1]), b"ready\\n")
while True:
    connection, _ = listener.accept()
    data = b""
    while piece := connection.recv(4096):
        data += piece
    if data == b"stop":
        break
    if not data:  # somebody only looked whether a manager listens
        continue
    connection.sendall(b"0\\0" + (b'["it emulates"]' if data.startswith(b"bento.Notices") else b"[]"))
    connection.close()
"""


def program(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "manager.py"
    path.write_text(text)
    return [sys.executable, str(path)]


@pytest.fixture
def place(home: Path) -> Iterator[Home]:
    yield find_home(os.environ)
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(home / "run" / "manager.sock"))
        except OSError:
            return
        connection.sendall(b"stop")


@pytest.fixture(autouse=True)
def _reaped(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The command never waits for its manager, but a test leaves no child behind."""
    children: list[subprocess.Popen[bytes]] = []

    class Popen(subprocess.Popen[bytes]):
        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__(*arguments, **options)  # type: ignore[call-overload]  # handed on as it came
            children.append(self)

    monkeypatch.setattr(subprocess, "Popen", Popen)
    yield
    for child in children:
        child.wait(20)


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make `text` the manager's program."""
    return lambda text: monkeypatch.setattr(launching, "MANAGER", program(tmp_path, text))


def test_the_first_command_starts_the_manager_and_the_second_finds_it(
    words: Callable[[str], None], place: Home, home: Path, bento: Bento, capsys: pytest.CaptureFixture[str]
) -> None:
    words(WORKING)
    assert bento("ls", "--json") == 0
    assert bento("ls", "--json") == 0
    assert len((home / "started").read_text().splitlines()) == 1
    assert capsys.readouterr() == ("[]\n[]\n", "bento: it emulates\n")


def test_the_manager_stands_on_its_own(words: Callable[[str], None], place: Home, home: Path, bento: Bento) -> None:
    words(WORKING)
    assert bento("ls") == 0
    started = json.loads((home / "started").read_text())
    assert started["cwd"] == "/"
    assert started["session"] is True
    assert str(SOURCE) in started["path"]
    assert (home / "manager.log").read_text() == "a word on standard output\n"


def test_a_module_path_that_is_relative_holds_for_the_manager_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: Callable[[str], None], place: Home, home: Path, bento: Bento
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "lib:")
    words(WORKING)
    assert bento("ls") == 0
    assert str(tmp_path / "lib") in json.loads((home / "started").read_text())["path"]


def test_an_isolated_command_starts_an_isolated_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    script = f"import sys; sys.path.insert(0, {str(SOURCE)!r}); from bento.cli.launch import MANAGER; print(*MANAGER)"
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [sys.executable, "-I", "-m", "bento.host.manager"]
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    assert "PYTHONPATH" not in launching.environment(isolated=True)


def test_many_commands_at_once_start_one_manager(tmp_path: Path, place: Home, home: Path) -> None:
    command = program(tmp_path, WORKING)
    together = threading.Barrier(8)
    failures: list[Exception] = []

    def one() -> None:
        together.wait(20)
        try:
            launching.launch(place, command)
        except Failed as error:
            failures.append(error)

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len((home / "started").read_text().splitlines()) == 1


def test_a_manager_that_cannot_start_says_why(
    words: Callable[[str], None], bento: Bento, capsys: pytest.CaptureFixture[str]
) -> None:
    words("import os, sys; os.write(int(sys.argv[-1]), b'error: the database is from a newer Bento\\n')")
    assert bento("ls") == 4
    assert capsys.readouterr() == ("", "bento: the database is from a newer Bento\n")


def test_a_manager_that_dies_leaves_its_last_words_in_the_log(
    words: Callable[[str], None], home: Path, bento: Bento, capsys: pytest.CaptureFixture[str]
) -> None:
    words("raise SystemExit('no such thing')")
    assert bento("ls") == 4
    assert capsys.readouterr().err == f"bento: the manager ended before it was ready; its log is {home}/manager.log\n"
    assert "no such thing" in (home / "manager.log").read_text()


def test_a_manager_that_never_gets_ready_is_given_up(tmp_path: Path, place: Home) -> None:
    with pytest.raises(Failed, match="was not ready after 30 seconds; its log is"):
        launching.launch(place, program(tmp_path, ""), deadline=0.0)


def test_a_manager_that_nobody_can_reach_is_a_fault_of_its_own(tmp_path: Path, place: Home) -> None:
    command = program(tmp_path, "import os, sys; os.write(int(sys.argv[-1]), b'ready\\n')")
    with pytest.raises(Failed, match="nobody listens at"):
        launching.launch(place, command)


def test_a_program_that_is_not_there_is_a_sentence(place: Home) -> None:
    with pytest.raises(Failed, match="cannot start the manager: /no/such/python"):
        launching.launch(place, ["/no/such/python"])


def test_a_home_that_cannot_be_made_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, bento: Bento, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BENTO_HOME", "/proc/none")
    assert bento("ls") == 4
    assert capsys.readouterr().err.startswith("bento: cannot start the manager: /proc/none")


def test_a_home_that_is_no_place_is_bad_input(
    monkeypatch: pytest.MonkeyPatch, bento: Bento, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BENTO_HOME", "relative")
    assert bento("ls") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_socket_without_a_manager_behind_it_does_not_stop_a_start(
    words: Callable[[str], None], place: Home, home: Path, bento: Bento
) -> None:
    (home / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(home / "run" / "manager.sock"))
    words("import os; os.unlink(os.environ['BENTO_HOME'] + '/run/manager.sock')\n" + WORKING)
    assert bento("ls") == 0


def test_what_only_looks_never_starts_a_manager(home: Path, bento: Bento, capsys: pytest.CaptureFixture[str]) -> None:
    assert bento("manager", "status") == 3
    assert bento("manager", "status", "--json") == 3
    assert bento("manager", "stop") == 0
    assert bento("version") == 0
    assert bento("--help") == 0
    assert bento("ls", "work", "--frob") == 2
    assert list(home.iterdir()) == []
    assert '"running": false' in capsys.readouterr().out


def test_stopping_waits_for_the_end(manager: FakeManager, bento: Bento) -> None:
    ended = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    assert ended.stdin

    def stop(_: object) -> bytes:
        assert ended.stdin
        ended.stdin.close()
        return b"0\0"

    manager.answers["bento.manager.Status"] = json.dumps({"pid": ended.pid}).encode()
    manager.answers["bento.manager.Stop"] = stop
    assert bento("manager", "stop") == 0
    assert ended.poll() == 0
