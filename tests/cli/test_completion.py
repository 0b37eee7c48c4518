"""What the shell offers, asked from the shell itself."""

import subprocess
from pathlib import Path

import pytest

from bento.cli.completion import script
from tests.cli.conftest import Bento
from tests.cli.fake import FakeManager

ASK = """
function bento() { if [ "$2" = names ]; then echo work vault; else echo "--of-$3-$4"; fi; }
%s
COMP_WORDS=(%s)
COMP_CWORD=%d
_bento bento
printf '%%s\\n' "${COMPREPLY[@]}"
"""


def offered(*words: str) -> list[str]:
    typed = " ".join(f"'{word}'" for word in ("bento", *words))
    asked = ASK % (script(), typed, len(words))
    return subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True).stdout.split()


def test_commands_come_first() -> None:
    assert offered("sh") == ["shutdown"]
    assert {"ls", "template", "run"} <= set(offered(""))
    assert "template build" not in script()


def test_commands_of_two_words_have_a_second() -> None:
    assert offered("template", "") == ["build", "ls", "info", "rm"]
    assert offered("manager", "st") == ["status", "stop"]


def test_then_come_domains() -> None:
    assert offered("start", "") == ["work", "vault"]
    assert offered("start", "work", "v") == ["vault"]
    assert offered("cp", "/etc/host", "wo") == ["work:"]


def test_options_are_those_of_the_command() -> None:
    assert offered("disp", "open", "--") == ["--of-disp-open"]
    assert offered("ls", "-") == ["--of-ls--"]


def test_files_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "letter.txt").touch()
    assert offered("disp", "open", "let") == ["letter.txt"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("disp", "open"), "--help --disposable --view-only --label --netvm --fresh"),
        (("ls", "work"), "--help --disk --json"),
        (("run", "--disposable"), "--help --disposable --label --netvm --fresh --user --no-autostart --tty --no-tty"),
        (("nothing", "--disk"), ""),
        ((), ""),
    ],
)
def test_a_commands_options_are_told(
    bento: Bento, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str
) -> None:
    assert bento("completion", "options", *words) == 0
    assert capsys.readouterr().out.split()[: len(told.split())] == told.split()


def test_names_come_from_a_manager_that_runs(
    manager: FakeManager, bento: Bento, capsys: pytest.CaptureFixture[str]
) -> None:
    manager.answers["bento.vm.Table"] = b'[{"name": "dom0"}, {"name": "work"}]'
    assert bento("completion", "names") == 0
    assert capsys.readouterr().out == "dom0\nwork"


def test_without_a_manager_there_are_no_names_and_no_words(bento: Bento, capsys: pytest.CaptureFixture[str]) -> None:
    assert bento("completion", "names") == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("words", [("zsh",), ("bash", "ls")])
def test_there_is_a_script_for_no_other_shell(
    bento: Bento, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    assert bento("completion", *words) == 2
    told = "bento: there is a script for bash, and no other: bento completion bash\n"
    assert capsys.readouterr() == ("", told)


def test_the_script_is_printed(bento: Bento, capsys: pytest.CaptureFixture[str]) -> None:
    assert bento("completion", "bash") == 0
    assert capsys.readouterr().out == script()
