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
def _boxes() -> Iterator[Boxes]:
    with new_boxes() as boxes:
        for name, label in {**RUNNING, "vault": "black"}.items():
            boxes.do("create", name, "--template", TEMPLATE, "--label", label)
        boxes.policy(POLICY)
        yield boxes


@pytest.fixture
def boxes(_boxes: Boxes) -> Boxes:
    """`work` and `random` run, `vault` never did."""
    rows = _boxes.ls()
    if halted := [name for name in RUNNING if rows[name]["state"] == "Halted"]:
        _boxes.do("start", *halted)
    return _boxes
