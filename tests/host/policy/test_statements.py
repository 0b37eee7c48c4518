"""The language of statements about a policy: what each line means, and where a line stops making sense."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.host.policy.grammar import PolicyError
from bento.host.policy.rules import AnyDomain, Everything, MadeFrom, Named, OfClass, Source, Tagged
from bento.host.policy.statements import EveryCall, NeverReach, Statement, Verdict, parse
from bento.wire.names import ADMIN, DomainName, ServiceArgument, ServiceName, Tag

VAULT, UNTRUSTED = Named(DomainName("vault")), Tagged(Tag("untrusted"))
GPG = ServiceName("qubes.Gpg")


def meaning(line: str) -> NeverReach | EveryCall:
    (statement,) = parse("invariants", line.encode())
    return statement.meaning


def test_a_file_is_statements_comments_and_blank_lines() -> None:
    text = "# mine\n\n  never   reach from @tag:untrusted to vault\nalways ask for s from @anyvm\n"
    assert parse("invariants", text.encode()) == (
        Statement("invariants", 3, "never reach from @tag:untrusted to vault", NeverReach(UNTRUSTED, VAULT)),
        Statement(
            "invariants",
            4,
            "always ask for s from @anyvm",
            EveryCall(Verdict.ALWAYS_ASK, ServiceName("s"), None, AnyDomain(), Everything()),
        ),
    )
    assert [statement.place for statement in parse("mine", text.encode())] == ["mine:3", "mine:4"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "never reach from @tag:untrusted to vault through qubes.Gpg within 2 hops without asking",
            NeverReach(UNTRUSTED, VAULT, GPG, 2, unasked=True),
        ),
        ("never reach from * to vault within 1 hop", NeverReach(Everything(), VAULT, hops=1)),
        ("never reach from @dispvm:vault to @adminvm", NeverReach(MadeFrom(VAULT), Named(ADMIN))),
        ("never reach from @type:DispVM to vault without asking", NeverReach(OfClass("DispVM"), VAULT, unasked=True)),
        ("never allow * from @tag:untrusted to vault", EveryCall(Verdict.NEVER_ALLOW, None, None, UNTRUSTED, VAULT)),
        (
            "always ask for qubes.Gpg+a+b from @anyvm to vault",
            EveryCall(Verdict.ALWAYS_ASK, GPG, ServiceArgument("a+b"), AnyDomain(), VAULT),
        ),
        (
            "always allow qubes.Gpg+ from vault to @adminvm",
            EveryCall(Verdict.ALWAYS_ALLOW, GPG, ServiceArgument(""), VAULT, Named(ADMIN)),
        ),
    ],
)
def test_a_line_means(line: str, expected: NeverReach | EveryCall) -> None:
    assert meaning(line) == expected


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("sometimes", "1:1: expected never or always, found 'sometimes'"),
        ("never", "1:6: expected reach or allow, found nothing"),
        ("never ask", "1:7: expected reach or allow, found 'ask'"),
        ("always reach", "1:8: expected ask or allow, found 'reach'"),
        ("always ask s", "1:12: expected for, found 's'"),
        ("never reach to vault", "1:13: expected from, found 'to'"),
        ("never reach from dom0 to vault", "1:18: expected somebody else, for the host commands every domain"),
        (
            "never allow s from uuid:00000000-0000-0000-0000-000000000000",
            "1:20: expected somebody else, for the host commands every domain",
        ),
        ("never reach from a", "1:19: expected to, found nothing"),
        ("never reach from a to b within", "1:31: expected a number of hops from 1, found nothing"),
        ("never reach from a to b within 0 hops", "1:32: expected a number of hops from 1, found '0'"),
        ("never reach from a to b within ² hops", "1:32: expected a number of hops from 1, found '?'"),
        ("never reach from a to b within 2", "1:33: expected hop or hops, found nothing"),
        ("never reach from a to b without", "1:32: expected asking, found nothing"),
        ("never reach from a to b through *", "1:33: expected a service's name, found '*'"),
        (
            "never reach from a to b within 1 hop through s",
            "1:38: expected the end of the line (a # comment needs a line of its own), found 'through'",
        ),
        ("never allow s+/ from a", "1:15: expected letters, digits, or any of _ . + - after the +, found '/'"),
        ("never allow +a from a", "1:13: expected *, SERVICE or SERVICE+ARGUMENT, found nothing"),
        ("always allow s from a", "1:22: expected to, found nothing"),
        ("never allow s from @tag:", "1:25: expected a tag after @tag:, found nothing"),
    ],
)
def test_a_line_that_makes_no_sense_is_named_by_its_place(line: str, fault: str) -> None:
    with pytest.raises(PolicyError) as raised:
        parse("invariants", line.encode())
    assert str(raised.value) == f"invariants:{fault}"


def test_bytes_that_are_no_text_are_named_by_their_place() -> None:
    with pytest.raises(PolicyError, match="invariants:2:3: expected text in UTF-8"):
        parse("invariants", b"# a\n# \xff")


WORDS = (
    "never always reach allow ask for from to through within without asking hop 1 s s+a * @anyvm @tag:a work #".split()
)


@given(st.binary() | st.lists(st.sampled_from(WORDS)).map(lambda words: " ".join(words).encode()))
def test_any_bytes_are_statements_or_malformed_at_a_place(content: bytes) -> None:
    try:
        found = parse("invariants", content)
    except PolicyError as error:
        assert error.fault.line >= 1
        assert error.fault.column >= 1
        assert str(error).isprintable()
    else:
        for statement in found:
            assert parse("invariants", statement.text.encode())[0].meaning == statement.meaning


def test_sources_are_spelled_as_in_the_policy() -> None:
    selectors: list[Source] = [AnyDomain(), Everything(), VAULT, UNTRUSTED, MadeFrom(VAULT)]
    for selector in selectors:
        assert meaning(f"never reach from {selector} to {selector}") == NeverReach(selector, selector)
