"""The policy's language: the text of one file to its rules, or the place where it stops making sense.

    SERVICE|*  +ARG|*  SOURCE  TARGET  allow|deny  [KEY=VALUE ...]

One rule a line; words are parted by white space; a line whose first character
is `#` is a comment. The syntax and its corners are those of the field's parser
(QubesOS core-qrexec, `qrexec/policy/parser.py`, 4.4). Bento is stricter in one
thing: a word that could never match anything (`$anyvm`, a pattern such as
`work-*`, a misspelt class) is malformed here, where the field would pass over it in silence.

A construct of the field that this version does not have is malformed as well,
and the sentence says so: to skip a line is to guess what its writer meant.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from bento.host.model.domain import ADMIN, DomainClass
from bento.host.policy.rules import (
    Action,
    Allow,
    AnyDomain,
    Deny,
    Everything,
    Named,
    NoTarget,
    OfClass,
    Rule,
    Source,
    Tagged,
    Target,
)
from bento.wire.errors import WireError
from bento.wire.names import DomainName, ServiceArgument, ServiceName, Tag, UserName, printable

CLASSES = frozenset({*(klass.value for klass in DomainClass), "RemoteVM"})
"""The field's classes. Bento has no RemoteVM, but a rule about them is sound; it matches nobody."""

UNSUPPORTED_DIRECTIVES = frozenset({"!include", "!include-dir", "!include-service", "!compat-4.0"})

DOMAINS = "a domain's name, *, @anyvm, @adminvm, @tag:TAG, @type:CLASS"


@dataclass(frozen=True, slots=True)
class Fault:
    """Where a policy stops making sense, and why. `line` and `column` count from 1; 0 means the file as a whole.

    `file` and `problem` are safe to print.
    """

    file: str
    line: int
    column: int
    problem: str

    def __str__(self) -> str:
        place = f":{self.line}:{self.column}" if self.line else ""
        return f"{self.file}{place}: {self.problem}"


