"""QEMU's answers about memory and disks, made numbers: also those of a QEMU that says what it likes."""

import asyncio
from collections.abc import Mapping

import pytest

from bento.host.drivers.qemu import memory
from bento.host.drivers.qemu.qmp import Session
from bento.host.model.machine import DiskUsage, GuestMemory

BALLOON = [{"name": "type", "type": "string"}, {"name": "balloon", "type": "child<virtio-balloon-pci>"}]


class Answers(Session):
    """A session in which every command has its answer."""

    def __init__(self, answers: Mapping[str, object]) -> None:
        self._answers = answers

    async def execute(self, command: str, arguments: Mapping[str, object] | None = None) -> object:
        return self._answers[command]


def guest_memory(actual: object, stats: object, listed: object = BALLOON) -> GuestMemory | None:
    answers = {"qom-list": listed, "query-balloon": {"actual": actual}, "qom-get": stats}
    return asyncio.run(memory.guest_memory(Answers(answers)))


def test_a_machine_without_a_balloon_gives_nothing_back() -> None:
    assert guest_memory(1, {}, listed=[{"name": "type"}]) is None


def test_a_guest_says_how_much_lies_idle() -> None:
    assert guest_memory(400, {"stats": {"stat-available-memory": 300}}) == GuestMemory(400, 300)


@pytest.mark.parametrize(
    "stats",
    [
        {"stats": {"stat-available-memory": (1 << 64) - 1}},  # the device's "not known"
        {"stats": {"stat-available-memory": -1}},
        {"stats": {"stat-available-memory": True}},
        {"stats": {"stat-available-memory": "much"}},
        {"stats": []},
        {},
        None,
        7,
    ],
)
def test_what_is_no_number_of_bytes_is_not_known(stats: object) -> None:
    assert guest_memory(400, stats) == GuestMemory(400, None)


def disk_usage(nodes: object, statistics: object) -> DiskUsage:
    answers = {"query-named-block-nodes": nodes, "query-blockstats": statistics}
    return asyncio.run(memory.disk_usage(Answers(answers)))


def test_only_scratch_disks_are_memory() -> None:
    nodes = [
        {"node-name": "disk0", "image": {"actual-size": 5}},
        {"node-name": "scratch1", "image": {"actual-size": 10}},
        {"node-name": "scratch2", "image": {"actual-size": 20}},
    ]
    written = [{"stats": {"wr_bytes": 1}}, {"stats": {"wr_bytes": 2}}]
    assert disk_usage(nodes, written) == DiskUsage(written_bytes=3, scratch_bytes=30)


@pytest.mark.parametrize("nonsense", [None, 7, "disk", [7], [{}], [{"node-name": "scratch1"}], {"stats": 1}])
def test_nonsense_is_nothing(nonsense: object) -> None:
    assert disk_usage(nonsense, nonsense) == DiskUsage(0, 0)
