"""An agent as a test: attends over the Admin API, hears what it is told, and answers."""

import contextlib
from collections.abc import Iterator

from bento.wire.consent import (
    Answer,
    Attending,
    No,
    Notice,
    Question,
    Settled,
    Told,
    Yes,
    encode_answer,
    parse_told,
)
from bento.wire.names import TargetName
from bento.wire.vmexec import encode_command
from tests.host.manager.home import TREE, Home, Leg, Listener


class Asker:
    def __init__(self, home: Home, listener: Listener) -> None:
        self._home = home
        self._listener = listener

    def hear(self) -> Told:
        event = self._listener.next()
        assert event, "the manager told the agent to go"
        return parse_told(event)

    def question(self) -> Question:
        told = self.hear()
        assert isinstance(told, Question), told
        return told

    def settled(self) -> Settled:
        told = self.hear()
        assert isinstance(told, Settled), told
        return told

    def notice(self) -> Notice:
        told = self.hear()
        assert isinstance(told, Notice), told
        return told

    def answer(self, question: Question, answer: Answer) -> None:
        self._home.ask("bento.consent.Answer", argument=question.id, payload=encode_answer(answer))

    def allow(self, target: str = "work") -> Question:
        """The next question, answered."""
        question = self.question()
        self.answer(question, Yes(TargetName(target)))
        self.settled()
        return question

    def deny(self) -> Question:
        question = self.question()
        self.answer(question, No())
        self.settled()
        return question


@contextlib.contextmanager
def attending(home: Home) -> Iterator[Asker]:
    with home.send("bento.consent.Attend") as connection:
        asker = Asker(home, Listener(connection))
        assert asker.hear() == Attending()
        yield asker


def begin_call(home: Home, source: str, target: str, service: str) -> Leg:
    """A program in a pretended domain that calls `service` of `target`; its end is the leg's `outcome`."""
    program = ["env", f"PYTHONPATH={TREE / 'src'}", "/usr/bin/python3", "-S", "-m"]
    words = [*program, "bento.guest.commands.qrexec_client_vm", target, service]
    leg = home.call(source, f"qubes.VMExec+{encode_command([word.encode() for word in words])}")
    leg.give(b"")
    return leg
