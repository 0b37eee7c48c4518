"""What the manager asks the person, and what the person answers: the text of both.

An agent, which is a process of the person, attends with `bento.consent.Attend`
and is told the following as events of the Admin API (`wire/admin.py`), the
domain that it is about as the subject:

    attending                    from now on this agent is told
    question  id service argument requested user colour default seconds choice:TARGET...
    settled   id outcome         that question is no more, whoever answered it
    notice    colour sentence    something that the person wants to know of

A colour, also as the value of each choice, is LABEL #rrggbb.

At most one question is open at a time. It is answered with
`bento.consent.Answer+ID`; the payload is empty for no, else lines of
`target=`, `term=` (once, session, until) and for the last `seconds=`.

Everything is bounded and parsed at both ends. An argument is the calling
guest's word: plain letters, and up to 65,000 of them.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar, assert_never

from bento.wire.admin import Event
from bento.wire.errors import WireError
from bento.wire.names import (
    DomainName,
    LabelName,
    Name,
    ServiceArgument,
    ServiceName,
    TargetName,
    UserName,
    printable,
)

ARM_SECONDS = 0.5
"""No agent takes a key or a click for so long after a question appeared: it was meant for something else."""

MAX_ANSWER_SECONDS = 3600
"""Longest that a question may stay open."""

MAX_TERM_SECONDS = 366 * 86_400
"""Longest that one answer may go on to count."""

MAX_CHOICES = 4096
MAX_SENTENCE = 1000
MAX_ANSWER = 512
"""Bytes of an answer's payload."""

CHOICE = "choice:"

W = TypeVar("W", bound=StrEnum)


class QuestionId(Name):
    """Drawn by chance, so that an answer to an earlier manager's question never fits a later one's."""

    __slots__ = ()
    pattern = re.compile(r"[0-9a-f]{16}", re.ASCII)
    what = "the number of a question (16 hexadecimal digits)"


class Outcome(StrEnum):
    """How a question came to its end."""

    YES = "yes"
    NO = "no"
    LATE = "late"
    """Nobody answered in time, which is a no."""
    VAIN = "vain"
    """The call is gone, so there is nothing to answer."""


class Term(StrEnum):
    """For how long a yes counts."""

    ONCE = "once"
    SESSION = "session"
    """While the calling domain runs and the manager lives."""
    UNTIL = "until"


@dataclass(frozen=True, slots=True)
class Party:
    """A domain as a person tells it from others. `rgb` is 0xRRGGBB."""

    name: TargetName
    """A domain's name, or `@dispvm:BASE`: a new disposable of that base, in its colour."""
    label: LabelName
    rgb: int


@dataclass(frozen=True, slots=True)
class Attending:
    pass


@dataclass(frozen=True, slots=True)
class Question:
    """May `source` call `service` in one of `choices`? `default` is the one that the policy suggests."""

    id: QuestionId
    source: Party
    service: ServiceName
    argument: ServiceArgument
    requested: TargetName
    """What the caller named, which may be nothing."""
    user: str
    """The account in the target; empty for its default."""
    choices: tuple[Party, ...]
    default: TargetName | None
    seconds: int
    """Until it counts as denied."""


@dataclass(frozen=True, slots=True)
class Settled:
    id: QuestionId
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Notice:
    source: Party
    sentence: str


Told = Attending | Question | Settled | Notice
"""What an agent is told."""


@dataclass(frozen=True, slots=True)
class Yes:
    """`seconds` only with `Term.UNTIL`: from now on."""

    target: TargetName
    term: Term = Term.ONCE
    seconds: int = 0


@dataclass(frozen=True, slots=True)
class No:
    pass


Answer = Yes | No


# ---- to the agent --------------------------------------------------------------------------------


def encode_told(told: Told) -> Event:
    match told:
        case Attending():
            return Event("", "attending")
        case Question():
            choices = ((f"{CHOICE}{choice.name}", _colour(choice)) for choice in told.choices)
            details = {
                "id": told.id,
                "service": told.service,
                "argument": told.argument,
                "requested": told.requested,
                "user": told.user,
                "colour": _colour(told.source),
                "default": told.default or "",
                "seconds": str(told.seconds),
            }
            return Event(told.source.name, "question", (*details.items(), *choices))
        case Settled(number, outcome):
            return Event("", "settled", (("id", number), ("outcome", outcome)))
        case Notice(source, sentence):
            shown = "".join(c if c.isprintable() else "?" for c in sentence[:MAX_SENTENCE])
            return Event(source.name, "notice", (("colour", _colour(source)), ("sentence", shown)))
        case never:
            assert_never(never)


