"""The services that only answer a question: the time, and what the menu holds."""

import re
import shlex
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bento.wire.rpc import Role
from tests.guest.harness import Agent, Call, Host
from tests.guest.pair import PYTHON, Watch


def breaches(service: str, call: Call) -> list[str]:
    """What in an answer breaks the contract that Bento brings along."""
    found: list[str] = []
    watch = Watch(service, found)
    watch.end(Role.CALLER)
    watch.say(Role.SERVER, bytes(call.stdout))
    watch.end(Role.SERVER)
    assert call.code is not None
    watch.exit(call.code, len(call.stderr))
    return found


def test_the_date_is_told_to_the_second_and_in_utc(running: Agent, host: Host) -> None:
    running.service("qubes.GetDate", f"export TZ=Asia/Tokyo; exec {PYTHON} -m bento.guest.services.getdate")
    call = host.run("qubes.GetDate")
    assert breaches("qubes.GetDate", call) == []
    said = call.stdout.decode()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00\n", said)
    assert abs(datetime.fromisoformat(said.strip()) - datetime.now(UTC)) < timedelta(minutes=5)


class Menu:
    """A domain's desktop entries, and the service that lists them."""

    def __init__(self, running: Agent, host: Host) -> None:
        self.root = running.root / "share"
        self._host = host
        environment = (
            f"env XDG_DATA_DIRS={shlex.quote(str(self.root))}:relative PYTHONPATH={Path(__file__).parents[2] / 'src'}"
        )
        running.service(
            "qubes.GetAppmenus", f"exec {environment} {sys.executable} -S -m bento.guest.services.getappmenus"
        )

    def add(self, name: str, text: str | bytes) -> Path:
        path = self.root / "applications" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def listed(self) -> str:
        call = self._host.run("qubes.GetAppmenus")
        assert (call.code, bytes(call.stderr)) == (0, b"")
        assert breaches("qubes.GetAppmenus", call) == []
        return call.stdout.decode()


@pytest.fixture
def menu(running: Agent, host: Host) -> Menu:
    return Menu(running, host)


def test_a_domain_without_a_menu_lists_nothing(menu: Menu) -> None:
    assert menu.listed() == ""


def test_an_entry_is_listed_by_its_keys_and_its_command_is_to_start_it(menu: Menu) -> None:
    path = menu.add("edit.desktop", "# mine\n[Desktop Entry]\nName=Editor\nName[de]=Texte ändern\nExec=edit --now %f\n")
    assert menu.listed() == (
        f"{path}:Name=Editor\n{path}:Name[de]=Texte ändern\n{path}:Exec=qubes-desktop-run {path}\n\n"
    )


def test_entries_of_all_directories_are_listed_in_order(menu: Menu) -> None:
    paths = [
        menu.add(name, f"[Desktop Entry]\nName={Path(name).name}\n")
        for name in ("a.desktop", "b.desktop", "deep/c.desktop")
    ]
    menu.add("notes.txt", "[Desktop Entry]\nName=no\n")
    assert menu.listed() == "".join(f"{path}:Name={path.name}\n\n" for path in paths)


def test_an_entry_that_is_not_to_be_shown_is_not_listed(menu: Menu) -> None:
    menu.add("hidden.desktop", "[Desktop Entry]\nName=Helper\nNoDisplay = true\nExec=x\n")
    assert menu.listed() == ""


def test_other_sections_of_an_entry_are_not_listed(menu: Menu) -> None:
    path = menu.add("a.desktop", "[Desktop Entry]\nName=A\n[Desktop Action new]\nName=New\nExec=a --new\n")
    assert menu.listed() == f"{path}:Name=A\n\n"


def test_what_is_no_text_or_too_long_is_passed_over(menu: Menu) -> None:
    path = menu.add(
        "a.desktop", b"[Desktop Entry]\nName=A\nComment=\x1b[2Jgone\nIcon=" + b"x" * 5000 + b"\nType=Application\n"
    )
    menu.add("b\n.desktop", "[Desktop Entry]\nName=B\n")
    menu.add("c:d.desktop", "[Desktop Entry]\nName=C\n")
    assert menu.listed() == f"{path}:Name=A\n{path}:Type=Application\n\n"


def test_an_entry_that_cannot_be_read_does_not_hide_the_others(menu: Menu) -> None:
    (menu.add("a.desktop", "").parent / "dangling.desktop").symlink_to("nowhere")
    path = menu.add("b.desktop", "[Desktop Entry]\nName=B\n")
    assert menu.listed() == f"{path}:Name=B\n\n"


def test_no_more_entries_are_listed_than_a_menu_holds(menu: Menu) -> None:
    for number in range(1010):
        menu.add(f"{number:04}.desktop", "[Desktop Entry]\nName=N\n")
    assert menu.listed().count(":Name=N\n") == 1000
