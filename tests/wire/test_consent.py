"""Questions and answers as text: what is encoded is parsed, and nothing else is."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.wire.admin import Event, EventReader, encode_event
from bento.wire.consent import (
    MAX_ANSWER,
    MAX_ANSWER_SECONDS,
    MAX_CHOICES,
    MAX_SENTENCE,
    MAX_TERM_SECONDS,
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
    encode_answer,
    encode_told,
    parse_answer,
    parse_told,
)
from bento.wire.errors import WireError
from bento.wire.names import DomainName, LabelName, ServiceArgument, ServiceName, TargetName, UserName
from tests.wire.strategies import DOMAINS, SPELLING

IDS = st.from_regex("[0-9a-f]{16}", fullmatch=True).map(QuestionId)
TARGETS = DOMAINS.map(TargetName) | DOMAINS.map(lambda name: TargetName(f"@dispvm:{name}"))


def parties(names: st.SearchStrategy[TargetName]) -> st.SearchStrategy[Party]:
    return st.builds(Party, names, SPELLING[LabelName].map(LabelName), st.integers(0, 0xFFFFFF))


@st.composite
def questions(draw: st.DrawFn) -> Question:
    choices = draw(st.lists(parties(TARGETS), min_size=1, max_size=4, unique_by=lambda party: party.name))
    return Question(
        draw(IDS),
        draw(parties(DOMAINS.map(TargetName))),
        draw(SPELLING[ServiceName].map(ServiceName)),
        draw(SPELLING[ServiceArgument].map(ServiceArgument)),
        draw(TARGETS | st.just(TargetName(""))),
        draw(SPELLING[UserName] | st.just("")),
        tuple(choices),
        draw(st.none() | st.sampled_from([choice.name for choice in choices])),
        draw(st.integers(1, MAX_ANSWER_SECONDS)),
    )


PRINTED = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=20)
TOLD: st.SearchStrategy[Told] = st.one_of(
    st.just(Attending()),
    questions(),
    st.builds(Settled, IDS, st.sampled_from(Outcome)),
    st.builds(Notice, parties(DOMAINS.map(TargetName)), PRINTED),
)
ANSWERS: st.SearchStrategy[Answer] = st.one_of(
    st.just(No()),
    st.builds(Yes, TARGETS, st.sampled_from([Term.ONCE, Term.SESSION])),
    st.builds(Yes, TARGETS, st.just(Term.UNTIL), st.integers(1, MAX_TERM_SECONDS)),
)

RED = Party(TargetName("random"), LabelName("red"), 0xCC0000)
WORK = Party(TargetName("work"), LabelName("blue"), 0x3465A4)
QUESTION = Question(
    QuestionId("0123456789abcdef"),
    RED,
    ServiceName("qubes.Filecopy"),
    ServiceArgument("arg"),
    TargetName("@default"),
    "root",
    (WORK,),
    WORK.name,
    60,
)


@given(told=TOLD)
def test_what_an_agent_is_told_survives_the_way(told: Told) -> None:
    (event,) = EventReader().feed(encode_event(encode_told(told)))
    assert parse_told(event) == told


@given(answer=ANSWERS)
def test_an_answer_survives_the_way(answer: Answer) -> None:
    assert parse_answer(encode_answer(answer).encode()) == answer


@given(name=st.sampled_from(["question", "settled", "notice", "attending", "other"]), details=st.data())
def test_whatever_is_told_is_parsed_or_refused(name: str, details: st.DataObject) -> None:
    keys = st.sampled_from(["id", "outcome", "colour", "sentence", "choice:work", "service", "default"])
    pairs = details.draw(st.lists(st.tuples(keys, st.text(max_size=10)), max_size=8))
    try:
        parse_told(Event("work", name, tuple(pairs)))
    except WireError:
        pass


@given(untrusted=st.binary(max_size=80))
def test_whatever_is_answered_is_parsed_or_refused(untrusted: bytes) -> None:
    try:
        parse_answer(untrusted)
    except WireError:
        pass


def changed(key: str, value: str | None) -> Event:
    """A sound question, but for one of its details; None: without it."""
    event = encode_told(QUESTION)
    kept = [(one, old if one != key else value) for one, old in event.details]
    pairs = tuple((one, new) for one, new in kept if new is not None)
    return replace(event, details=pairs if key in dict(kept) or value is None else (*pairs, (key, value)))


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("id", "0123", "not the number of a question"),
        ("id", None, "there is no id"),
        ("service", "", "service name"),
        ("argument", "a b", "service argument"),
        ("requested", "@", "call target"),
        ("user", "Root", "user name"),
        ("default", "vault", "none of its choices"),
        ("seconds", "0", "no number of seconds"),
        ("seconds", "3601", "no number of seconds"),
        ("seconds", "\u0661", "no number of seconds"),
        ("seconds", "1" * 30, "no number of seconds"),
        ("colour", "red", "no colour"),
        ("colour", "red #CC0000", "no colour"),
        ("colour", "a/b #cc0000", "label"),
        ("choice:work", None, "from 1 to"),
        ("choice:", "red #cc0000", "has to have a name"),
        ("choice:a b", "red #cc0000", "call target"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(key: str, value: str | None, why: str) -> None:
    with pytest.raises(WireError, match=why):
        parse_told(changed(key, value))


def test_a_question_of_nobody_is_refused() -> None:
    with pytest.raises(WireError, match="domain name"):
        parse_told(replace(encode_told(QUESTION), subject=""))


def test_a_question_offers_no_more_than_a_person_could_have() -> None:
    many = tuple(Party(TargetName(f"b{number}"), LabelName("red"), 0) for number in range(MAX_CHOICES + 1))
    most = replace(QUESTION, choices=many[1:], default=None)
    assert parse_told(encode_told(most)) == most
    with pytest.raises(WireError, match="from 1 to"):
        parse_told(encode_told(replace(QUESTION, choices=many, default=None)))


@pytest.mark.parametrize(
    "event",
    [
        Event("", "surprise"),
        Event("", "settled", (("id", "0123456789abcdef"), ("outcome", "perhaps"))),
        Event("", "settled", (("id", "0123456789abcdef"), ("id", "0123456789abcdef"), ("outcome", "no"))),
        Event("work", "notice", (("colour", "red #cc0000"), ("sentence", "x" * (MAX_SENTENCE + 1)))),
        Event("work", "notice", (("colour", "red #cc0000"), ("sentence", "\x1b[2J"))),
    ],
)
def test_what_nobody_tells_an_agent_is_refused(event: Event) -> None:
    with pytest.raises(WireError):
        parse_told(event)


def test_a_notice_is_cut_and_made_to_print() -> None:
    told = parse_told(encode_told(Notice(RED, "\x1b" + "x" * 2000)))
    assert told == Notice(RED, "?" + "x" * (MAX_SENTENCE - 1))


@pytest.mark.parametrize(
    "untrusted",
    [
        b"target=work",
        b"term=once",
        b"target=\nterm=once",
        b"target=a b\nterm=once",
        b"target=work\nterm=ever",
        b"target=work\nterm=until",
        b"target=work\nterm=once\nseconds=5",
        b"target=work\nterm=until\nseconds=0",
        b"target=work\nterm=until\nseconds=-5",
        b"target=work\nterm=until\nseconds=31622401",
        b"target=work\ntarget=vault\nterm=once",
        b"target=work\nterm=once\nmore=1",
        b"\xff",
        b"\n" * (MAX_ANSWER + 1),
    ],
)
def test_an_answer_that_makes_no_sense_is_refused(untrusted: bytes) -> None:
    with pytest.raises(WireError):
        parse_answer(untrusted)


def test_a_choice_may_be_a_new_disposable() -> None:
    choice = Party(TargetName("@dispvm:debian-12-dvm"), LabelName("red"), 0xCC0000)
    question = replace(QUESTION, choices=(choice,), default=choice.name)
    assert parse_told(encode_told(question)) == question
    assert parse_answer(b"target=@dispvm:debian-12-dvm\nterm=once\n") == Yes(choice.name)
    assert DomainName(QUESTION.source.name) == "random"
