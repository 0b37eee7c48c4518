"""subuid(5) as the system writes it, and as somebody may have spoiled it."""

from hypothesis import given
from hypothesis import strategies as st

from bento.host.drivers.subids import Span, free, parse


def test_entries_are_read_as_the_system_writes_them() -> None:
    text = "alice:100000:65536\n1000:165536:10\n\n# comment\nbob:x:1\nbob:1\nbob:1:2:3\nbob:-1:5\n"
    assert parse(text) == [Span("alice", 100000, 65536), Span("1000", 165536, 10)]


@given(st.text())
def test_no_text_makes_the_reader_fail(text: str) -> None:
    assert all(span.count >= 0 for span in parse(text))


def test_free_ids_lie_behind_everybodys() -> None:
    assert free([]) == 100000
    assert free(parse("alice:100000:65536\nbob:500000:10\ncarol:200000:5\n")) == 500010
