"""`bento cp`: to a place, from a place, and into QubesIncoming. The domain's programs run here, in a directory."""

import errno
import os
import pwd
import signal
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from bento.cli import place, send
from bento.cli.exits import Failed
from bento.wire.admin import Request
from bento.wire.filecopy import (
    BROKEN_OFF,
    Complete,
    Content,
    End,
    Enter,
    File,
    Leave,
    Link,
    Result,
    Unpacker,
    encode_result,
)
from bento.wire.rpc import MAX_DATA, Data, Eof, Exit
from tests.cli.conftest import Bento, Spawn
from tests.cli.fake import FakeManager, Heard, run_here, say

Sentences = pytest.CaptureFixture[str]


@pytest.fixture
def inside(manager: FakeManager, tmp_path: Path) -> Path:
    """The home of the user in the domain."""
    directory = tmp_path / "inside"
    directory.mkdir()
    manager.guest = run_here(directory)
    return directory


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "here"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


def test_a_file_goes_to_just_that_place(bento: Bento, inside: Path, here: Path) -> None:
    data = os.urandom(3 * MAX_DATA + 1)
    (here / "a").write_bytes(data)
    (here / "a").chmod(0o750)
    assert bento("cp", "a", "work:b; touch c -x") == 0
    assert [entry.name for entry in inside.iterdir()] == ["b; touch c -x"]
    arrived = inside / "b; touch c -x"
    assert arrived.read_bytes() == data
    assert stat.S_IMODE(arrived.stat().st_mode) == 0o750


@pytest.mark.parametrize("path", ["-n", "~/-n", "./-n"])
def test_a_name_that_looks_like_an_option_is_a_name(bento: Bento, inside: Path, here: Path, path: str) -> None:
    (here / "a").write_bytes(b"hi")
    assert bento("cp", "a", f"work:{path}") == 0
    assert (inside / "-n").read_bytes() == b"hi"
    assert bento("cp", f"work:{path}", "back") == 0
    assert (here / "back").read_bytes() == b"hi"


def test_what_is_there_is_replaced_by_force_only(bento: Bento, inside: Path, here: Path, capsys: Sentences) -> None:
    (here / "a").write_bytes(b"new")
    (inside / "b").write_bytes(b"old")
    assert bento("cp", "a", "work:b") == 2
    assert (inside / "b").read_bytes() == b"old"
    assert capsys.readouterr().err == "bento: work:b exists already; --force replaces it\n"
    assert bento("cp", "--force", "a", "work:b") == 0
    assert (inside / "b").read_bytes() == b"new"
    assert len(list(inside.iterdir())) == 1


def test_a_link_that_leads_nowhere_is_something_that_is_there(bento: Bento, inside: Path, here: Path) -> None:
    (here / "a").write_bytes(b"new")
    (inside / "b").symlink_to("elsewhere")
    assert bento("cp", "a", "work:b") == 2
    assert not (inside / "elsewhere").exists()


def test_what_the_user_there_may_not_is_one_sentence(bento: Bento, inside: Path, here: Path, capsys: Sentences) -> None:
    (here / "a").write_bytes(b"x")
    (inside / "closed").mkdir(mode=0o500)
    (inside / "secret").touch(mode=0)
    assert bento("cp", "a", "work:closed/b") == 2
    assert bento("cp", "work:secret", "b") == 2
    assert [line.split(";")[0] for line in capsys.readouterr().err.splitlines()] == [
        "bento: work:closed/b is in a directory that this user may not write to",
        "bento: work:secret may not be read by this user",
    ]


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("dir", "work:dir is a directory; name a file"),
        ("no/b", "work:no/b is in a directory that does not exist"),
    ],
)
def test_a_place_that_cannot_be_is_one_sentence(
    bento: Bento, inside: Path, here: Path, capsys: Sentences, path: str, sentence: str
) -> None:
    (inside / "dir").mkdir()
    (here / "a").write_bytes(b"new")
    assert bento("cp", "--force", "a", f"work:{path}") == 2
    assert capsys.readouterr().err == f"bento: {sentence}\n"
    assert list((inside / "dir").iterdir()) == []


def test_a_file_that_shrinks_on_its_way_breaks_the_copy(here: Path) -> None:
    (here / "a").write_bytes(b"short")
    with open(here / "a", "rb") as file:
        upload = place.Upload(file, 10, lambda _: None)
        assert upload.read(100) == b"short"
        with pytest.raises(Failed, match="became shorter"):
            upload.read(100)


