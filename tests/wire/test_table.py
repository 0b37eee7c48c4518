"""The page about the wire says what the wire does."""

from pathlib import Path

import wire_table


def test_the_page_is_what_the_declarations_say(tree: Path) -> None:
    assert (tree / "docs" / "wire.md").read_text() == wire_table.page()
