"""Disposables in the person's hands: files and links opened in one, and one with a name."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm.boxes import TEMPLATE, Boxes
from tests.vm.test_seeds import forked

pytestmark = pytest.mark.vm

OPENER = """\
#!/bin/sh
echo "$(hostname) opens $1 for $QREXEC_REMOTE_DOMAIN" >&2
case $1 in
    *://* | */unchanged) ;;
    *) [ ! -w "$1" ] || hostname >>"$1" ;;
esac
"""
"""Stands for a person with an editor."""


@pytest.fixture(scope="module")
def lab(new: Boxes) -> Iterator[Boxes]:
    """`lab` is what disposables are made from, by a seed that is there."""
    new.do("create", "lab", "--template", TEMPLATE, "--label", "red")
    install = "cat >/usr/local/bin/qubes-open; chmod 755 /usr/local/bin/qubes-open"
    new.do("run", "--user", "root", "lab", "--", "sh", "-c", install, stdin=OPENER)
    new.do("shutdown", "--wait", "lab")
    with new.events() as events:
        new.do("prefs", "lab", "template_for_dispvms", "True")
        new.do("prefs", "--global", "default_dispvm", "lab")
        events.until("seed-made", "lab")
    yield new
    new.do("prefs", "--global", "default_dispvm", "--default")
    new.do("rm", "lab")


@pytest.fixture
def letter(lab: Boxes) -> Path:
    path = lab.path / "letter"
    path.write_text("some\n")
    path.chmod(0o604)
    return path


def is_gone(boxes: Boxes, said: str) -> str:
    """The disposable that said it opens something, of which nothing is left."""
    name = said.split()[0]
    assert name.startswith("disp")
    assert name not in boxes.ls()
    return name


def test_a_file_is_edited_in_a_disposable_and_comes_back(lab: Boxes, letter: Path) -> None:
    with lab.events() as events:
        said = lab.bento("disp", "open", "letter")
        assert (said.returncode, said.stdout) == (0, "letter was changed in the disposable\n"), said.stderr
        events.until("domain-delete")
    assert letter.read_text() == f"some\n{is_gone(lab, said.stderr)}\n"
    assert letter.stat().st_mode & 0o777 == 0o604
    assert said.stderr.endswith("/letter for dom0\n")


@pytest.mark.parametrize(("name", "options"), [("unchanged", ()), ("letter", ("--view-only", "--label", "purple"))])
def test_a_file_that_is_not_edited_stays_as_it_is(
    lab: Boxes, letter: Path, name: str, options: tuple[str, ...]
) -> None:
    path = letter.rename(letter.with_name(name))
    before = path.stat()
    with lab.events() as events:
        said = lab.bento("disp", "open", *options, name)
        assert (said.returncode, said.stdout) == (0, ""), said.stderr
        events.until("domain-delete")
    is_gone(lab, said.stderr)
    assert (path.read_text(), path.stat().st_ino) == ("some\n", before.st_ino)
    path.unlink()


def test_a_link_is_opened_in_a_disposable(lab: Boxes) -> None:
    with lab.events() as events:
        said = lab.bento("disp", "open", "https://example.org/?a=b&c")
        assert said.returncode == 0, said.stderr
        events.until("domain-delete")
    is_gone(lab, said.stderr)
    assert said.stderr.endswith(" opens https://example.org/?a=b&c for dom0\n")


def test_a_disposable_with_a_name_begins_anew_from_the_seed_or_fresh(lab: Boxes) -> None:
    lab.do("create", "keeper", "--class", "DispVM", "--label", "orange")
    for options in ((), ("--fresh",)):
        lab.do("start", *options, "keeper")
        assert forked(lab, "keeper") == (not options)
        assert lab.sh("keeper", "hostname; test ! -e left && touch left") == "keeper"
        lab.do("shutdown", "--wait", "keeper")
    (row,) = json.loads(lab.do("ls", "--json", "keeper"))
    assert (row["class"], row["template"], row["state"]) == ("DispVM", "lab", "Halted")
    lab.do("prefs", "keeper", "auto_cleanup", "True")
    lab.do("start", "keeper")
    with lab.events() as events:
        lab.do("shutdown", "keeper")
        events.until("domain-delete")
    assert "keeper" not in lab.ls()
