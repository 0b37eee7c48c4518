"""What QEMU says of its guest's memory and of its volumes, from its answers to numbers.

QEMU is distrusted, and the guest's own statistics come from the guest: whatever has not the shape of QEMU's schema
(qapi/block-core.json, qapi/machine.json, and the QOM property `guest-stats` of docs/interop/virtio-balloon-stats.rst)
counts as nothing.
"""

from collections.abc import Iterator, Mapping

from bento.host.drivers.qemu.argv import BALLOON, SCRATCH
from bento.host.drivers.qemu.qmp import Session
from bento.host.model.errors import Unavailable
from bento.host.model.machine import DiskUsage, GuestMemory

LARGEST = 1 << 62
"""Bytes; a larger figure is none. (The guest's "not known" is 2^64 - 1.)"""

PATH = f"/machine/peripheral/{BALLOON}"


async def disk_usage(words: Session) -> DiskUsage:
    nodes = await words.execute("query-named-block-nodes", {"flat": True})
    statistics = await words.execute("query-blockstats")
    in_memory = [_at(node, "image", "actual-size") for node in _each(nodes) if _is_scratch(node)]
    written = [_at(device, "stats", "wr_bytes") for device in _each(statistics)]
    return DiskUsage(sum(each or 0 for each in written), sum(each or 0 for each in in_memory))


async def guest_memory(words: Session) -> GuestMemory | None:
    if not _has_balloon(await words.execute("qom-list", {"path": "/machine/peripheral"})):
        return None
    actual = _at(await words.execute("query-balloon"), "actual")
    if actual is None:
        raise Unavailable("QEMU gave an answer that makes no sense")
    untrusted = await words.execute("qom-get", {"path": PATH, "property": "guest-stats"})
    return GuestMemory(actual, _at(untrusted, "stats", "stat-available-memory"))


def _has_balloon(listed: object) -> bool:
    return any(child.get("name") == BALLOON for child in _each(listed))


def _is_scratch(node: Mapping[object, object]) -> bool:
    return str(node.get("node-name")).startswith(SCRATCH)


def _each(answer: object) -> Iterator[Mapping[object, object]]:
    if isinstance(answer, list):
        yield from (each for each in answer if isinstance(each, dict))


def _at(answer: object, *path: str) -> int | None:
    """A count of bytes in an answer; None where there is none."""
    for key in path:
        answer = answer.get(key) if isinstance(answer, dict) else None
    return answer if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < LARGEST else None
