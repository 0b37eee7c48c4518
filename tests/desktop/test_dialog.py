"""The window itself, on a screen, worked at with keys and clicks; and its pictures."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bento.wire.admin import Event
from bento.wire.consent import Attending, No, Notice, Outcome, Question, Settled, Term, Yes, encode_told
from bento.wire.names import ServiceArgument, TargetName
from tests.cli.conftest import PROGRAM, SOURCE
from tests.cli.fake import FakeManager
from tests.cli.test_agent import RED, VAULT, WORK, Asker, question
from tests.desktop.screen import Screen
from tests.host.manager.asker import attending, begin_call
from tests.host.manager.home import TREE, new_home

WAIT = "Bento: random asks, wait"
ASKS = "Bento: random asks"


class Agent(Asker):
    """`bento agent --desktop`, and the test on both sides of it."""

    def __init__(self, manager: FakeManager, screen: Screen) -> None:
        super().__init__(manager)
        self.screen = screen

    def ask(self, asked: Question) -> str:
        """The window of the question, once it may be answered."""
        self.tell(asked)
        return self.screen.window(ASKS)

    def keys(self, *keys: str) -> None:
        self.screen.do("key", "--clearmodifiers", "--delay", "30", *keys)


@contextmanager
def desktop(screen: Screen, environment: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    """The agent as a process, from when it attends on."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "agent", "--desktop"],
        env={**screen.environment, **environment},
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == b"bento: you are asked in a window from now on\n"
            yield process
        finally:
            process.kill()


@pytest.fixture
def agent(manager: FakeManager, home: Path, screen: Screen) -> Iterator[Agent]:
    made = Agent(manager, screen)
    manager.answers["bento.manager.Status"] = b"{}"
    with desktop(screen, {"BENTO_HOME": str(home), "PYTHONPATH": str(SOURCE)}):
        yield made
    made.end()


def corner(screen: Screen, window: str, from_right: int) -> list[str]:
    """A place in the row of buttons at the window's foot, as words for xdotool."""
    facts = dict(line.split("=") for line in screen.do("getwindowgeometry", "--shell", window).splitlines())
    return ["--window", window, str(int(facts["WIDTH"]) - from_right), str(int(facts["HEIGHT"]) - 34)]


ALLOW, DENY = 70, 180
"""Pixels from the window's right edge."""


def click(screen: Screen, window: str, from_right: int) -> None:
    screen.do("mousemove", *corner(screen, window, from_right), "click", "1")


def test_a_click_on_allow_is_a_yes_with_what_was_suggested(agent: Agent, screen: Screen, pictures: Path) -> None:
    window = agent.ask(question(argument="report-2026.pdf"))
    screen.keep_picture(pictures / "question.png")
    click(screen, window, ALLOW)
    assert agent.answer() == Yes(TargetName("vault"))
    screen.wait_until_gone(ASKS)


def test_a_click_on_deny_is_a_no(agent: Agent, screen: Screen) -> None:
    click(screen, agent.ask(question()), DENY)
    assert agent.answer() == No()
    screen.wait_until_gone(ASKS)


def test_keys_alone_choose_target_and_time(agent: Agent) -> None:
    agent.ask(question())
    # From nothing to the targets, down and up again; to the times, one right; past Deny to Allow.
    agent.keys("Tab", "Down", "Up", "Tab", "Right", "Tab", "Tab", "space")
    assert agent.answer() == Yes(TargetName("work"), Term.SESSION)


def test_escape_is_a_no(agent: Agent) -> None:
    agent.ask(question())
    agent.keys("Escape")
    assert agent.answer() == No()


CLOSE = """
from PySide6.QtWidgets import QApplication
from bento.desktop.dialog import Dialog
from bento.desktop.prompt import Prompt
from tests.cli.test_agent import question
application = QApplication(["bento", "-platform", "offscreen"])
now, answers = 0.0, []
prompt = Prompt(question(), lambda: now)
dialog = Dialog(prompt, answers.append)
dialog.show()
prompt.front(True)
now = 0.49
print("early:", dialog.close(), answers)
now = 0.5
print("armed:", dialog.close(), answers)
print("again:", dialog.close(), answers)
dialog.over()
print("over:", dialog.isVisible(), answers)
"""


def test_closing_the_window_is_a_no_and_one_alone_and_not_in_the_first_half_second() -> None:
    environment = {"PYTHONPATH": f"{SOURCE}:{TREE}", "HOME": "/"}
    argv = [sys.executable, "-c", CLOSE]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines() == [
        "early: False []",
        "armed: False [No()]",
        "again: True [No()]",
        "over: False [No()]",
    ]


