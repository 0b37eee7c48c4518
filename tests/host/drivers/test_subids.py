"""subuid(5) as the system writes it, and as somebody may have spoiled it."""

from hypothesis import given
from hypothesis import strategies as st

from bento.host.drivers.subids import Span, free, parse


def test_entries_are_read_as_the_system_writes_them() -> None:
    text = "alice:100000:65536\n1000:165536:10\n\n# comment\nbob:x:1\nbob:1\nbob:1:2:3\nbob:-1:5\n"
    assert parse(text) == [Span("alice", 100000, 65536), Span("1000", 165536, 10)]


NUMBERS = st.integers(0, 1 << 40).map(str)
LINES = st.text() | st.tuples(st.sampled_from(["alice", "1000", ""]), NUMBERS | st.text(), NUMBERS).map(":".join)


@given(st.lists(LINES).map("\n".join))
def test_whatever_the_text_the_entries_are_those_that_stand_there(text: str) -> None:
    there = [line.split(":") for line in text.splitlines()]
    read = [[span.owner, span.first, span.count] for span in parse(text)]
    assert read == [[owner, int(first), int(count)] for owner, first, count in filter(is_entry, there)]


def is_entry(parts: list[str]) -> bool:
    return len(parts) == 3 and all(part.isascii() and part.isdecimal() and len(part) < 11 for part in parts[1:])


def test_free_ids_lie_behind_everybodys() -> None:
    assert free([]) == 100000
    assert free(parse("alice:100000:65536\nbob:500000:10\ncarol:200000:5\n")) == 500010
