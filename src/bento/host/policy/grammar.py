"""The policy's language: the text of one file to its statements, or the place where it stops making sense.

    SERVICE|*  +ARG|*  SOURCE  TARGET  allow|ask|deny  [KEY=VALUE ...]
    !include FILE
    !include-dir DIRECTORY
    !include-service SERVICE|*  +ARG|*  FILE
    !compat-4.0

One statement a line; words are parted by white space; a line whose first
character is `#` is a comment. What `!include-service` names is in the old syntax
(`parse_old`): no service and argument, `$` as good as `@`, commas as good as
spaces. The syntax and its corners are those of the field's parser (QubesOS
core-qrexec, `qrexec/policy/parser.py`, 4.4). Bento is stricter in one thing: a
word that could never match anything (`$anyvm`, a pattern such as `work-*`, a
misspelt class) is malformed here, where the field would pass over it in silence.

Other files are not looked at here; `includes.py` does that.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from bento.host.model.domain import ADMIN, ADMIN_UUID, DomainClass
from bento.host.model.fault import Fault, Malformed
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

DOMAINS = "a domain's name, uuid:UUID, *, @anyvm, @adminvm, @tag:TAG, @type:CLASS, @dispvm:NAME, @dispvm:@tag:TAG"

BASE = "a domain's name, uuid:UUID or @tag:TAG after @dispvm:"


class PolicyError(Malformed):
    """A policy file, or one of statements about policies, is malformed."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word and its place; empty: the end of a line, where a word was expected."""

    file: str
    line: int
    column: int
    text: str

    def after(self, count: int) -> "Word":
        """The word without its first `count` characters."""
        return Word(self.file, self.line, self.column + count, self.text[count:])

    def expected(self, what: str) -> PolicyError:
        found = printable(self.text) if self.text else "nothing"
        return self.wrong(f"expected {what}, found {found}")

    def wrong(self, problem: str) -> PolicyError:
        return PolicyError(Fault(self.file, self.line, self.column, problem))


@dataclass(frozen=True, slots=True)
class Include:
    """`!include FILE`. A path is as it was written; so in the others."""

    path: Word


@dataclass(frozen=True, slots=True)
class IncludeDirectory:
    path: Word


@dataclass(frozen=True, slots=True)
class IncludeService:
    """`!include-service`, or `!include` where the old syntax is spoken already."""

    service: ServiceName | None
    argument: ServiceArgument | None
    path: Word


@dataclass(frozen=True, slots=True)
class Compat40:
    """`!compat-4.0`: the files of the old policy, one a service."""

    directive: Word


Statement = Rule | Include | IncludeDirectory | IncludeService | Compat40


def parse(file: str, text: str) -> tuple[Statement, ...]:
    """The statements of `text`, in order; `file` is its name, for messages. Raises PolicyError at the first fault."""
    return tuple(
        _directive(words, end) if words[0].text.startswith("!") else _rule(words, end)
        for words, end in lines_of_words(file, lines(text))
    )


def parse_old(
    file: str, text: str, service: ServiceName | None, argument: ServiceArgument | None
) -> tuple[Rule | IncludeService, ...]:
    """The same of a file in the old syntax, which says what it says about this service and argument."""
    return tuple(
        _old_directive(service, argument, words, end)
        if words[0].text.startswith("!")
        else _columns(service, argument, words, end)
        for words, end in lines_of_words(file, map(_renewed, lines(text)))
    )


def _renewed(line: str) -> str:
    """A line of the old syntax in the new one's words, each at the same column."""
    if line.lstrip().startswith("#"):
        return line
    return line.replace("$include:", "!include ").replace("$", "@").replace(",", " ")


