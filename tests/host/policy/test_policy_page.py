"""The page that teaches the language teaches what the grammar reads."""

import re
from pathlib import Path

import pytest

from bento.host.policy import statements
from bento.host.policy.grammar import PolicyError, parse

PAGE = (Path(__file__).parents[3] / "docs" / "policy.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```policy\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
STATEMENTS = re.findall(r"^```invariants\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
STRICTER = re.findall(
    r"`([^`]+)`", PAGE.partition("A word that could never match anything")[2].partition("is a mistake")[0]
)


@pytest.mark.parametrize("example", STATEMENTS)
def test_every_statement_is_sound(example: str) -> None:
    assert len(statements.parse("policy.md", example.encode())) == 6


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_sound(example: str) -> None:
    assert parse("policy.md", example)


@pytest.mark.parametrize("word", STRICTER)
def test_what_the_page_calls_a_mistake_is_one(word: str) -> None:
    with pytest.raises(PolicyError, match="expected"):
        parse("policy.md", f"s * {word} * deny")


def test_the_page_was_found_to_have_all_of_these() -> None:
    assert (len(EXAMPLES), len(STATEMENTS), len(STRICTER)) == (7, 1, 3)
