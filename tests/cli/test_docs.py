"""docs/cli.md says what the source says."""

import re
from pathlib import Path

from bento.cli.exits import Code
from bento.cli.verbs import VERBS


def test_every_command_is_in_the_guide(tree: Path) -> None:
    guide = (tree / "docs" / "cli.md").read_text()
    seconds = "|".join({second for verb in VERBS for second in verb.split()[1:]})
    told = set(re.findall(rf"^bento ([a-z]+(?: (?:{seconds})\b)?)", guide, re.MULTILINE))
    assert told == set(VERBS)


def test_the_guides_exit_codes_are_the_sources(tree: Path) -> None:
    guide = (tree / "docs" / "cli.md").read_text()
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", guide, re.MULTILINE)}
    assert told == {*Code, 127}