class PolicyError(Exception):
    """A policy file is malformed. The text names file, line, column and what was expected."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


def parse(file: str, text: str) -> tuple[Rule, ...]:
    """The rules of `text`, in order; `file` is its name, for messages. Raises PolicyError at the first fault."""
    return tuple(
        _rule(words, _Word(file, number, len(line) + 1, ""))
        for number, line in enumerate(lines(text), start=1)
        if (words := _words(file, number, line)) and not words[0].text.startswith("#")
    )


def lines(text: str) -> list[str]:
    """As a text editor counts them. Not `splitlines`: U+2028 within a comment must not begin a rule."""
    return re.split("\r\n|\r|\n", text)


# ---- words: every piece of text knows its place --------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Word:
    """A word, or (empty) the end of a line, where a word was expected."""

    file: str
    line: int
    column: int
    text: str

    def after(self, count: int) -> "_Word":
        """The word without its first `count` characters."""
        return _Word(self.file, self.line, self.column + count, self.text[count:])

    def expected(self, what: str) -> PolicyError:
        found = printable(self.text) if self.text else "nothing"
        return self.wrong(f"expected {what}, found {found}")

    def unsupported(self) -> PolicyError:
        return self.wrong(f"{printable(self.text)} isn't supported by this version of Bento")

    def wrong(self, problem: str) -> PolicyError:
        return PolicyError(Fault(self.file, self.line, self.column, problem))


def _words(file: str, number: int, line: str) -> list[_Word]:
    return [_Word(file, number, found.start() + 1, found.group()) for found in re.finditer(r"\S+", line)]


T = TypeVar("T")


def _named(word: _Word, parser: Callable[[str], T], what: str) -> T:
    try:
        return parser(word.text)
    except WireError:
        raise word.expected(what) from None


# ---- the columns ---------------------------------------------------------------------------------


def _rule(words: Sequence[_Word], end: _Word) -> Rule:
    if words[0].text.startswith("!"):
        raise _directive(words[0])
    service_word, argument_word, source_word, target_word, action_word = (*words, *[end] * 5)[:5]
    service = _service(service_word)
    argument = _argument(argument_word, service)
    source = _source(source_word)
    target = _target(target_word)
    action = _action(action_word, words[5:])
    if target == NoTarget() and isinstance(action, Allow) and action.target is None:
        raise end.expected("target=DOMAIN, for @default says not where an allowed call goes")
    return Rule(service, argument, source, target, action, end.file, end.line)


def _directive(word: _Word) -> PolicyError:
    return word.unsupported() if word.text in UNSUPPORTED_DIRECTIVES else word.expected("a rule or a # comment")


def _service(word: _Word) -> ServiceName | None:
    return None if word.text == "*" else _named(word, ServiceName.parse, "a service's name or *")


def _argument(word: _Word, service: ServiceName | None) -> ServiceArgument | None:
    if word.text == "*":
        return None
    if service is None:
        raise word.expected("*, the only argument that goes with the service *")
    if not word.text.startswith("+"):
        raise word.expected("+ARGUMENT (a bare + for an empty one) or *")
    return _named(word.after(1), ServiceArgument.parse, "letters, digits, or any of _ . + - after the +")


def _target(word: _Word) -> Target:
    return NoTarget() if word.text == "@default" else _selector(word, f"a target ({DOMAINS} or @default)")


def _source(word: _Word) -> Source:
    return _selector(word, f"a source ({DOMAINS})")


def _selector(word: _Word, what: str) -> Source:
    match word.text:
        case "*":
            return Everything()
        case "@anyvm":
            return AnyDomain()
        case text if text.startswith("@tag:"):
            return Tagged(_named(word.after(5), Tag.parse, "a tag after @tag:"))
        case text if text.startswith("@type:"):
            return OfClass(_class(word.after(6)))
        case _:
            return Named(_domain(word, what))


def _class(word: _Word) -> str:
    if word.text not in CLASSES:
        raise word.expected(f"one of {', '.join(sorted(CLASSES))} after @type:")
    return word.text


def _domain(word: _Word, what: str) -> DomainName:
    if word.text == "@adminvm":
        return ADMIN
    if word.text == "@dispvm" or word.text.startswith(("@dispvm:", "uuid:")):
        raise word.unsupported()
    return _named(word, DomainName.parse, what)


# ---- the action and its parameters ---------------------------------------------------------------


def _action(word: _Word, parameters: Sequence[_Word]) -> Action:
    match word.text:
        case "allow":
            return _allow(_parameters(parameters, ("target", "user", "notify", "autostart")))
        case "deny":
            given = _parameters(parameters, ("notify",))
            return Deny(notify=_yes(given["notify"])) if "notify" in given else Deny()
        case "ask":
            raise word.unsupported()
        case _:
            raise word.expected("allow or deny")


def _allow(given: dict[str, _Word]) -> Allow:
    target, user, notify, autostart = (given.get(key) for key in ("target", "user", "notify", "autostart"))
    return Allow(
        target=None if target is None else _domain(target, "a domain's name or @adminvm"),
        user=None if user is None else _named(user, UserName.parse, "a user's name"),
        notify=notify is not None and _yes(notify),
        autostart=autostart is None or _yes(autostart),
    )


def _parameters(words: Sequence[_Word], known: tuple[str, ...]) -> dict[str, _Word]:
    """Each parameter's value by its key. A value may be empty here; its own parser will say no."""
    given: dict[str, _Word] = {}
    for word in words:
        key, equals, _ = word.text.partition("=")
        if not equals or key not in known:
            keys = " or ".join(f"{name}=" for name in known)
            raise word.expected(f"{keys} or the end of the line (a # comment needs a line of its own)")
        if key in given:
            raise word.wrong(f"{key}= is given twice")
        given[key] = word.after(len(key) + 1)
    return given


def _yes(word: _Word) -> bool:
    if word.text not in ("yes", "no"):
        raise word.expected("yes or no")
    return word.text == "yes"
