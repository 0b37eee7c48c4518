"""Files and links opened in another domain: what comes back replaces the file only when all went well."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from bento.wire.opening import NAME_SIZE, encode_name
from tests.guest import pair as pairs
from tests.guest.harness import Call, Marks
from tests.guest.pair import PYTHON, Pair, ended, type_command


class Other:
    """The domain that opens things, with a program of the test's for it."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.home = pair.asking.root / "home"
        self.there = pair.serving.root / "home"
        self.scratch = pair.serving.root / "tmp"
        self.scratch.mkdir()
        self._programs = pair.serving.root / "bin"
        self._programs.mkdir()
        for service, module in (("qubes.OpenInVM", "openinvm"), ("qubes.OpenURL", "openurl")):
            before = f"export TMPDIR={self.scratch} PATH={self._programs}:$PATH"
            pair.serving.service(service, f"{before}\nexec {PYTHON} -m bento.guest.services.{module}")
        self.program('cat "$1" >seen; echo "$1" >path; stat -c %a "$1" >mode')

    def program(self, script: str) -> None:
        """What opens files and links there."""
        path = self._programs / "qubes-open"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def open(self, *words: str, module: str = "qvm_open_in_vm", code: int = 0) -> str:
        """What the command says."""
        process = self.pair.type(module, *words)
        asked = self.pair.allow().asked
        assert asked is not None
        self.called = f"{asked.service} {asked.target}"
        said = ended(process)
        assert said[0] == code, said
        return said[1]

    def serve(self, data: bytes, service: str = "qubes.OpenInVM") -> Call:
        return self.pair.to_host.run(service, stdin=data, source="random")


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Other]:
    with pairs.pair(tmp_path) as pair:
        yield Other(pair)


CHANGE = 'printf "more\\n" >>"$1"'


def test_a_file_is_opened_there_under_its_name(other: Other) -> None:
    content = os.urandom(1_000_000)
    (other.home / "my report.pdf").write_bytes(content)
    assert other.open("work", "my report.pdf") == ""
    assert other.called == "qubes.OpenInVM work"
    assert (other.there / "seen").read_bytes() == content
    opened = Path((other.there / "path").read_text().strip())
    assert opened.name == "my_report.pdf"
    assert opened.parent.name.startswith("random-")
    assert list(other.scratch.iterdir()) == []
    assert (other.home / "my report.pdf").read_bytes() == content
    assert [path.name for path in other.home.iterdir()] == ["my report.pdf"]


@pytest.mark.parametrize("change", [CHANGE, 'cp "$1" new; echo more >>new; mv new "$1"', f"{CHANGE}; exit 9"])
def test_what_is_changed_there_is_changed_here(other: Other, change: str) -> None:
    file = other.home / "notes"
    file.write_text("some\n")
    file.chmod(0o4640)
    other.program(change)
    assert other.open("work", "notes") == ""
    assert file.read_text() == "some\nmore\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert list(other.home.iterdir()) == [file]


def test_a_large_file_comes_back_whole(other: Other) -> None:
    (other.home / "data").write_bytes(os.urandom(2_000_000))
    other.program('head -c 3000000 /dev/zero >"$1"')
    other.open("work", "data")
    assert (other.home / "data").read_bytes() == bytes(3_000_000)


def test_a_link_to_a_file_stays_one(other: Other) -> None:
    (other.home / "deep").mkdir()
    (other.home / "deep" / "real").write_text("some\n")
    (other.home / "name").symlink_to("deep/real")
    other.program(CHANGE)
    other.open("work", "name")
    assert (other.home / "name").is_symlink()
    assert (other.home / "deep" / "real").read_text() == "some\nmore\n"


def test_a_disposable_is_asked_for(other: Other) -> None:
    (other.home / "notes").write_text("some\n")
    other.program(CHANGE)
    other.open("notes", module="qvm_open_in_dvm")
    assert other.called == "qubes.OpenInVM @dispvm"
    assert (other.home / "notes").read_text() == "some\nmore\n"


