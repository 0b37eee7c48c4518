"""The policy's language: the text of one file to its rules, or the place where it stops making sense.

    SERVICE|*  +ARG|*  SOURCE  TARGET  allow|ask|deny  [KEY=VALUE ...]

One rule a line; words are parted by white space; a line whose first character
is `#` is a comment. The syntax and its corners are those of the field's parser
(QubesOS core-qrexec, `qrexec/policy/parser.py`, 4.4). Bento is stricter in one
thing: a word that could never match anything (`$anyvm`, a pattern such as
`work-*`, a misspelt class) is malformed here, where the field would pass over it in silence.

A construct of the field that this version does not have is malformed as well,
and the sentence says so: to skip a line is to guess what its writer meant.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from bento.host.model.domain import ADMIN, DomainClass
from bento.host.policy.rules import (
    Action,
    Allow,
    AnyDomain,
    Ask,
    Both,
    Deny,
    Destination,
    DisposableOf,
    DisposableTagged,
    Everything,
    Identified,
    MadeFrom,
    MadeFromTagged,
    Named,
    NoTarget,
    OfClass,
    OwnDisposable,
    Rule,
    Source,
    Tagged,
    Target,
)
from bento.wire.errors import WireError
from bento.wire.names import DomainName, DomainUuid, ServiceArgument, ServiceName, Tag, UserName, printable

CLASSES = frozenset({*(klass.value for klass in DomainClass), "RemoteVM"})
"""The field's classes. Bento has no RemoteVM, but a rule about them is sound; it matches nobody."""

UNSUPPORTED_DIRECTIVES = frozenset({"!include", "!include-dir", "!include-service", "!compat-4.0"})

DOMAINS = "a domain's name, uuid:UUID, *, @anyvm, @adminvm, @tag:TAG, @type:CLASS, @dispvm:NAME, @dispvm:@tag:TAG"


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


def _source(word: _Word) -> Source:
    what = f"a source ({DOMAINS})"
    match word.text:
        case "@dispvm":
            raise word.expected(what)
        case text if text.startswith("@dispvm:@tag:"):
            return MadeFromTagged(_tag(word.after(13)))
        case text if text.startswith("@dispvm:"):
            return MadeFrom(_base(word.after(8)))
        case _:
            return _either(word, what)


def _target(word: _Word) -> Target:
    match word.text:
        case "@default":
            return NoTarget()
        case "@dispvm":
            return OwnDisposable()
        case text if text.startswith("@dispvm:@tag:"):
            return DisposableTagged(_tag(word.after(13)))
        case text if text.startswith("@dispvm:"):
            return DisposableOf(_base(word.after(8)))
        case _:
            return _either(word, f"a target ({DOMAINS}, @dispvm or @default)")


def _either(word: _Word, what: str) -> Both:
    """What means the same as a source and as a target."""
    match word.text:
        case "*":
            return Everything()
        case "@anyvm":
            return AnyDomain()
        case text if text.startswith("@tag:"):
            return Tagged(_tag(word.after(5)))
        case text if text.startswith("@type:"):
            return OfClass(_class(word.after(6)))
        case _:
            return _one(word, what)


def _tag(word: _Word) -> Tag:
    return _named(word, Tag.parse, "a tag after @tag:")


def _class(word: _Word) -> str:
    if word.text not in CLASSES:
        raise word.expected(f"one of {', '.join(sorted(CLASSES))} after @type:")
    return word.text


def _base(word: _Word) -> Named | Identified:
    return _one(word, "a domain's name, uuid:UUID or @tag:TAG after @dispvm:")


def _one(word: _Word, what: str) -> Named | Identified:
    match word.text:
        case "@adminvm":
            return Named(ADMIN)
        case text if text.startswith("uuid:"):
            return Identified(UUID(_named(word.after(5), DomainUuid.parse, "a UUID in small letters after uuid:")))
        case _:
            return Named(_named(word, DomainName.parse, what))


# ---- the action and its parameters ---------------------------------------------------------------

BOTH = ("target", "user", "notify", "autostart")


def _action(word: _Word, parameters: Sequence[_Word]) -> Action:
    match word.text:
        case "allow":
            given = _parameters(parameters, BOTH)
            return Allow(_destination(given, "target"), _user(given), *_choices(given))
        case "ask":
            given = _parameters(parameters, ("target", "default_target", *BOTH[1:]))
            where = _destination(given, "target"), _destination(given, "default_target")
            return Ask(*where, _user(given), *_choices(given))
        case "deny":
            given = _parameters(parameters, ("notify",))
            return Deny(notify=_yes(given, "notify", True))
        case _:
            raise word.expected("allow, ask or deny")


def _destination(given: Mapping[str, _Word], key: str) -> Destination | None:
    if (word := given.get(key)) is None:
        return None
    match word.text:
        case "@dispvm":
            return OwnDisposable()
        case text if text.startswith("@dispvm:"):
            return DisposableOf(_one(word.after(8), "a domain's name or uuid:UUID after @dispvm:"))
        case _:
            one = _one(word, "a domain's name, uuid:UUID, @adminvm, @dispvm or @dispvm:NAME")
            return one.name if isinstance(one, Named) else one


def _user(given: Mapping[str, _Word]) -> UserName | None:
    return _named(given["user"], UserName.parse, "a user's name") if "user" in given else None


def _choices(given: Mapping[str, _Word]) -> tuple[bool, bool]:
    """`notify` and `autostart` of a rule that lets a call through."""
    return _yes(given, "notify", False), _yes(given, "autostart", True)


def _yes(given: Mapping[str, _Word], key: str, otherwise: bool) -> bool:
    if (word := given.get(key)) is None:
        return otherwise
    if word.text not in ("yes", "no"):
        raise word.expected("yes or no")
    return word.text == "yes"


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
