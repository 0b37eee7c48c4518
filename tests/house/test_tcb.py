"""What reads a guest's bytes is counted as it is, stays small, and cannot grow unseen."""

from copy import deepcopy
from pathlib import Path

import grimp
import pytest

import tcb

MOST_LINES = 1000
"""Of all that reads calls in a broker, the wire and import statements included."""

RELAY = "bento.host.broker.relay"


@pytest.fixture(scope="module")
def whole() -> grimp.ImportGraph:
    return grimp.build_graph("bento", cache_dir=None)


@pytest.fixture
def graph(whole: grimp.ImportGraph) -> grimp.ImportGraph:
    """The tree's, for a test to change."""
    return deepcopy(whole)


def broker(graph: grimp.ImportGraph, tree: Path) -> tcb.Process:
    return next(process for process in tcb.measure(graph, tree / "src") if process.name == "bento.host.broker")


def test_calls_of_hostile_guests_are_read_by_a_thousand_lines_at_most(graph: grimp.ImportGraph, tree: Path) -> None:
    counted = broker(graph, tree).calls

    assert sum(file.lines_with_imports for file in counted) <= MOST_LINES


def test_all_that_parses_a_call_is_counted_and_what_only_the_manager_says_is_not(
    graph: grimp.ImportGraph, tree: Path
) -> None:
    counted = {Path(file.path).stem for file in broker(graph, tree).calls}

    assert {"channel", "leg", "relay", "loop", "layout", "frames", "calls", "rpc", "callnames", "contract"} <= counted
    assert not {"nursery", "packets", "desk", "control", "console"} & counted


def test_an_import_in_the_relay_raises_the_count_by_all_that_it_brings(graph: grimp.ImportGraph, tree: Path) -> None:
    before = broker(graph, tree)
    graph.add_import(importer=RELAY, imported="bento.wire.control")

    after = broker(graph, tree)

    brought = set(after.calls) - set(before.calls)
    assert "bento/wire/control.py" in {file.path for file in brought}
    assert after.lines == before.lines + sum(file.lines for file in brought) > before.lines


def test_who_takes_frames_apart_by_hand_reads_calls_too(graph: grimp.ImportGraph, tree: Path) -> None:
    command = next(process for process in tcb.measure(graph, tree / "src") if process.name == "bento.cli")

    assert {"leg", "caller", "frames"} <= {Path(file.path).stem for file in command.calls}


@pytest.mark.parametrize(
    ("line", "confined", "found"),
    [
        ("from bento.wire.rpc import FROM_GUEST", False, True),
        ("rpc.FROM_GUEST.decode(tag, payload)", False, True),
        ("from bento.wire.rpc import FROM_GUEST as whatever", False, True),
        ("Codec(MESSAGES, sender=Sender.GUEST)", False, True),
        ("from bento.wire.control import FROM_MANAGER", True, False),
        ("def hear(untrusted_packet): pass", True, True),
        ("untrusted = read()", True, True),
        ("untrusted = read()", False, False),
    ],
)
def test_a_reader_is_known_by_the_door_that_it_uses(line: str, confined: bool, found: bool) -> None:
    doors = {name for name, codec in tcb.codecs() if tcb.is_door(codec)}

    assert tcb.reads(line, doors, confined=confined) is found


def test_blank_lines_comments_and_docstrings_are_no_code_and_imports_are_counted_apart() -> None:
    text = "\n".join(
        [
            *('"""A', 'module."""', ""),
            *("import os", "from x import (", "    y,", ")", ""),
            *("def f():", '    """It', '    does."""', "    # why", '    return """a', 'b"""', ""),
        ]
    )

    code, imports = tcb.lines_of(text)

    assert sorted(imports) == [4, 5, 6, 7]
    assert sorted(code - imports) == [9, 13, 14]