@pytest.mark.parametrize("words", [["work", "--"], ["--view-only", "--", "work"]])
def test_a_file_for_viewing_stays_as_it_is(other: Other, words: list[str]) -> None:
    (other.home / "notes").write_text("some\n")
    other.program(f'{CHANGE}; stat -c %a "$1" >mode')
    view_only = words[0] == "--view-only"
    other.open(*(words if view_only else ["work"]), "notes")
    assert (other.there / "mode").read_text() == ("400\n" if view_only else "600\n")
    assert (other.home / "notes").read_text() == ("some\n" if view_only else "some\nmore\n")


def test_what_comes_back_of_a_file_for_viewing_is_not_taken(other: Other) -> None:
    (other.home / "notes").write_text("some\n")
    other.pair.serving.service("qubes.OpenInVM", "cat >/dev/null; echo something else")
    other.open("--view-only", "notes", module="qvm_open_in_dvm")
    assert (other.home / "notes").read_text() == "some\n"


def test_a_program_that_fails_there_changes_nothing_here(other: Other) -> None:
    (other.home / "notes").write_text("some\n")
    other.program("exit 3")
    assert other.open("work", "notes", code=1) == ("qvm-open-in-vm: The program that opened it there failed with 3.\n")
    other.pair.serving.service("qubes.OpenInVM", "cat >/dev/null; echo half; exit 1")
    other.open("work", "notes", code=1)
    assert (other.home / "notes").read_text() == "some\n"
    assert [path.name for path in other.home.iterdir()] == ["notes"]


def test_what_breaks_off_changes_nothing(other: Other) -> None:
    file = other.home / "notes"
    file.write_text("some\n")
    other.pair.serving.service("qubes.OpenInVM", "cat >/dev/null; echo half; exec sleep 600")
    process = other.pair.type("qvm_open_in_vm", "work", "notes")
    other.pair.allow(until=lambda: len(list(other.home.iterdir())) == 2)
    code, stderr = ended(process)
    assert (code, "broke off" in stderr) == (125, True)
    assert file.read_text() == "some\n"
    assert list(other.home.iterdir()) == [file]


def test_what_has_changed_here_too_is_kept_both(other: Other) -> None:
    file = other.home / "notes"
    file.write_text("some\n")
    other.program(f"{CHANGE}; echo mine >{file}")
    said = other.open("work", "notes", code=1)
    assert "has changed here too" in said
    assert file.read_text() == "mine\n"
    assert Path(said.rpartition(" is in ")[2].strip().removesuffix(".")).read_text() == "some\nmore\n"


def test_a_flood_is_not_taken(other: Other) -> None:
    """Half of the room is more than a test should write, so this one has little room."""
    (other.home / "notes").write_text("some\n")
    other.pair.serving.service("qubes.OpenInVM", "cat >/dev/null; head -c 3000000 /dev/zero")
    limited = other.pair.type("qvm_open_in_vm", "work", "notes", file_size=1_000_000)
    other.pair.allow()
    code, stderr = ended(limited)
    assert (code, "cannot be stored" in stderr) == (1, True)
    assert (other.home / "notes").read_text() == "some\n"
    assert [path.name for path in other.home.iterdir()] == ["notes"]


def test_a_link_is_opened_there(other: Other) -> None:
    other.program('echo "$1" >seen')
    for module, words, target in (("qvm_open_in_vm", ["work"], "work"), ("qvm_open_in_dvm", [], "@dispvm")):
        link = f"https://example.org/{module}?a=b&c"
        assert other.open(*words, link, module=module) == ""
        assert other.called == f"qubes.OpenURL {target}"
        assert (other.there / "seen").read_text() == f"{link}\n"
    other.program("exit 4")
    assert "failed with 4" in other.open("work", "https://example.org", code=1)


