"""Questions to the person, between real domains: on a terminal and in a window at once."""

import json
import re
from collections.abc import Iterator

import pytest

from tests.desktop.screen import new_screen
from tests.desktop.test_dialog import ALLOW, ASKS, click, desktop
from tests.vm.boxes import PATIENCE, Boxes, Terminal

pytestmark = pytest.mark.vm

POLICY = "20-ask.policy"


@pytest.fixture
def asking(boxes: Boxes) -> Iterator[Boxes]:
    """What `random` copies to nobody in particular is asked about."""
    boxes.policy("qubes.Filecopy * random @default ask default_target=work\n", POLICY)
    yield boxes
    (boxes.path / "config/policy.d" / POLICY).unlink()


def test_a_copy_goes_where_the_person_says_and_each_way_to_ask_sees_the_answer(asking: Boxes) -> None:
    asking.sh("random", "echo one > asked-1.txt; echo two > asked-2.txt; echo three > asked-3.txt")
    assert asking.bento("run", "random", "--", "qvm-copy", "asked-1.txt").returncode == 126, "nobody is there to ask"

    with (
        new_screen() as screen,
        desktop(screen, asking.environment()),
        Terminal(asking, "agent", columns=160) as terminal,
    ):
        terminal.wait_for("you are asked here")
        copying = asking.begin("run", "random", "--", "qvm-copy", "asked-1.txt")
        click(screen, screen.window(ASKS), ALLOW)
        terminal.wait_for("(allowed)")
        assert copying.wait(PATIENCE) == 0
        assert asking.sh("work", "cat QubesIncoming/random/asked-1.txt") == "one"

        asked = len(terminal.seen)
        copying = asking.begin("run", "random", "--", "qvm-copy", "asked-2.txt")
        terminal.wait_for_after(asked, "Your answer: ")
        shown = re.search(r"^ +(\d+) .*work", terminal.seen[asked:], re.MULTILINE)
        assert shown, terminal.seen[asked:]
        terminal.type(f"{shown[1]} 1h\n")
        assert copying.wait(PATIENCE) == 0
        screen.wait_until_gone(ASKS)

    # The grant answers now that nobody attends, until it is revoked.
    assert asking.bento("run", "random", "--", "qvm-copy", "asked-3.txt").returncode == 0
    assert asking.sh("work", "cd QubesIncoming/random; cat asked-2.txt asked-3.txt") == "two\nthree"
    (grant,) = json.loads(asking.do("grants", "--json"))
    assert (grant["source"], grant["service"], grant["target"]) == ("random", "qubes.Filecopy", "work")
    asking.do("grants", "revoke", grant["id"])
    assert asking.bento("run", "random", "--", "qvm-copy", "asked-3.txt").returncode == 126
