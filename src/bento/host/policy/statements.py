"""Statements that have to hold whatever the policy says: the text of their file to values.

    never reach from SOURCE to TARGET [through SERVICE] [within N hops] [without asking]
    never allow CALL from SOURCE [to TARGET]
    always ask for CALL from SOURCE [to TARGET]
    always allow CALL from SOURCE to TARGET

One statement a line; a line whose first character is `#` is a comment. CALL is `*`,
SERVICE or SERVICE+ARGUMENT. SOURCE and TARGET are both spelled as the policy
spells a source. The host is never a SOURCE: it commands everybody.
What statements mean is in `invariant.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from bento.host.model.domain import ADMIN, ADMIN_UUID
from bento.host.policy.grammar import Word, decoded, lines, lines_of_words, named, parse_source
from bento.host.policy.rules import Everything, Identified, Named, Source
from bento.wire.names import ServiceArgument, ServiceName


@dataclass(frozen=True, slots=True)
class NeverReach:
    """No path leads from `source` to `target`. `through`: no path of calls of this service alone.

    `hops`: no path of at most so many. `unasked`: no path on which the person is never asked.
    """

    source: Source
    target: Source
    through: ServiceName | None = None
    hops: int | None = None
    unasked: bool = False


class Verdict(Enum):
    """What must become of calls."""

    NEVER_ALLOW = "never allow"
    """Neither with nor without asking."""
    ALWAYS_ASK = "always ask for"
    """Or deny."""
    ALWAYS_ALLOW = "always allow"
    """There is a target that the caller can name for it to get there without asking."""


@dataclass(frozen=True, slots=True)
class EveryCall:
    """`service` None: any; `argument` None: any."""

    verdict: Verdict
    service: ServiceName | None
    argument: ServiceArgument | None
    source: Source
    target: Source


@dataclass(frozen=True, slots=True)
class Statement:
    """`line` counts from 1."""

    file: str
    line: int
    text: str
    meaning: NeverReach | EveryCall

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"


def parse(file: str, content: bytes) -> tuple[Statement, ...]:
    """The statements, one a line; raises PolicyError at the first fault. `file` is the file's name, for messages."""
    return tuple(
        Statement(file, end.line, " ".join(word.text for word in words), _Line(words, end).meaning())
        for words, end in lines_of_words(file, lines(decoded(file, content)))
    )


class _Line:
    """The words of one statement, taken one after the other."""

    def __init__(self, words: Sequence[Word], end: Word) -> None:
        self._rest = iter(words)
        self._end = end
        self._next = next(self._rest, end)

    def meaning(self) -> NeverReach | EveryCall:
        if self._one_of("never", "always") == "never":
            reach = self._one_of("reach", "allow") == "reach"
            meaning = self._never_reach() if reach else self._every_call(Verdict.NEVER_ALLOW)
        elif self._one_of("ask", "allow") == "allow":
            meaning = self._every_call(Verdict.ALWAYS_ALLOW)
        else:
            self._one_of("for")
            meaning = self._every_call(Verdict.ALWAYS_ASK)
        if self._next is not self._end:
            raise self._next.expected("the end of the line (a # comment needs a line of its own)")
        return meaning

    def _never_reach(self) -> NeverReach:
        source, target = self._source(), self._target()
        through = named(self._word(), ServiceName.parse, "a service's name") if self._is("through") else None
        hops = self._hops() if self._is("within") else None
        unasked = self._is("without")
        if unasked:
            self._one_of("asking")
        return NeverReach(source, target, through, hops, unasked)

    def _every_call(self, verdict: Verdict) -> EveryCall:
        service, argument = self._call()
        source = self._source()
        needs_target = verdict is Verdict.ALWAYS_ALLOW or self._next.text == "to"
        return EveryCall(verdict, service, argument, source, self._target() if needs_target else Everything())

    def _call(self) -> tuple[ServiceName | None, ServiceArgument | None]:
        word = self._word()
        if word.text == "*":
            return None, None
        name, plus, _ = word.text.partition("+")
        service = named(replace(word, text=name), ServiceName.parse, "*, SERVICE or SERVICE+ARGUMENT")
        what = "letters, digits, or any of _ . + - after the +"
        return service, named(word.after(len(name) + 1), ServiceArgument.parse, what) if plus else None

    def _source(self) -> Source:
        self._one_of("from")
        word = self._word()
        selector = parse_source(word)
        if selector in (Named(ADMIN), Identified(ADMIN_UUID)):
            raise word.wrong("expected somebody else, for the host commands every domain")
        return selector

    def _target(self) -> Source:
        self._one_of("to")
        return parse_source(self._word())

    def _hops(self) -> int:
        word = self._word()
        if not (word.text.isascii() and word.text.isdecimal() and 0 < len(word.text) < 5 and int(word.text)):
            raise word.expected("a number of hops from 1")
        self._one_of("hop", "hops")
        return int(word.text)

    def _is(self, text: str) -> bool:
        """Take the next word if it is this one."""
        return self._next.text == text and bool(self._word())

    def _one_of(self, *texts: str) -> str:
        word = self._word()
        if word.text not in texts:
            raise word.expected(" or ".join(texts))
        return word.text

    def _word(self) -> Word:
        word, self._next = self._next, next(self._rest, self._end)
        return word
