"""The words on a guest kernel's command line: shell scripts read them, too, which import nothing."""

import re
from pathlib import Path

from bento.wire.boot import ROOT_KEPT, SEED

WORD = re.compile(r'" (bento\.[a-z=]+) "')


def test_scripts_look_for_no_word_that_the_host_does_not_say(tree: Path) -> None:
    scripts = [path.read_text() for path in (tree / "src/bento/guest/boot").iterdir() if path.is_file()]
    looked_for = {word for script in scripts for word in WORD.findall(script)}
    assert looked_for == {SEED, ROOT_KEPT}
