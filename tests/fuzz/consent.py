"""Questions to the person and their answers: what a manager tells an agent, and what an agent answers."""

from collections.abc import Hashable

from bento.wire.admin import EventReader, encode_event
from bento.wire.consent import (
    Attending,
    Notice,
    Outcome,
    Party,
    Question,
    QuestionId,
    Settled,
    Told,
    Yes,
    encode_answer,
    encode_told,
    parse_answer,
    parse_told,
)
from bento.wire.names import LabelName, ServiceArgument, ServiceName, TargetName
from tests.fuzz.engine import Target, main

RED = Party(TargetName("random"), LabelName("red"), 0xCC0000)
NEW = Party(TargetName("@dispvm:work"), LabelName("blue"), 0x3465A4)
NUMBER = QuestionId("0123456789abcdef")
QUESTION = Question(
    NUMBER, RED, ServiceName("my.Note"), ServiceArgument("a+b"), TargetName(""), "root", (RED, NEW), NEW.name, 60
)
TOLD: tuple[Told, ...] = (Attending(), QUESTION, Settled(NUMBER, Outcome.LATE), Notice(RED, "it was denied by a:1"))


def told(data: bytes) -> Hashable:
    found = [parse_told(event) for event in EventReader().feed(data)]
    for one in found:
        assert parse_told(encode_told(one)) == one
    return tuple(
        (type(one).__name__, len(one.choices), one.default is None) if isinstance(one, Question) else type(one).__name__
        for one in found[:2]
    )


def answer(data: bytes) -> Hashable:
    found = parse_answer(data)
    assert parse_answer(encode_answer(found).encode()) == found
    return (found.term, found.seconds > 60) if isinstance(found, Yes) else None


def check(data: bytes) -> Hashable:
    """The first byte says what the rest is to be read as."""
    return answer(data[1:]) if data[:1] == b"a" else told(data[1:])


TARGET = Target(
    check,
    seeds=(
        *(b"t" + encode_event(encode_told(one)) for one in TOLD),
        b"t" + b"".join(encode_event(encode_told(one)) for one in TOLD),
        b"a",
        b"atarget=work\nterm=once\n",
        b"atarget=@dispvm:work\nterm=session\n",
        b"atarget=work\nterm=until\nseconds=3600\n",
    ),
    words=(b"\0", b"choice:", b"colour", b"red #cc0000", b"term=until\n", b"seconds=1\n", b"default", b"\n", b"="),
)

if __name__ == "__main__":
    main("tests.fuzz.consent", TARGET)
