"""Values for hypothesis, made from the declarations themselves: what a field may hold is read from its layout."""

import string
from typing import Any

from hypothesis import strategies as st

from bento.wire import control, rpc
from bento.wire.layout import Blob, Message, Number, Rest, Text
from bento.wire.names import (
    DomainName,
    FeatureName,
    LabelName,
    Name,
    ServiceArgument,
    ServiceName,
    Tag,
    TargetName,
    UserName,
)

MESSAGES: tuple[type[Message], ...] = rpc.MESSAGES + control.MESSAGES

WORD = string.ascii_letters + string.digits + "_.-"
LARGE = 300
"""Bytes that drawn fields have at most; the limits themselves have tests of their own."""


def _accepted(kind: type[Name], text: str) -> bool:
    return kind.pattern.fullmatch(text) is not None


def _spelled(kind: type[Name], first: str, others: str, longest: int) -> st.SearchStrategy[str]:
    rest = st.text(others, max_size=longest - 1)
    return st.builds("".join, st.tuples(st.sampled_from(first), rest)).filter(lambda text: _accepted(kind, text))


DOMAINS = _spelled(DomainName, string.ascii_letters, WORD, 31)
KEYWORDS = st.sampled_from(["@default", "@adminvm", "@anyvm", "@dispvm", "@tag:work", "@dispvm:@tag:a.b"])
SPELLING: dict[type[Name], st.SearchStrategy[str]] = {
    DomainName: DOMAINS,
    ServiceName: _spelled(ServiceName, WORD.replace(".", ""), WORD, 255),
    ServiceArgument: st.text(WORD + "+", max_size=LARGE),
    Tag: _spelled(Tag, WORD, WORD, 127),
    FeatureName: _spelled(FeatureName, WORD, WORD, 127),
    LabelName: _spelled(LabelName, WORD, WORD, 31),
    UserName: _spelled(UserName, string.ascii_lowercase + "_", string.ascii_lowercase + "0123456789_-", 32),
    TargetName: DOMAINS | KEYWORDS | st.just(""),
}
PRINTING = st.characters(min_codepoint=32, max_codepoint=126)


def _text(layout: Text) -> st.SearchStrategy[str]:
    kind = getattr(layout.parse, "__self__", None)
    if isinstance(kind, type) and issubclass(kind, Name):
        return SPELLING[kind].map(kind)
    if layout.parse.__name__ == "_user_or_none":
        return SPELLING[UserName].map(UserName) | st.just("")
    return st.text(PRINTING, max_size=layout.blob.limit)


def value_of(layout: object) -> st.SearchStrategy[Any]:
    """Any value that a field of this layout may hold."""
    match layout:
        case Number(limit=limit):
            return st.integers(0, limit)
        case Blob(limit=limit, exact=True):
            return st.binary(min_size=limit, max_size=limit)
        case Blob(limit=limit) | Rest(limit=limit):
            return st.binary(max_size=min(limit, LARGE))
        case Text():
            return _text(layout)
        case _:
            raise AssertionError(f"no values known for {layout!r}")


def a(kind: type[Message]) -> st.SearchStrategy[Message]:
    """Any message of this kind."""
    return st.builds(kind, *[value_of(layout) for _, layout in kind.LAYOUT])


def one_of(kinds: tuple[type[Message], ...]) -> st.SearchStrategy[Message]:
    return st.sampled_from(kinds).flatmap(a)


class Long(bytes):
    """Bytes that nobody wants to read whole in a report."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes, the last of them {bytes(self[-20:])!r}>"


@st.composite
def cut(draw: st.DrawFn, whole: bytes) -> list[bytes]:
    """`whole` in pieces, as reads might give it."""
    places = draw(st.lists(st.integers(0, len(whole)), max_size=8).map(sorted))
    return [Long(whole[start:end]) for start, end in zip([0, *places], [*places, len(whole)], strict=True)]