def test_a_call_that_ends_early_leaves_nothing_under_the_name(inside: Path, here: Path) -> None:
    words = ["sh", "-c", place.PUT, "sh", "b", "600", "10", "yes"]
    done = subprocess.run(words, cwd=inside, input=b"half", check=False)
    assert done.returncode == place.Trouble.SHORT
    assert list(inside.iterdir()) == []


def test_a_file_comes_out(bento: Bento, inside: Path, here: Path) -> None:
    data = os.urandom(3 * MAX_DATA + 1)
    (inside / "a").write_bytes(data)
    assert bento("cp", "work:a", "b") == 0
    assert bento("cp", "work:a", ".") == 0
    assert (here / "b").read_bytes() == (here / "a").read_bytes() == data
    assert sorted(entry.name for entry in here.iterdir()) == ["a", "b"]


def test_what_is_here_is_replaced_by_force_only(
    manager: FakeManager, bento: Bento, inside: Path, here: Path, capsys: Sentences
) -> None:
    (inside / "a").write_bytes(b"new")
    (here / "b").write_bytes(b"old")
    assert bento("cp", "work:a", "b") == 2
    assert (here / "b").read_bytes() == b"old"
    assert capsys.readouterr().err == "bento: b exists already; --force replaces it\n"
    assert manager.requests == []
    assert bento("cp", "work:a", "b", "-f") == 0
    assert (here / "b").read_bytes() == b"new"


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("dir", "work:dir is a directory; name a file"),
        ("gone", "work:gone does not exist"),
        ("pipe", "work:pipe is no ordinary file"),
    ],
)
def test_only_a_file_comes_out(
    bento: Bento, inside: Path, here: Path, capsys: Sentences, path: str, sentence: str
) -> None:
    (inside / "dir").mkdir()
    os.mkfifo(inside / "pipe")
    assert bento("cp", f"work:{path}", "b") == 2
    assert capsys.readouterr().err == f"bento: {sentence}\n"
    assert list(here.iterdir()) == []