def test_no_key_that_a_person_types_elsewhere_is_an_answer(agent: Agent, screen: Screen) -> None:
    """Nothing has the focus when it appears, and Enter does nothing anywhere."""
    window = agent.ask(question())
    agent.keys(*["Return", "space", "KP_Enter", "y", "a", "o"] * 5)
    assert screen.is_there(ASKS)
    assert agent.answers.empty()
    click(screen, window, DENY)
    assert agent.answer() == No()


def test_a_window_that_is_not_armed_takes_no_key_and_no_click(agent: Agent, screen: Screen, pictures: Path) -> None:
    window = agent.ask(question())
    with screen.elsewhere() as elsewhere:
        screen.do("windowfocus", "--sync", elsewhere)
        assert screen.window(WAIT) == window
        screen.keep_picture(pictures / "question-waits.png")
        # Right into the window, past the focus: it takes none of it.
        for key in ("Escape", "space", "Return", "Tab"):
            screen.do("key", "--window", window, key)
        for place in (ALLOW, DENY):
            screen.do("mousemove", *corner(screen, window, place))
            screen.do("click", "--window", window, "1")
        assert screen.window(WAIT) == window
        assert agent.answers.empty()
        screen.do("windowfocus", "--sync", window)
        assert screen.window(ASKS) == window
    click(screen, window, ALLOW)
    assert agent.answer() == Yes(TargetName("vault"))


def test_a_question_that_is_answered_elsewhere_goes_and_the_next_one_comes(agent: Agent, screen: Screen) -> None:
    agent.ask(question())
    agent.tell(Settled(question().id, Outcome.YES))
    screen.wait_until_gone(ASKS)
    click(screen, agent.ask(question(2)), DENY)
    assert agent.answers.get(timeout=60) == (question(2).id, No())


def test_a_question_that_nobody_answers_is_a_no_at_its_end(agent: Agent) -> None:
    agent.tell(replace(question(), seconds=1))
    assert agent.answer() == No()


def test_a_long_argument_and_many_targets_fit_on_the_screen(agent: Agent, screen: Screen, pictures: Path) -> None:
    boxes = tuple(replace(WORK, name=TargetName(f"box{number}")) for number in range(30))
    asked = replace(question(argument="x" * 60_000), choices=(WORK, VAULT, *boxes), user="root")
    window = agent.ask(asked)
    agent.keys("Tab", "space")
    screen.keep_picture(pictures / "question-long.png")
    click(screen, window, DENY)
    assert agent.answer() == No()


CUT = """
import time
from dataclasses import replace
from PySide6.QtWidgets import QApplication, QLabel
from bento.desktop.dialog import Dialog
from bento.desktop.prompt import SHOWN, Prompt
from bento.wire.names import ServiceName, TargetName
from tests.cli.test_agent import question
application = QApplication(["bento"])
for length in (SHOWN, 60_000):
    names = {"service": ServiceName("W" * 255), "requested": TargetName("@" + "w" * 99)}
    asked = replace(question(argument="W" * length), **names)
    dialog = Dialog(Prompt(asked, time.monotonic), print)
    dialog.adjustSize()
    dialog.show()
    application.processEvents()
    for label in dialog.findChildren(QLabel):
        needed = label.minimumSizeHint().width(), label.heightForWidth(label.width())
        if label.text() and (needed[0] > label.width() or needed[1] > label.height()):
            print(length, label.text()[:20], needed, label.size().toTuple())
"""


