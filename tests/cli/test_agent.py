"""`bento agent` on a terminal, under a real one; and the pure half of it."""

import json
import os
import queue
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bento.cli import question as questions
from bento.cli.render import Paint
from bento.wire.admin import Event, Failure, Fault, Request, encode_ok
from bento.wire.consent import (
    Answer,
    Attending,
    No,
    Notice,
    Outcome,
    Party,
    Question,
    QuestionId,
    Settled,
    Term,
    Told,
    Yes,
    encode_told,
    parse_answer,
)
from bento.wire.names import LabelName, ServiceArgument, ServiceName, TargetName
from tests.cli.conftest import PROGRAM, Bento, Spawn, Terminal
from tests.cli.fake import FakeManager

RED = Party(TargetName("random"), LabelName("red"), 0xCC0000)
WORK = Party(TargetName("work"), LabelName("blue"), 0x3465A4)
VAULT = Party(TargetName("vault"), LabelName("black"), 0)
PLAIN = Paint({}, terminal=False)


def question(number: int = 1, argument: str = "") -> Question:
    return Question(
        QuestionId(f"{number:016x}"),
        RED,
        ServiceName("qubes.Filecopy"),
        ServiceArgument(argument),
        TargetName(""),
        "",
        (WORK, VAULT),
        VAULT.name,
        60,
    )


# ---- what is shown, and what is read -------------------------------------------------------------


def test_a_question_shows_who_asks_for_what_and_where_it_may_go() -> None:
    shown = "\n".join(questions.lines(question(argument="photo.jpg"), PLAIN))
    for words in (
        "random (red) asks",
        "qubes.Filecopy",
        "photo.jpg",
        "no domain in particular",
        "1  work (blue)",
        "60 s",
    ):
        assert words in shown
    assert "2  vault (black)   (suggested)" in shown
    assert "runs as" not in shown


def test_labels_have_their_colour_on_a_terminal() -> None:
    paint = Paint({"COLORTERM": "truecolor", "TERM": "xterm"}, terminal=True)
    assert "\x1b[38;2;204;0;0m" in questions.lines(question(), paint)[1]


def test_a_long_argument_is_elided_and_says_how_to_see_all() -> None:
    shown = questions.elided("x" * 5000)
    assert len(shown) < 300
    assert "5000 characters" in shown
    assert questions.elided("short") == "short"


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("", No()),
        ("\n", No()),
        ("0", No()),
        ("no", No()),
        ("1", Yes(TargetName("work"))),
        (" 2 \n", Yes(TargetName("vault"))),
        ("1 session", Yes(TargetName("work"), Term.SESSION)),
        ("1 30m", Yes(TargetName("work"), Term.UNTIL, 1800)),
        ("2 2h", Yes(TargetName("vault"), Term.UNTIL, 7200)),
        ("2 366d", Yes(TargetName("vault"), Term.UNTIL, 366 * 86400)),
    ],
)
def test_what_is_typed_is_an_answer(line: str, answer: Answer) -> None:
    assert questions.parse(line, question()) == answer


@pytest.mark.parametrize(
    "line",
    ["3", "-1", "yes", "work", "1 always", "1 0m", "1 367d", "1 5", "1 session more", "\u0661", "1" * 9, "1 1e9h"],
)
def test_what_is_typed_is_no_answer_and_is_told_why(line: str) -> None:
    assert isinstance(questions.parse(line, question()), str)


# ---- on a terminal -------------------------------------------------------------------------------


class Asker:
    """The manager's side of one agent: what the test says goes to it, and its answers come here."""

    def __init__(self, manager: FakeManager) -> None:
        self.answers: queue.Queue[tuple[str, Answer]] = queue.Queue()
        self._to_tell: queue.Queue[Told | None] = queue.Queue()
        manager.answers["bento.consent.Answer"] = self._take
        manager.streams["bento.consent.Attend"] = self._events
        self.tell(Attending())

    def tell(self, told: Told) -> None:
        self._to_tell.put(told)

    def end(self) -> None:
        self._to_tell.put(None)

    def _events(self) -> Iterator[Event]:
        while (told := self._to_tell.get()) is not None:
            yield encode_told(told)

    def _take(self, asked: Request) -> bytes:
        answer = parse_answer(asked.payload)
        self.answers.put((asked.argument, answer))
        return encode_ok(b"")

    def answer(self) -> Answer:
        return self.answers.get(timeout=60)[1]