def test_a_domain_may_not_fill_the_disk(
    manager: FakeManager, bento: Bento, here: Path, capsys: Sentences, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(leg: socket.socket, _: Request) -> None:
        while True:
            say(leg, Data(0, 1, bytes(MAX_DATA)))

    class Room:
        f_bavail, f_frsize = place.SPARE // 4096 + 100, 4096

    monkeypatch.setattr(os, "statvfs", lambda _: Room)
    manager.guest = endless
    assert bento("cp", "work:a", "b") == 4
    assert capsys.readouterr().err == "bento: it is larger than the room here (400 KiB); nothing was kept\n"
    assert list(here.iterdir()) == []
    assert manager.gone.wait(20)


def test_a_domain_that_breaks_off_leaves_nothing(manager: FakeManager, bento: Bento, here: Path) -> None:
    manager.guest = lambda leg, _: say(leg, Data(0, 1, b"half"))
    assert bento("cp", "work:a", "b") == 125
    manager.guest = lambda leg, _: say(leg, Data(0, 1, b"half"), Exit(0, 1))
    assert bento("cp", "work:a", "b") == 4
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_one_who_leaves_finds_no_part_of_it(
    manager: FakeManager, spawn: Spawn, here: Path, number: int, code: int
) -> None:
    def waits(leg: socket.socket, _: Request) -> None:
        say(leg, Data(0, 1, b"half"), Data(0, 2, b"now"))
        while Heard(leg).next() is not None:
            pass
        manager.gone.set()

    manager.guest = waits
    child = spawn("cp", "work:a", "b")
    assert child.stderr
    assert child.stderr.read(3) == b"now"
    child.send_signal(number)
    assert child.wait() == code
    assert list(here.iterdir()) == []
    assert manager.gone.wait(20)


def test_a_domains_complaints_do_not_steer_the_terminal(
    manager: FakeManager, bento: Bento, here: Path, capfd: Sentences
) -> None:
    manager.guest = lambda leg, _: say(leg, Data(0, 2, b"\x1b[2Jno\n"), Exit(0, 1))
    assert bento("cp", "work:a", "b") == 4
    assert capfd.readouterr().err.startswith("^[[2Jno\n")


def test_a_name_taken_while_the_file_came_is_left_alone(
    manager: FakeManager, bento: Bento, here: Path, capsys: Sentences
) -> None:
    def meanwhile(leg: socket.socket, _: Request) -> None:
        (here / "b").write_bytes(b"mine")
        say(leg, Data(0, 1, b"theirs"), Exit(0, 0))

    manager.guest = meanwhile
    assert bento("cp", "work:a", "b") == 2
    assert (here / "b").read_bytes() == b"mine"
    assert [entry.name for entry in here.iterdir()] == ["b"]


@pytest.mark.parametrize(
    "words",
    [
        ("a",),
        ("a", "b"),
        ("work:a", "bank:b"),
        ("work:a", "work:"),
        ("a", "a", "work:b"),
        ("work:", "."),
        ("a", "no such:b"),
        ("gone", "work:b"),
        ("gone", "work:"),
        (".", "work:b"),
        ("pipe", "work:b"),
        ("pipe", "work:"),
        ("secret", "work:b"),
        ("a", "./../here/a", "work:"),
        ("/", "work:"),
        ("bad\x1bname", "work:"),
        ("out", "work:"),
        ("--user", "Root", "a", "work:b"),
    ],
)
def test_what_makes_no_sense_is_one_sentence_and_reaches_no_domain(
    manager: FakeManager, bento: Bento, here: Path, capsys: Sentences, words: tuple[str, ...]
) -> None:
    for name in ("a", "secret", "bad\x1bname"):
        (here / name).write_bytes(b"x")
    os.mkfifo(here / "pipe")
    (here / "out").mkdir()
    (here / "out" / "link").symlink_to("../secret")
    (here / "secret").chmod(0)
    assert bento("cp", *words) == 2
    err = capsys.readouterr().err
    assert err.startswith("bento: ")
    assert err.count("\n") == 1
    assert manager.requests == []


def test_a_colon_behind_a_slash_is_a_file_here(bento: Bento, inside: Path, here: Path) -> None:
    (here / "a:b").write_bytes(b"x")
    assert bento("cp", "./a:b", "work:c") == 0
    assert (inside / "c").read_bytes() == b"x"


class Receiver:
    """`qubes.Filecopy` as far as a sender sees it: what came, in words, and an answer."""

    def __init__(self, answer: Result | None = None, *, code: int = 0, stop_early: bool = False) -> None:
        self.steps: list[str] = []
        self.content = b""
        self._answer = answer
        self._code = code
        self._stop_early = stop_early

    def __call__(self, leg: socket.socket, asked: Request) -> None:
        assert asked.argument == "qubes.Filecopy+"
        heard, unpacker = Heard(leg), Unpacker()
        while not self._stop_early and isinstance(message := heard.next(), Data):
            for step in unpacker.feed(bytes(message.payload)):
                match step:
                    case Enter(name=name):
                        self.steps.append(f"enter {name.decode()}")
                    case Leave(permissions=permissions):
                        self.steps.append(f"leave {permissions:o}")
                    case File(name=name, size=size, permissions=permissions):
                        self.steps.append(f"file {name.decode()} {size} {permissions:o}")
                    case Link(name=name, target=target):
                        self.steps.append(f"link {name.decode()} {target.decode()}")
                    case Content(data=data):
                        self.content += data
                    case Complete() | End():
                        self.steps.append(type(step).__name__)
        answer = self._answer or Result(0, unpacker.checksum, unpacker.last_name)
        say(leg, Data(0, 2, b"qubes.Filecopy: so it is\n"), Data(0, 1, encode_result(answer)), Eof(0, 1))
        say(leg, Exit(0, self._code))


def test_files_and_directories_go_into_the_domain(manager: FakeManager, bento: Bento, here: Path) -> None:
    (here / "tree" / "sub").mkdir(parents=True, mode=0o755)
    (here / "tree" / "sub" / "empty").touch(mode=0o600)
    (here / "tree" / "link").symlink_to("sub/empty")
    data = os.urandom(2 * MAX_DATA + 5)
    (here / "big").write_bytes(data)
    (here / "big").chmod(0o644)
    (here / "tree").chmod(0o700)
    (here / "tree" / "sub").chmod(0o755)
    (here / "named").symlink_to("big")
    manager.guest = receiver = Receiver()
    assert bento("cp", "tree/", "big", "named", "work:") == 0
    assert receiver.steps == [
        "enter tree",
        "link link sub/empty",
        "enter sub",
        "file empty 0 600",
        "Complete",
        "leave 755",
        "leave 700",
        f"file big {len(data)} 644",
        "Complete",
        f"file named {len(data)} 644",
        "Complete",
        "End",
    ]
    assert receiver.content == data + data
    assert manager.asked == ["bento.vm.Call+qubes.Filecopy+ work"]


@pytest.mark.parametrize(
    ("answer", "code", "exit_code", "sentence"),
    [
        (Result(errno.EEXIST, 0, b"a"), 1, 2, "work has 'a' in its QubesIncoming already; move it away there"),
        (Result(errno.ENOSPC, 0, b"a"), 1, 4, "work has no room for 'a'"),
        (Result(errno.EACCES, 0, b"\x1b[31m"), 1, 4, "work did not take '\\x1b[31m': Permission denied"),
        (Result(BROKEN_OFF, 0, b"a"), 1, 4, f"work did not take 'a': code {BROKEN_OFF}"),
        (Result(0, 1, b"a"), 0, 4, "work did not take all of it; look for what arrived in its QubesIncoming"),
        (None, 1, 4, "work did not take all of it; look for what arrived in its QubesIncoming"),
    ],
)
def test_what_the_receiver_says_is_one_sentence(
    manager: FakeManager,
    bento: Bento,
    here: Path,
    capsys: Sentences,
    answer: Result | None,
    code: int,
    exit_code: int,
    sentence: str,
) -> None:
    (here / "a").write_bytes(b"x")
    manager.guest = Receiver(answer, code=code)
    assert bento("cp", "a", "work:") == exit_code
    assert capsys.readouterr().err == f"bento: {sentence}\n"


def test_a_receiver_that_stops_early_is_heard(
    manager: FakeManager, bento: Bento, here: Path, capsys: Sentences
) -> None:
    (here / "a").touch()
    os.truncate(here / "a", 64 << 20)
    manager.guest = Receiver(Result(errno.ENOSPC, 0, b"a"), code=1, stop_early=True)
    assert bento("cp", "a", "work:") == 4
    assert capsys.readouterr().err == "bento: work has no room for 'a'\n"


def test_a_receiver_without_an_answer_is_quoted_harmlessly(
    manager: FakeManager, bento: Bento, here: Path, capsys: Sentences
) -> None:
    (here / "a").write_bytes(b"x")
    manager.guest = lambda leg, _: say(leg, Data(0, 2, b"\x1b[2Jno python\n" + bytes(9999)), Exit(0, 1))
    assert bento("cp", "a", "work:") == 4
    err = capsys.readouterr().err
    assert err.startswith("^[[2Jno python\n^@")
    assert len(err) < 9999


@pytest.mark.parametrize(("code", "exit_code"), [(126, 126), (127, 126), (0, 4), (1, 4)])
def test_a_domain_without_an_answer_did_not_take_it(
    manager: FakeManager, bento: Bento, here: Path, code: int, exit_code: int
) -> None:
    (here / "a").write_bytes(b"x")
    manager.guest = lambda leg, _: say(leg, Exit(0, code))
    assert bento("cp", "a", "work:") == exit_code


def test_an_answer_without_end_is_cut(manager: FakeManager, bento: Bento, here: Path) -> None:
    def chatty(leg: socket.socket, _: Request) -> None:
        for _round in range(100):
            say(leg, Data(0, 1, bytes(MAX_DATA)))
        say(leg, Exit(0, 0))

    (here / "a").write_bytes(b"x")
    manager.guest = chatty
    assert bento("cp", "a", "work:") == 4


def test_a_file_that_shrinks_after_it_was_looked_at_breaks_the_copy(here: Path) -> None:
    (here / "a").write_bytes(b"longer")
    entries = list(send.survey([here / "a"]))
    (here / "a").write_bytes(b"short")
    with pytest.raises(Failed, match="became shorter"):
        list(send.pack(entries))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied, for the account somebody"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
    ],
)
def test_leave_withheld_names_the_account(monkeypatch: pytest.MonkeyPatch, error: OSError, said: str) -> None:
    monkeypatch.setattr("pwd.getpwuid", lambda _: pwd.struct_passwd(("somebody", "x", 1, 1, "", "/", "/bin/sh")))
    assert place.why(error) == said
