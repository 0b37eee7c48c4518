"""`bento disp open`: what goes into the disposable, and what of that which comes back becomes of the file here."""

import errno
import os
import signal
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from bento.cli import place
from bento.wire.admin import Failure, Fault, Request
from bento.wire.opening import NAME_SIZE, decode_name
from bento.wire.rpc import MAX_DATA, Data, Eof, Exit
from tests.cli.conftest import At, Bento, Spawn
from tests.cli.fake import FakeManager, Heard, say

Sentences = pytest.CaptureFixture[str]


class Opener:
    """`qubes.OpenInVM` and `qubes.OpenURL` of a disposable: keeps what it gets, and answers what a test says."""

    def __init__(
        self, back: bytes = b"", code: int = 0, complaint: bytes = b"", meanwhile: Callable[[], object] = bool
    ) -> None:
        self.name = ("", False)
        self.content = b""
        self._back = back
        self._code = code
        self._complaint = complaint
        self._meanwhile = meanwhile

    def __call__(self, leg: socket.socket, asked: Request) -> None:
        heard, given = Heard(leg), b""
        while isinstance(message := heard.next(), Data):
            given += message.payload
        if asked.argument == "qubes.OpenInVM+":
            self.name, given = decode_name(given[:NAME_SIZE]), given[NAME_SIZE:]
        self.content = given
        self._meanwhile()
        if self._complaint:
            say(leg, Data(0, 2, self._complaint))
        for at in range(0, len(self._back), MAX_DATA):
            say(leg, Data(0, 1, self._back[at : at + MAX_DATA]))
        say(leg, Eof(0, 1), Exit(0, self._code))