def decoded(file: str, content: bytes) -> str:
    """The text of a file; raises PolicyError where it is none."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        *above, broken = lines(content[: error.start].decode("utf-8"))
        raise PolicyError(Fault(file, len(above) + 1, len(broken) + 1, "expected text in UTF-8")) from None


def lines(text: str) -> list[str]:
    """As a text editor counts them. Not `splitlines`: U+2028 within a comment must not begin a rule."""
    return re.split("\r\n|\r|\n", text)


# ---- words ---------------------------------------------------------------------------------------


def lines_of_words(file: str, of: Iterable[str]) -> Iterator[tuple[list[Word], Word]]:
    """The words of each line that is neither blank nor a comment, and its end."""
    for number, line in enumerate(of, start=1):
        words = [Word(file, number, found.start() + 1, found.group()) for found in re.finditer(r"\S+", line)]
        if words and not words[0].text.startswith("#"):
            yield words, Word(file, number, len(line) + 1, "")


def _only(words: Sequence[Word], end: Word, *what: str) -> Sequence[Word]:
    """The words, one for each `what`."""
    if len(words) < len(what):
        raise end.expected(what[len(words)])
    if len(words) > len(what):
        raise words[len(what)].expected("the end of the line")
    return words


T = TypeVar("T")


def named(word: Word, parser: Callable[[str], T], what: str) -> T:
    try:
        return parser(word.text)
    except WireError:
        raise word.expected(what) from None


# ---- the columns ---------------------------------------------------------------------------------


def _rule(words: Sequence[Word], end: Word) -> Rule:
    service_word, argument_word = (*words, end, end)[:2]
    service = _service(service_word)
    return _columns(service, _argument(argument_word, service), words[2:], end)


def _columns(service: ServiceName | None, argument: ServiceArgument | None, words: Sequence[Word], end: Word) -> Rule:
    source_word, target_word, action_word = (*words, end, end, end)[:3]
    source = parse_source(source_word)
    target = _target(target_word)
    action = _action(action_word, words[3:])
    if target == NoTarget() and isinstance(action, Allow) and action.target is None:
        raise end.expected("target=DOMAIN, for @default says not where an allowed call goes")
    return Rule(service, argument, source, target, action, end.file, end.line)


def _directive(words: Sequence[Word], end: Word) -> Statement:
    directive, given = words[0], words[1:]
    match directive.text:
        case "!include":
            return Include(*_only(given, end, "the path of a file"))
        case "!include-dir":
            return IncludeDirectory(*_only(given, end, "the path of a directory"))
        case "!include-service":
            service_word, argument_word, path = _only(given, end, "a service", "an argument", "the path of a file")
            service = _service(service_word)
            return IncludeService(service, _argument(argument_word, service), path)
        case "!compat-4.0":
            _only(given, end)
            return Compat40(directive)
        case _:
            raise directive.expected("a rule, !include, !include-dir, !include-service, !compat-4.0 or a # comment")


def _old_directive(
    service: ServiceName | None, argument: ServiceArgument | None, words: Sequence[Word], end: Word
) -> IncludeService:
    if words[0].text != "!include":
        raise words[0].expected("a rule, !include (the one directive of the old syntax) or a # comment")
    return IncludeService(service, argument, *_only(words[1:], end, "the path of a file"))


def _service(word: Word) -> ServiceName | None:
    return None if word.text == "*" else named(word, ServiceName.parse, "a service's name or *")


def _argument(word: Word, service: ServiceName | None) -> ServiceArgument | None:
    if word.text == "*":
        return None
    if service is None:
        raise word.expected("*, the only argument that goes with the service *")
    if not word.text.startswith("+"):
        raise word.expected("+ARGUMENT (a bare + for an empty one) or *")
    return named(word.after(1), ServiceArgument.parse, "letters, digits, or any of _ . + - after the +")


def parse_source(word: Word) -> Source:
    what = f"a source ({DOMAINS})"
    match word.text:
        case "@dispvm":
            raise word.expected(what)
        case text if text.startswith("@dispvm:@tag:"):
            return MadeFromTagged(_tag(word.after(13)))
        case text if text.startswith("@dispvm:"):
            return MadeFrom(_base(word.after(8), BASE))
        case _:
            return _either(word, what)


def _target(word: Word) -> Target:
    match word.text:
        case "@default":
            return NoTarget()
        case "@dispvm":
            return OwnDisposable()
        case text if text.startswith("@dispvm:@tag:"):
            return DisposableTagged(_tag(word.after(13)))
        case text if text.startswith("@dispvm:"):
            return DisposableOf(_base(word.after(8), BASE))
        case _:
            return _either(word, f"a target ({DOMAINS}, @dispvm or @default)")


def _either(word: Word, what: str) -> Both:
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


def _tag(word: Word) -> Tag:
    return named(word, Tag.parse, "a tag after @tag:")


def _class(word: Word) -> str:
    if word.text not in CLASSES:
        raise word.expected(f"one of {', '.join(sorted(CLASSES))} after @type:")
    return word.text


def _base(word: Word, what: str) -> Named | Identified:
    """What disposables are made from; that is never the admin domain."""
    base = _one(word, what)
    if base in (Named(ADMIN), Identified(ADMIN_UUID)):
        raise word.expected(what)
    return base


def _one(word: Word, what: str) -> Named | Identified:
    match word.text:
        case "@adminvm":
            return Named(ADMIN)
        case text if text.startswith("uuid:"):
            return Identified(UUID(named(word.after(5), DomainUuid.parse, "a UUID in small letters after uuid:")))
        case _:
            return Named(named(word, DomainName.parse, what))


# ---- the action and its parameters ---------------------------------------------------------------

BOTH = ("target", "user", "notify", "autostart")


def _action(word: Word, parameters: Sequence[Word]) -> Action:
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


def _destination(given: Mapping[str, Word], key: str) -> Destination | None:
    if (word := given.get(key)) is None:
        return None
    match word.text:
        case "@dispvm":
            return OwnDisposable()
        case text if text.startswith("@dispvm:"):
            return DisposableOf(_base(word.after(8), "a domain's name or uuid:UUID after @dispvm:"))
        case _:
            one = _one(word, "a domain's name, uuid:UUID, @adminvm, @dispvm or @dispvm:NAME")
            return one.name if isinstance(one, Named) else one


def _user(given: Mapping[str, Word]) -> UserName | None:
    if "user" not in given or given["user"].text == "DEFAULT":  # the field's word for what is meant without it
        return None
    return named(given["user"], UserName.parse, "a user's name")


def _choices(given: Mapping[str, Word]) -> tuple[bool, bool]:
    """`notify` and `autostart` of a rule that lets a call through."""
    return _yes(given, "notify", False), _yes(given, "autostart", True)


def _yes(given: Mapping[str, Word], key: str, otherwise: bool) -> bool:
    if (word := given.get(key)) is None:
        return otherwise
    if word.text not in ("yes", "no"):
        raise word.expected("yes or no")
    return word.text == "yes"


def _parameters(words: Sequence[Word], known: tuple[str, ...]) -> dict[str, Word]:
    """Each parameter's value by its key. A value may be empty here; its own parser will say no."""
    given: dict[str, Word] = {}
    for word in words:
        key, equals, _ = word.text.partition("=")
        if not equals or key not in known:
            keys = " or ".join(f"{name}=" for name in known)
            raise word.expected(f"{keys} or the end of the line (a # comment needs a line of its own)")
        if key in given:
            raise word.wrong(f"{key}= is given twice")
        given[key] = word.after(len(key) + 1)
    return given