@pytest.fixture
def asker(manager: FakeManager) -> Iterator[Asker]:
    made = Asker(manager)
    yield made
    made.end()


class Person(Terminal):
    """A person at a terminal on which `bento agent` runs."""

    def __init__(self, home: Path, program: str = PROGRAM) -> None:
        super().__init__(home, "agent", program=program)
        self.seen = b""

    def sees(self, text: str) -> bytes:
        """All that is new, up to that text."""
        while text.encode() not in self.seen:
            self.seen += os.read(self.outer, 4096)
        shown, found, self.seen = self.seen.partition(text.encode())
        return shown + found

    def end(self) -> int:
        code = self.child.wait(60)
        os.close(self.outer)
        os.close(self.inner)
        return code


@pytest.fixture
def person(asker: Asker, home: Path) -> Iterator[Person]:
    yield from attending(Person(home))


@pytest.fixture
def slow_person(asker: Asker, home: Path) -> Iterator[Person]:
    """One who has time to type before a question may be answered."""
    yield from attending(Person(home, f"import bento.cli.agent; bento.cli.agent.ARM_SECONDS = 5.0; {PROGRAM}"))


def attending(made: Person) -> Iterator[Person]:
    made.sees("you are asked here")
    yield made
    made.child.kill()
    made.child.wait()


def test_a_person_reads_the_question_and_their_number_is_the_answer(asker: Asker, person: Person) -> None:
    asker.tell(question(argument="photo.jpg"))
    shown = person.sees("Your answer: ")
    assert b"photo.jpg" in shown
    assert b"random" in shown
    person.type(b"2 1h\n")
    assert asker.answer() == Yes(TargetName("vault"), Term.UNTIL, 3600)
    asker.tell(Settled(question().id, Outcome.YES))
    person.sees("(allowed)")


def test_what_was_typed_before_the_line_to_answer_on_is_no_answer(asker: Asker, slow_person: Person) -> None:
    slow_person.type(b"1\n1\n1")
    asker.tell(question())
    slow_person.sees("Enter alone is no.")
    slow_person.type(b"1\n1 session\n1")
    slow_person.sees("Your answer: ")
    slow_person.type(b"2\n")
    assert asker.answer() == Yes(TargetName("vault"))
    assert asker.answers.empty()


def test_what_is_no_answer_is_explained_and_asked_again(asker: Asker, person: Person) -> None:
    asker.tell(question())
    person.sees("Your answer: ")
    person.type(b"7\n")
    person.sees("none of the numbers above")
    person.sees("Your answer: ")
    person.type(b"\n")
    assert asker.answer() == No()


def test_a_long_argument_is_shown_whole_when_asked_for(asker: Asker, person: Person) -> None:
    whole = "x" * 3000 + "END"
    asker.tell(question(argument=whole))
    assert b"END" not in person.sees("Your answer: ")
    person.type(b"whole\n")
    person.sees("END")
    person.sees("Your answer: ")
    assert asker.answers.empty()


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (Outcome.YES, "(allowed)"),
        (Outcome.LATE, "nobody answered in time"),
        (Outcome.VAIN, "the call is gone"),
    ],
)
def test_a_question_that_was_settled_elsewhere_goes_away(
    asker: Asker, person: Person, outcome: Outcome, told: str
) -> None:
    asker.tell(question())
    person.sees("Your answer: ")
    asker.tell(Settled(question().id, outcome))
    person.sees(told)
    person.type(b"1\n")
    asker.tell(question(2))
    person.sees("Your answer: ")
    person.type(b"2\n")
    assert asker.answers.get(timeout=60) == (question(2).id, Yes(TargetName("vault")))


def test_an_answer_that_comes_too_late_is_said_to_be(manager: FakeManager, asker: Asker, person: Person) -> None:
    manager.answers["bento.consent.Answer"] = Failure(Fault.IN_USE, "that question is answered already")
    asker.tell(question())
    person.sees("Your answer: ")
    person.type(b"1\n")
    person.sees("(that question is answered already)")


