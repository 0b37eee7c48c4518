"""`bento agent`: the person is asked, here on this terminal, or in a window with `--desktop`.

What was typed before the line to answer on appeared was meant for something
else: it is thrown away, and that line appears half a second after the question.
"""

import argparse
import os
import select
import sys
import termios
import time
from typing import assert_never

from bento.cli import question as questions
from bento.cli.connect import listens
from bento.cli.exits import Code, Failed
from bento.cli.harmless import harmless
from bento.cli.launch import environment
from bento.cli.manager import Listener, Manager, request
from bento.cli.render import Paint, say
from bento.wire.admin import Event
from bento.wire.consent import (
    ARM_SECONDS,
    Answer,
    Attending,
    No,
    Notice,
    Outcome,
    Question,
    Settled,
    encode_answer,
    parse_told,
)
from bento.wire.errors import WireError

LOOK_AGAIN = 1.0
"""Seconds between two looks for a manager, while there is none."""

PROMPT = "Your answer: "

ENDED = {
    Outcome.YES: "allowed",
    Outcome.NO: "denied",
    Outcome.LATE: "denied, since nobody answered in time",
    Outcome.VAIN: "not asked any more: the call is gone",
}


def declare_agent(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Be asked about calls where the policy says ask, on this terminal, until Ctrl-C. "
        "Without any agent such calls are denied."
    )
    parser.add_argument("--desktop", action="store_true", help="be asked in a window of the desktop instead")


def agent(words: argparse.Namespace, manager: Manager) -> int:
    if words.desktop:
        return _become_desktop(manager)
    if not (os.isatty(0) and os.isatty(1)):
        raise Failed(
            "'bento agent' asks you on a terminal, and this is none; 'bento agent --desktop' asks in a window",
            Code.BAD_INPUT,
        )
    while True:
        with manager.listen(request("bento.consent.Attend")) as listener:
            Attendance(manager, listener).last()
        say("the manager has ended; waiting for the next one")
        while not listens(manager.home):
            time.sleep(LOOK_AGAIN)


def _become_desktop(manager: Manager) -> int:
    """The window is another room's: this process becomes it, once there is a manager."""
    manager.ask(request("bento.manager.Status"))
    isolated = bool(sys.flags.isolated)
    command = [sys.executable, "-I" if isolated else "-P", "-m", "bento.desktop"]
    os.execve(command[0], command, environment(isolated=isolated))


class Attendance:
    """One connection to one manager, and the question that is open, if any."""

    def __init__(self, manager: Manager, listener: Listener) -> None:
        self._manager = manager
        self._listener = listener
        self._question: Question | None = None
        self._armed = False
        self._arms_at = 0.0

    def last(self) -> None:
        """Until the manager ends. Ctrl-C says no to what is open, and goes on as such."""
        try:
            while self._turn():
                pass
        except KeyboardInterrupt:
            if self._question:
                self._send(self._question, No())
            print()
            raise

    def _turn(self) -> bool:
        files: list[Listener | int] = [self._listener]
        timeout = None
        if self._question and self._armed:
            files.append(0)
        elif self._question:
            timeout = max(0.0, self._arms_at - time.monotonic())
        ready, _, _ = select.select(files, [], [], timeout)
        if self._listener in ready:
            try:
                events = self._listener.take()
            except Failed as failed:
                if failed.fault:
                    raise
                self._close("not asked any more: the manager has ended")
                return False
            for event in events or ():
                self._hear(event)
        elif 0 in ready:
            self._read()
        elif self._question and time.monotonic() >= self._arms_at:
            self._arm()
        return True

    def _hear(self, event: Event) -> None:
        try:
            told = parse_told(event)
        except WireError as error:
            raise Failed(f"the manager says what makes no sense: {error}", Code.OUTSIDE) from None
        match told:
            case Attending():
                say("you are asked here from now on; Ctrl-C ends that")
            case Question():
                self._open(told)
            case Settled(number, outcome) if self._question and self._question.id == number:
                self._close(ENDED[outcome])
            case Settled():
                pass  # it was answered here, or before this agent came
            case Notice(source, sentence):
                self._print("", f"{source.name}: {sentence}")
                self._prompt()
            case never:
                assert_never(never)

    def _open(self, question: Question) -> None:
        self._question, self._armed = question, False
        self._arms_at = time.monotonic() + ARM_SECONDS
        self._print(*questions.lines(question, Paint()))

    def _arm(self) -> None:
        termios.tcflush(0, termios.TCIFLUSH)
        self._armed = True
        self._prompt()

    def _prompt(self) -> None:
        if self._armed:
            print(PROMPT, end="", flush=True)

    def _read(self) -> None:
        assert self._question
        line = os.read(0, 4096).decode(errors="replace")
        if line.strip() == questions.WHOLE:
            self._print(self._question.argument)
            self._prompt()
            return
        match questions.parse(line, self._question):
            case str(sentence):
                self._print(harmless(sentence))
                self._prompt()
            case answer:
                self._send(self._question, answer)

    def _send(self, question: Question, answer: Answer) -> None:
        """What became of it comes as `settled`."""
        self._armed = False
        try:
            self._manager.ask(request("bento.consent.Answer", argument=question.id, payload=encode_answer(answer)))
        except Failed as failed:
            if failed.code is not Code.WRONG_STATE:
                raise
            self._close(failed.sentence)

    def _close(self, why: str) -> None:
        if self._question:
            self._print("" if self._armed else None, f"({why})")
        self._question, self._armed = None, False

    def _print(self, *lines: str | None) -> None:
        for line in lines:
            if line is not None:
                print(line, flush=True)