def parse_told(event: Event) -> Told:
    """What the manager says, or `WireError`."""
    details = dict(event.details)
    if len(details) != len(event.details):
        raise WireError(f"{printable(event.name)} says something twice")
    match event.name:
        case "attending":
            return Attending()
        case "question":
            return _question(event.subject, details)
        case "settled":
            return Settled(QuestionId.parse(_take(details, "id")), _word(Outcome, _take(details, "outcome")))
        case "notice":
            sentence = _take(details, "sentence")
            if len(sentence) > MAX_SENTENCE or not sentence.isprintable():
                raise WireError("the sentence of a notice is too long or does not print")
            return Notice(_party(DomainName.parse(event.subject), _take(details, "colour")), sentence)
        case other:
            raise WireError(f"{printable(other)} is nothing that an agent is told")


def _question(subject: str, details: dict[str, str]) -> Question:
    choices = tuple(
        _party(_target(key.removeprefix(CHOICE)), colour) for key, colour in details.items() if key.startswith(CHOICE)
    )
    if not 0 < len(choices) <= MAX_CHOICES:
        raise WireError(f"a question has from 1 to {MAX_CHOICES} choices, not {len(choices)}")
    default = _take(details, "default")
    if default and default not in {choice.name for choice in choices}:
        raise WireError("what a question suggests is none of its choices")
    user = _take(details, "user")
    return Question(
        QuestionId.parse(_take(details, "id")),
        _party(DomainName.parse(subject), _take(details, "colour")),
        ServiceName.parse(_take(details, "service")),
        ServiceArgument.parse(_take(details, "argument")),
        TargetName.parse(_take(details, "requested")),
        UserName.parse(user) if user else "",
        choices,
        TargetName(default) if default else None,
        _number(_take(details, "seconds"), MAX_ANSWER_SECONDS),
    )


def _take(details: dict[str, str], key: str) -> str:
    if key not in details:
        raise WireError(f"there is no {key}")
    return details[key]


def _colour(party: Party) -> str:
    return f"{party.label} #{party.rgb:06x}"


def _party(name: str, untrusted_colour: str) -> Party:
    label, _, rgb = untrusted_colour.partition(" ")
    if not re.fullmatch("#[0-9a-f]{6}", rgb):
        raise WireError(f"{printable(rgb)} is no colour")
    return Party(TargetName(name), LabelName.parse(label), int(rgb[1:], 16))


# ---- from the agent ------------------------------------------------------------------------------


def encode_answer(answer: Answer) -> str:
    match answer:
        case No():
            return ""
        case Yes(target, Term.UNTIL, seconds):
            return f"target={target}\nterm={Term.UNTIL}\nseconds={seconds}\n"
        case Yes(target, term):
            return f"target={target}\nterm={term}\n"
        case never:
            assert_never(never)


def parse_answer(untrusted: bytes) -> Answer:
    """What the person decided, or `WireError`."""
    if not untrusted:
        return No()
    if len(untrusted) > MAX_ANSWER:
        raise WireError(f"an answer has at most {MAX_ANSWER} bytes")
    pairs = [line.partition("=")[::2] for line in untrusted.decode(errors="replace").splitlines()]
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise WireError("an answer says something twice")
    target, term = _target(_take(fields, "target")), _word(Term, _take(fields, "term"))
    keys = {"target", "term", "seconds"} if term is Term.UNTIL else {"target", "term"}
    if fields.keys() != keys:
        raise WireError(f"an answer for {term} has {', '.join(sorted(keys))} and nothing else")
    return Yes(target, term, _number(fields["seconds"], MAX_TERM_SECONDS) if term is Term.UNTIL else 0)


def _target(untrusted: str) -> TargetName:
    if not untrusted:
        raise WireError("a choice has to have a name")
    return TargetName.parse(untrusted)


def _number(untrusted: str, limit: int) -> int:
    if not re.fullmatch("[0-9]{1,9}", untrusted) or not 0 < int(untrusted) <= limit:
        raise WireError(f"{printable(untrusted)} is no number of seconds from 1 to {limit}")
    return int(untrusted)


def _word(kind: type[W], untrusted: str) -> W:
    try:
        return kind(untrusted)
    except ValueError:
        raise WireError(f"{printable(untrusted)} is none of {', '.join(kind)}") from None