@pytest.fixture
def letter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only file where the person stands."""
    directory = tmp_path / "here"
    directory.mkdir()
    monkeypatch.chdir(directory)
    path = directory / "letter.txt"
    path.write_bytes(b"as it was")
    path.chmod(0o640)
    return path


def there(letter: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in letter.parent.iterdir()}


def test_an_edited_file_takes_the_place_of_the_old_one(
    manager: FakeManager, bento: Bento, letter: Path, capsys: Sentences
) -> None:
    data = os.urandom(3 * MAX_DATA + 1)
    letter.write_bytes(data)
    manager.guest = opener = Opener(back=data[::-1])
    assert bento("disp", "open", "letter.txt") == 0
    assert (opener.name, opener.content) == (("letter.txt", False), data)
    assert there(letter) == {"letter.txt": data[::-1]}
    assert stat.S_IMODE(letter.stat().st_mode) == 0o640
    assert capsys.readouterr() == ("letter.txt was changed in the disposable\n", "")
    assert manager.asked == ["bento.vm.Call+qubes.OpenInVM+ dom0 'disposable=yes\\n'"]


def test_a_name_that_would_steer_the_terminal_is_shown_and_not_obeyed(
    manager: FakeManager, bento: Bento, letter: Path, capsys: Sentences
) -> None:
    """A file from elsewhere may have any name, also one that is no text."""
    name = os.fsdecode(b"a\x1b]0;b\x07\xff")
    letter.rename(name)
    manager.guest = Opener(back=b"new")
    assert bento("disp", "open", name) == 0
    assert capsys.readouterr().out == "a^[]0;b^G<U+DCFF> was changed in the disposable\n"
    assert Path(name).read_bytes() == b"new"


def test_it_is_asked_for_as_the_options_say(manager: FakeManager, bento: Bento, letter: Path) -> None:
    manager.guest = Opener()
    options = ("--disposable=web", "--label", "purple", "--netvm", "none", "--fresh")
    assert bento("disp", "open", *options, "letter.txt") == 0
    settings = "disposable=yes\\nlabel=purple\\nnetvm=none\\nfresh=yes\\n"
    assert manager.asked == [f"bento.vm.Call+qubes.OpenInVM+ web '{settings}'"]


@pytest.mark.parametrize("back", [b"", b"as it was"], ids=["nothing", "the same"])
def test_an_unchanged_file_stays_the_very_same(
    manager: FakeManager, bento: Bento, letter: Path, capsys: Sentences, back: bytes
) -> None:
    before = letter.stat()
    manager.guest = Opener(back=back)
    assert bento("disp", "open", "letter.txt") == 0
    assert letter.stat().st_ino == before.st_ino
    assert letter.stat().st_mtime_ns == before.st_mtime_ns
    assert list(there(letter)) == ["letter.txt"]
    assert capsys.readouterr() == ("", "")


def test_nothing_comes_back_of_what_is_only_viewed(manager: FakeManager, bento: Bento, letter: Path) -> None:
    letter.chmod(0o400)
    manager.guest = opener = Opener(back=b"hostile")
    assert bento("disp", "open", "--view-only", "letter.txt") == 0
    assert (opener.name, opener.content) == (("letter.txt", True), b"as it was")
    assert there(letter) == {"letter.txt": b"as it was"}


@pytest.mark.parametrize("change", ["written", "replaced", "removed"])
def test_a_file_that_changed_here_meanwhile_is_kept_beside_what_came_back(
    manager: FakeManager, bento: Bento, letter: Path, capsys: Sentences, change: str
) -> None:
    def meanwhile() -> None:
        letter.unlink() if change != "written" else None
        letter.write_bytes(b"mine") if change != "removed" else None

    letter.with_name("letter.edited.txt").write_bytes(b"of another time")
    manager.guest = Opener(back=b"theirs", meanwhile=meanwhile)
    assert bento("disp", "open", "letter.txt") == 4
    left = {"letter.txt": b"mine"} if change != "removed" else {}
    assert there(letter) == left | {"letter.edited.txt": b"of another time", "letter.edited-2.txt": b"theirs"}
    sentence = "letter.txt has changed here meanwhile; what came back is in letter.edited-2.txt"
    assert capsys.readouterr().err == f"bento: {sentence}\n"


def test_a_file_that_cannot_be_replaced_is_kept_beside_what_came_back(
    manager: FakeManager, bento: Bento, letter: Path, capsys: Sentences, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def sticky(source: Path, target: Path) -> None:
        if target == Path("letter.txt"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        replace(source, target)

    monkeypatch.setattr(os, "replace", sticky)
    manager.guest = Opener(back=b"theirs")
    assert bento("disp", "open", "letter.txt") == 4
    assert there(letter) == {"letter.txt": b"as it was", "letter.edited.txt": b"theirs"}
    sentence = "letter.txt cannot be replaced: Input/output error; what came back is in letter.edited.txt"
    assert capsys.readouterr().err == f"bento: {sentence}\n"


@pytest.mark.parametrize(
    ("code", "ends", "sentence"),
    [
        (1, 4, "the program that opened letter.txt failed with 1; nothing came back"),
        (127, 127, "the disposable has nothing that opens letter.txt"),
        (126, 127, "the disposable has nothing that opens letter.txt"),
    ],
)
def test_what_a_program_leaves_that_failed_is_not_taken(
    manager: FakeManager, bento: Bento, letter: Path, capsys: Sentences, code: int, ends: int, sentence: str
) -> None:
    manager.guest = Opener(back=b"half of it", code=code)
    assert bento("disp", "open", "letter.txt") == ends
    assert there(letter) == {"letter.txt": b"as it was"}
    assert capsys.readouterr().err == f"bento: {sentence}\n"


def test_what_came_back_when_the_call_broke_is_not_taken(manager: FakeManager, bento: Bento, letter: Path) -> None:
    manager.guest = lambda leg, _: say(leg, Data(0, 1, b"half of it"))
    assert bento("disp", "open", "letter.txt") == 125
    assert there(letter) == {"letter.txt": b"as it was"}


def test_a_disposable_may_not_fill_the_disk(
    manager: FakeManager, bento: Bento, letter: Path, capsys: Sentences, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(leg: socket.socket, _: Request) -> None:
        while True:
            say(leg, Data(0, 1, bytes(MAX_DATA)))

    monkeypatch.setattr(place, "SPARE", 1 << 62)
    manager.guest = endless
    assert bento("disp", "open", "letter.txt") == 4
    assert capsys.readouterr().err == "bento: it is larger than the room here (0 KiB); nothing was kept\n"
    assert there(letter) == {"letter.txt": b"as it was"}
    assert manager.gone.wait(20)


def test_what_came_back_gets_no_rights_of_its_owners(manager: FakeManager, bento: Bento, letter: Path) -> None:
    """A program that runs as whoever owns it, with content of somebody hostile, is no file that was edited."""
    letter.chmod(0o4755)
    manager.guest = Opener(back=b"changed")
    assert bento("disp", "open", "letter.txt") == 0
    assert stat.S_IMODE(letter.stat().st_mode) == 0o755


def test_complaints_of_the_disposable_do_not_steer_the_terminal(
    manager: FakeManager, bento: Bento, letter: Path, capfd: Sentences
) -> None:
    manager.guest = Opener(complaint=b"\x1b[2Jno viewer\n", code=3)
    assert bento("disp", "open", "letter.txt") == 4
    assert capfd.readouterr().err.startswith("^[[2Jno viewer\n")


def test_on_a_terminal_it_shows_how_far_it_is(manager: FakeManager, at: At, letter: Path) -> None:
    os.truncate(letter, 2 * MAX_DATA)
    manager.guest = Opener(back=b"short", complaint=b"\x1b[2Jno theme\n")
    person = at("disp", "open", "letter.txt")
    shown = person.until(b"changed in the disposable").replace(b"\r\n", b"\n")
    assert person.child.wait() == 0
    news, away = shown.split(b"\r"), b"\x1b[K"
    assert news[1] == b"a disposable is being made" + away
    assert b"letter.txt -> disposable   50 %" + away in news
    assert b"letter.txt is open in a disposable" + away in news
    assert away + b"^[[2Jno theme\n" in news, "a complaint takes the place of the line"
    assert b"disposable -> letter.txt  1 KiB" + away in news
    assert news[-1].strip() == away + b"letter.txt was changed in the disposable"


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)]
)
def test_one_who_leaves_finds_the_file_as_it_was_and_nothing_beside_it(
    manager: FakeManager, spawn: Spawn, letter: Path, number: int, code: int
) -> None:
    def waits(leg: socket.socket, _: Request) -> None:
        heard = Heard(leg)
        while isinstance(heard.next(), Data):
            pass
        say(leg, Data(0, 1, b"half of it"), Data(0, 2, b"now"))
        assert heard.next() is None
        manager.gone.set()

    manager.guest = waits
    child = spawn("disp", "open", "letter.txt")
    assert child.stderr
    assert child.stderr.read(3) == b"now"
    child.send_signal(number)
    assert child.wait() == code
    assert there(letter) == {"letter.txt": b"as it was"}
    assert manager.gone.wait(20)


def test_what_comes_back_has_a_name_from_the_start_where_files_need_one(
    manager: FakeManager, bento: Bento, letter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY)  # as NFS answers: a directory is not opened to be written
    manager.guest = Opener(back=b"new")
    assert bento("disp", "open", "letter.txt") == 0
    assert there(letter) == {"letter.txt": b"new"}


def test_nothing_lies_beside_the_file_while_it_is_open(manager: FakeManager, bento: Bento, letter: Path) -> None:
    seen: list[str] = []
    manager.guest = Opener(meanwhile=lambda: seen.extend(there(letter)))
    assert bento("disp", "open", "letter.txt") == 0
    assert seen == ["letter.txt"]


def test_a_link_is_opened(manager: FakeManager, bento: Bento, letter: Path) -> None:
    manager.guest = opener = Opener(back=b"of no interest")
    assert bento("disp", "open", "https://example.org/?a=b&c") == 0
    assert opener.content == b"https://example.org/?a=b&c\n"
    assert manager.asked == ["bento.vm.Call+qubes.OpenURL+ dom0 'disposable=yes\\n'"]
    assert list(there(letter)) == ["letter.txt"]


@pytest.mark.parametrize(
    ("subject", "sentence"),
    [
        ("gone", "cannot read gone: No such file or directory"),
        (".", ". is a directory; only files are opened"),
        ("", "name the file or the link, as in: bento disp open letter.pdf"),
        ("pipe", "pipe is no ordinary file; only files are opened"),
        ("link", "link is a symbolic link; name the file that it leads to"),
        ("file:///etc/passwd", "'file:///etc/passwd' is not a link (http, https or ftp, at most 8192 bytes)"),
        (
            "https://example.org/ x",
            "'https://example.org/ x' is not a link (http, https or ftp, at most 8192 bytes)",
        ),
        ("fixed", "fixed may not be replaced by this account; --view-only opens it"),
        ("closed/letter", "closed/letter may not be replaced by this account; --view-only opens it"),
    ],
)
def test_what_cannot_be_opened_is_one_sentence_and_makes_no_disposable(
    manager: FakeManager, bento: Bento, letter: Path, capsys: Sentences, subject: str, sentence: str
) -> None:
    os.mkfifo("pipe")
    os.symlink("letter.txt", "link")
    Path("fixed").touch(mode=0o400)
    Path("closed").mkdir()
    Path("closed/letter").touch()
    Path("closed").chmod(0o500)
    assert bento("disp", "open", subject) == 2
    assert capsys.readouterr().err == f"bento: {sentence}\n"
    assert manager.requests == []


def test_what_the_manager_refuses_is_told_in_its_words(
    manager: FakeManager, bento: Bento, letter: Path, capsys: Sentences
) -> None:
    manager.answers["bento.vm.Call"] = Failure(Fault.BAD_VALUE, "name the disposable template.")
    assert bento("disp", "open", "letter.txt") == 2
    assert capsys.readouterr().err == "bento: name the disposable template.\n"
    assert there(letter) == {"letter.txt": b"as it was"}