def test_nothing_that_a_guest_says_is_cut_off_unseen(screen: Screen) -> None:
    screen.environment["PYTHONPATH"] = f"{SOURCE}:{TREE}"
    argv = [sys.executable, "-c", CUT]
    done = subprocess.run(argv, env=screen.environment, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == ""


def test_what_looks_like_markup_is_text(agent: Agent, screen: Screen) -> None:
    """An argument has no angle brackets; were there ever any, the labels take none of it for markup."""
    assert ServiceArgument.pattern.fullmatch("<b>") is None
    window = agent.ask(question(argument="a+b.c--d"))
    click(screen, window, DENY)
    assert agent.answer() == No()


def test_a_notice_is_shown_and_takes_no_focus(agent: Agent, screen: Screen, pictures: Path) -> None:
    window = agent.ask(question())
    agent.tell(Notice(RED, "my.Note to vault is denied by 30-user.policy:4"))
    agent.tell(Notice(WORK, "qubes.OpenURL to @dispvm:debian-12-dvm was allowed by 30-user.policy:9"))
    screen.window("Bento: notice")
    screen.keep_picture(pictures / "notices.png")
    assert screen.window(ASKS) == window
    click(screen, window, ALLOW)
    assert agent.answer() == Yes(TargetName("vault"))


def test_an_agent_waits_for_the_next_manager(agent: Agent, screen: Screen) -> None:
    agent.ask(question())
    agent.end()
    screen.wait_until_gone(ASKS)
    click(screen, agent.ask(question(2)), DENY)
    assert agent.answers.get(timeout=60) == (question(2).id, No())


DARK = """
import sys, time
from PySide6.QtCore import QTimer
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QApplication
from bento.desktop.dialog import Dialog
from bento.desktop.prompt import Prompt
from tests.cli.test_agent import question
application = QApplication(["bento"])
application.setStyle("Fusion")
role = QPalette.ColorRole
shades = {role.WindowText: 240, role.Button: 50, role.Light: 75, role.Dark: 33, role.Mid: 41, role.Text: 240,
          role.ButtonText: 240, role.Base: 36, role.Window: 50, role.PlaceholderText: 160}
palette = QPalette()
for which, shade in shades.items():
    palette.setColor(which, QColor(shade, shade, shade))
application.setPalette(palette)
dialog = Dialog(Prompt(question(argument="report-2026.pdf"), time.monotonic), print)
dialog.show()
dialog.activateWindow()
application.exec()
"""


def test_how_it_looks_in_the_dark_is_kept_for_people_to_judge(screen: Screen, pictures: Path) -> None:
    screen.environment["PYTHONPATH"] = f"{SOURCE}:{TREE}"
    with screen.run(DARK) as process:
        try:
            screen.window(ASKS)
            screen.keep_picture(pictures / "question-dark.png")
        finally:
            process.kill()


# ---- what can go wrong at the start --------------------------------------------------------------


def started(environment: dict[str, str], *before: str) -> "subprocess.CompletedProcess[str]":
    program = "; ".join([*before, "import runpy; runpy.run_module('bento.desktop', run_name='__main__')"])
    argv = [sys.executable, "-c", program]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("display", [{}, {"DISPLAY": ":4711"}, {"WAYLAND_DISPLAY": "nowhere"}])
def test_without_a_display_it_is_a_sentence(home: Path, display: dict[str, str]) -> None:
    done = started({"PYTHONPATH": str(SOURCE), "BENTO_HOME": str(home), **display})
    assert done.returncode == 4
    assert done.stderr == (
        "bento: no window can be shown here (is DISPLAY or WAYLAND_DISPLAY set?); use 'bento agent' on a terminal\n"
    )


def test_without_the_library_it_is_a_sentence(home: Path) -> None:
    environment = {"PYTHONPATH": str(SOURCE), "BENTO_HOME": str(home)}
    done = started(environment, "import sys", "sys.modules['PySide6'] = None")
    assert done.returncode == 4
    assert done.stderr.startswith("bento: PySide6 is missing")
    assert done.stderr.count("\n") == 1


def test_without_a_manager_it_is_a_sentence(home: Path, screen: Screen) -> None:
    done = started({**screen.environment, "PYTHONPATH": str(SOURCE), "BENTO_HOME": str(home)})
    assert done.returncode == 4
    assert "the manager cannot be reached" in done.stderr


def test_a_manager_that_talks_nonsense_is_a_sentence(manager: FakeManager, home: Path, screen: Screen) -> None:
    manager.answers["bento.consent.Attend"] = [encode_told(Attending()), Event("", "surprise")]
    done = started({**screen.environment, "PYTHONPATH": str(SOURCE), "BENTO_HOME": str(home)})
    assert done.returncode == 4
    assert done.stderr == "bento: the manager says what makes no sense: 'surprise' is nothing that an agent is told\n"


# ---- the whole way -------------------------------------------------------------------------------


def test_a_click_lets_a_real_call_proceed(screen: Screen) -> None:
    with new_home() as domains:
        domains.start_manager()
        domains.build()
        for name, label in (("work", "blue"), ("random", "red")):
            domains.create(name, label=label)
            domains.start(name)
        domains.install("work", "test.Where", "echo in work")
        domains.policy("test.Where * random @anyvm ask default_target=work\n")
        with (
            desktop(screen, {"BENTO_HOME": str(domains.path), "PYTHONPATH": str(SOURCE)}),
            attending(domains) as other,
            begin_call(domains, "random", "@default", "test.Where") as call,
        ):
            asked = other.question()
            click(screen, screen.window(ASKS), ALLOW)
            assert other.settled() == Settled(asked.id, Outcome.YES)
            assert call.outcome().stdout == b"in work\n"
