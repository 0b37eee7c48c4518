"""One question and when it may be answered. No Qt here, and time comes from outside.

A key or a click counts only when the window has been in front for half a
second: until then it was meant for what was there before. Being sent to the
back and coming to the front again begins that anew.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from bento.wire.consent import ARM_SECONDS, Answer, No, Question, Term, Yes
from bento.wire.names import TargetName

SHOWN = 72
"""Characters of an argument that are shown unasked: both its ends."""


@dataclass(frozen=True, slots=True)
class Lasting:
    """For how long a yes may count; `seconds` only with `Term.UNTIL`."""

    text: str
    term: Term
    seconds: int = 0


def lastings(source: str) -> tuple[Lasting, ...]:
    return (
        Lasting("This once", Term.ONCE),
        Lasting(f"While {source} runs", Term.SESSION),
        Lasting("1 hour", Term.UNTIL, 3600),
        Lasting("8 hours", Term.UNTIL, 8 * 3600),
    )


class Prompt:
    def __init__(self, question: Question, clock: Callable[[], float]) -> None:
        """`clock`: seconds, never set back."""
        self.question = question
        self._clock = clock
        self._ends = clock() + question.seconds
        self._arms: float | None = None
        sole = question.choices[0].name if len(question.choices) == 1 else None
        self.target: TargetName | None = question.default or sole
        self.lasting = lastings(question.source.name)[0]

    def front(self, is_front: bool) -> None:
        """The window came to the front, or went from it."""
        if not is_front:
            self._arms = None
        elif self._arms is None:
            self._arms = self._clock() + ARM_SECONDS

    @property
    def armed(self) -> bool:
        return self._arms is not None and self._clock() >= self._arms

    @property
    def seconds_left(self) -> int:
        return max(0, math.ceil(self._ends - self._clock()))

    @property
    def share_left(self) -> float:
        """1.0 at the beginning, 0.0 at the end."""
        return min(1.0, max(0.0, (self._ends - self._clock()) / self.question.seconds))

    @property
    def late(self) -> bool:
        return self._clock() >= self._ends

    def deny(self) -> Answer | None:
        """The answer, if it may be given now."""
        return No() if self.armed else None

    def allow(self) -> Answer | None:
        """The same; none either as long as no target is chosen."""
        if not self.armed or self.target is None:
            return None
        return Yes(self.target, self.lasting.term, self.lasting.seconds)


def elided(argument: str) -> str:
    """Both ends of a long argument: what is at stake stands at its beginning as often as at its end."""
    if len(argument) <= SHOWN:
        return argument
    half = SHOWN // 2 - 2
    return f"{argument[:half]} ... {argument[-half:]}"


def breakable(text: str) -> str:
    """The same to look at, and a line may end after any character: a label cuts off what it cannot break, unmarked."""
    return "\u200b".join(text)