def test_a_notice_is_a_line_and_leaves_the_question_open(asker: Asker, person: Person) -> None:
    asker.tell(question())
    person.sees("Your answer: ")
    asker.tell(Notice(WORK, "my.Note was denied"))
    person.sees("work: my.Note was denied")
    person.sees("Your answer: ")
    person.type(b"1\n")
    assert asker.answer() == Yes(TargetName("work"))


def test_ctrl_c_is_no_and_leaves(asker: Asker, person: Person) -> None:
    asker.tell(question())
    person.sees("Your answer: ")
    person.child.send_signal(signal.SIGINT)
    assert asker.answer() == No()
    assert person.end() == 130


def test_the_end_of_the_input_is_no(asker: Asker, person: Person) -> None:
    asker.tell(question())
    person.sees("Your answer: ")
    person.type(b"\x04")
    assert asker.answer() == No()


def test_an_agent_waits_for_the_next_manager(asker: Asker, person: Person) -> None:
    asker.tell(question())
    person.sees("Your answer: ")
    asker.end()
    person.sees("not asked any more: the manager has ended")
    person.sees("waiting for the next one")
    asker.tell(Attending())
    person.sees("you are asked here")
    asker.tell(question(2))
    person.sees("Your answer: ")
    person.type(b"1\n")
    assert asker.answers.get(timeout=60) == (question(2).id, Yes(TargetName("work")))


def test_a_manager_that_talks_nonsense_is_a_sentence(manager: FakeManager, home: Path) -> None:
    manager.answers["bento.consent.Attend"] = [Event("", "surprise")]
    person = Person(home)
    person.sees("what makes no sense")
    assert person.end() == 4


def test_without_a_terminal_it_is_a_sentence(manager: FakeManager, spawn: Spawn) -> None:
    child = spawn("agent")
    _, said = child.communicate()
    assert said.startswith(b"bento: 'bento agent' asks you on a terminal, and this is none")
    assert b"--desktop" in said
    assert child.returncode == 2


# ---- grants --------------------------------------------------------------------------------------

ROW = {
    "id": "0123abcd",
    "source": "random",
    "service": "qubes.Filecopy",
    "argument": "x" * 60,
    "requested": "@default",
    "target": "work",
    "user": "",
    "made": 0.0,
    "until": None,
}


def test_grants_are_a_table_or_json(manager: FakeManager, bento: Bento, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [ROW, {**ROW, "id": "4567cdef", "argument": "", "user": "root", "until": 86_400.0 * 365}]
    manager.answers["bento.grants.List"] = json.dumps(rows).encode()
    assert bento("grants") == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["ID", "SOURCE", "SERVICE", "ASKED", "FOR", "GOES", "TO", "USER", "COUNTS"]
    assert first.endswith("while random runs")
    assert "x" * 40 + "..." in first
    assert "until 197" in second
    assert bento("grants", "--json") == 0
    assert json.loads(capsys.readouterr().out) == rows


def test_grants_are_revoked_by_id_or_all(
    manager: FakeManager, bento: Bento, capsys: pytest.CaptureFixture[str]
) -> None:
    manager.answers["bento.grants.Revoke"] = lambda asked: encode_ok(json.dumps([asked.argument or "all"]).encode())
    assert bento("grants", "revoke", "0123abcd", "4567cdef", "--json") == 0
    assert json.loads(capsys.readouterr().out) == ["0123abcd", "4567cdef"]
    assert bento("grants", "revoke", "--all") == 0
    assert manager.asked == [f"bento.grants.Revoke+{number} dom0" for number in ("0123abcd", "4567cdef", "")]


@pytest.mark.parametrize(
    "words", [("revoke",), ("revoke", "0123abcd", "--all"), ("--all",), ("remove", "0123abcd"), ("revoke", "a b")]
)
def test_what_makes_no_sense_revokes_nothing(
    manager: FakeManager, bento: Bento, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    assert bento("grants", *words) == 2
    assert capsys.readouterr().err.startswith("bento: ")
    assert manager.asked == []