@pytest.mark.parametrize("link", [b"file:///etc/passwd\n", b"-x\n", b"", b"https://a b\n", b"x" * 100_000])
def test_a_link_for_no_browser_is_not_opened(other: Other, link: bytes) -> None:
    assert other.serve(link, "qubes.OpenURL").code == 1
    assert not (other.there / "path").exists()


@pytest.mark.parametrize(
    "data", [b"", b"x" * (NAME_SIZE - 1), b"../x".ljust(NAME_SIZE, b"\0"), b"view-only-..".ljust(NAME_SIZE, b"\0")]
)
def test_a_name_that_is_none_opens_nothing(other: Other, data: bytes) -> None:
    call = other.serve(data)
    assert (bytes(call.stdout), call.code) == (b"", 1)
    assert list(other.scratch.iterdir()) == []
    assert not (other.there / "path").exists()


def test_only_a_file_comes_back(other: Other) -> None:
    for trick in ('rm "$1"; ln -s /etc/passwd "$1"', 'rm "$1"; mkfifo "$1"', 'rm "$1"; mkdir "$1"', 'rm "$1"'):
        other.program(trick)
        call = other.serve(encode_name(b"x", view_only=False) + b"content")
        assert bytes(call.stdout) == b"", trick
        assert list(other.scratch.iterdir()) == []


def test_a_caller_that_hangs_up_leaves_nothing_there(other: Other, marks: Marks) -> None:
    other.program(f"echo here >{marks.path}; exec sleep 600")
    call = other.pair.to_host.serve("qubes.OpenInVM", stdin=encode_name(b"x", view_only=False), source="random")
    other.pair.to_host.settle()
    assert marks.lines(1) == ["here"]
    assert len(list(other.scratch.iterdir())) == 1
    other.pair.to_host.drop(call)

    def clean() -> bool:
        other.pair.to_host.settle()
        return not list(other.scratch.iterdir())

    other.pair.to_host.retry(clean)


@pytest.mark.parametrize("words", [["work", "gone"], ["work", "."], ["work", "file:///etc/passwd"]])
def test_what_cannot_be_opened_is_told_before_anybody_is_asked(tmp_path: Path, words: list[str]) -> None:
    code, stderr = ended(type_command(tmp_path, "qvm_open_in_vm", *words))
    assert (code, stderr.count("\n")) == (1, 1)
    assert stderr.startswith("qvm-open-in-vm: ")


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("qvm_open_in_vm", []), ("qvm_open_in_vm", ["work"]), ("qvm_open_in_vm", ["work", "a", "b"]),
        ("qvm_open_in_dvm", []), ("qvm_open_in_dvm", ["--edit", "x"]), ("qvm_open_in_dvm", ["--view-only"]),
        ("qubes_open", []), ("qubes_open", ["a", "b"]), ("qubes_open", ["--help"]),
    ],
)  # fmt: skip  # a list to be read across
def test_a_wrong_command_line_is_answered_with_the_usage(tmp_path: Path, module: str, words: list[str]) -> None:
    code, stderr = ended(type_command(tmp_path, module, *words))
    assert (code, "usage:" in stderr) == (2, True)


def test_the_first_program_that_knows_how_opens_it(tmp_path: Path) -> None:
    def opens(expected: tuple[int, str]) -> None:
        process = type_command(tmp_path, "qubes_open", "x y", PATH=str(tmp_path))
        stdout, stderr = process.communicate()
        assert (process.returncode, (stdout + stderr).decode().partition(":")[0].strip()) == expected

    opens((127, "qubes-open"))
    for name in ("run-mailcap", "xdg-open"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "{name} $1"; exit 5\n')
        (tmp_path / name).chmod(0o755)
        opens((5, f"{name} x y"))


def test_a_refusal_is_told(other: Other) -> None:
    (other.home / "notes").write_text("some\n")
    process = other.pair.type("qvm_open_in_dvm", "notes")
    other.pair.refuse(126)
    assert ended(process) == (126, "qvm-open-in-dvm: The call was refused.\n")
