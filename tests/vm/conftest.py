"""Domains that run, started once for all tests of this directory that want them."""

from collections.abc import Iterator

import pytest

from tests.vm.boxes import TEMPLATE, Boxes, new_boxes

RUNNING = {"work": "blue", "random": "red"}
"""The domains that every test finds running, and leaves so."""

POLICY = """\
qubes.Filecopy  *  random  work   allow
qubes.Filecopy  *  work    vault  deny
"""


@pytest.fixture(scope="session")
def new() -> Iterator[Boxes]:
    """The same as `boxes`, before anything runs there."""
    with new_boxes() as boxes:
        for name, label in {**RUNNING, "vault": "black"}.items():
            boxes.do("create", name, "--template", TEMPLATE, "--label", label)
        boxes.policy(POLICY)
        yield boxes


@pytest.fixture
def boxes(new: Boxes) -> Boxes:
    """`work` and `random` run, `vault` never did."""
    rows = new.ls()
    if halted := [name for name in RUNNING if rows[name]["state"] == "Halted"]:
        new.do("start", *halted)
    return new
