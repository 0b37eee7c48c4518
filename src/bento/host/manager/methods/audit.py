"""The audit log, read and verified. Both stream, read in a thread beside the loop, and change nothing."""

import asyncio
import heapq
import json
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import islice

from bento.host.manager.chains import Snapshot
from bento.host.manager.methods.kinds import Manager, Method, Reply, Stream, lines, parsed, yes
from bento.host.model.audit import (
    KIND,
    Broken,
    Counted,
    Damaged,
    Decided,
    Entry,
    Head,
    Line,
    Sound,
    parse_line,
    verify,
)
from bento.host.model.errors import Invalid
from bento.host.policy.files import Policy, PolicyRules
from bento.wire.admin import Event, Request
from bento.wire.names import DomainName, TargetName

LINES = 50
"""Shown where nobody says how many."""

Row = dict[str, object]


# ---- show ----------------------------------------------------------------------------------------


async def show(manager: Manager, request: Request) -> Reply:
    """The latest lines, oldest first: an event `line` for each, whose `json` is an object. Damaged ones are left out,
    and at the end an event `damaged` says how many (`count`).

    Fields, each of which may be left out: `source` and `target`, names; `denied=yes`; `count`, how many at most;
    `why=yes`, which adds the rule's text where the policy that a line was decided by is still in force.
    """
    asked = lines(request.payload, "source", "target", "denied", "count", "why")
    count = asked.get("count", str(LINES))
    if not (count.isascii() and count.isdecimal() and 0 < int(count) < 1 << 31):
        raise Invalid("count is a whole number from 1")
    wanted = _filter(
        parsed(DomainName.parse, asked["source"]) if "source" in asked else None,
        parsed(TargetName.parse, asked["target"]) if "target" in asked else None,
        denied=yes(asked, "denied"),
    )
    policy = await manager.calls.policy() if yes(asked, "why") else None
    return Stream(_show(manager, wanted, int(count), policy))


Wanted = Callable[[TargetName, Entry], bool]


def _filter(source: str | None, target: str | None, *, denied: bool) -> Wanted:
    def wanted(lane: TargetName, entry: Entry) -> bool:
        match entry:
            case Decided():
                return (
                    source in (None, entry.source)
                    and target in (None, entry.asked, entry.chosen)
                    and not (denied and entry.verdict.proceeds)
                )
            case Counted():
                return source in (None, entry.source) and target is None
            case _:
                return source in (None, lane) and target is None and not denied

    return wanted


async def _show(manager: Manager, wanted: Wanted, count: int, policy: Policy | None) -> AsyncGenerator[Event, None]:
    with manager.audit.read() as chains:
        found, damaged = await asyncio.to_thread(_latest, chains, wanted, count)
    for lane, line in reversed(found):
        yield Event(lane, "line", (("json", json.dumps(_row(lane, line, policy))),))
    if damaged:
        yield Event("", "damaged", (("count", str(damaged)),))


def _latest(
    chains: Mapping[TargetName, Snapshot], wanted: Wanted, count: int
) -> tuple[list[tuple[TargetName, Line]], int]:
    """The latest first; and how many lines among them could not be read."""
    damaged = 0

    def backwards(lane: TargetName, chain: Snapshot) -> Iterator[tuple[TargetName, Line]]:
        nonlocal damaged
        for untrusted in chain.backwards():
            try:
                yield lane, parse_line(untrusted)
            except Damaged:
                damaged += 1

    merged = heapq.merge(
        *(backwards(lane, chain) for lane, chain in chains.items()),
        key=lambda found: found[1].entry.time,
        reverse=True,
    )
    found = list(islice(((lane, line) for lane, line in merged if wanted(lane, line.entry)), count))
    return found, damaged


def _row(lane: TargetName, line: Line, policy: Policy | None) -> Row:
    entry = line.entry
    row: Row = {"log": lane, "line": line.number, "kind": KIND[type(entry)], **asdict(entry)}
    row["time"] = _time(entry.time)
    if isinstance(entry, Counted):
        row["since"] = _time(entry.since)
    if policy and isinstance(entry, Decided):
        row["in_force"] = bool(entry.policy) and entry.policy == policy.digest
        row["rule_text"] = _rule_text(policy, entry.rule) if row["in_force"] else None
    return row


def _rule_text(policy: Policy, place: str) -> str | None:
    rules = policy.rules if isinstance(policy, PolicyRules) else ()
    return next((str(rule) for rule in rules if rule.place == place), None)


def _time(microseconds: int) -> str:
    """ISO 8601 in UTC; a time that no calendar has, as its number."""
    try:
        return datetime.fromtimestamp(microseconds / 1_000_000, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return str(microseconds)


# ---- verify --------------------------------------------------------------------------------------


async def verify_chains(manager: Manager, request: Request) -> Reply:
    """Every chain by its name: an event `sound` (`first`, `count`, `hash`) or `broken` (`line`, `why`).

    The payload may be heads that were kept, a line `NAME COUNT HASH` each, which the chains must go by.
    """
    return Stream(_verify(manager, _heads(request.payload)))


async def _verify(manager: Manager, kept: Mapping[TargetName, Head]) -> AsyncGenerator[Event, None]:
    with manager.audit.read() as chains:
        for lane in sorted({*chains, *kept}):
            chain, known = chains.get(lane), [kept[lane]] if lane in kept else []
            found: Sound | Broken
            if chain is None:
                found = Broken(1, "is missing, and with it the whole log of this name, which was kept")
            else:
                # What the manager wrote itself counts as kept, too.
                found = await asyncio.to_thread(verify, chain.lines(), chain.first, [chain.head, *known])
            match found:
                case Sound(first, head):
                    yield Event(lane, "sound", (("first", str(first)), ("count", str(head.count)), ("hash", head.hash)))
                case Broken(number, why):
                    yield Event(lane, "broken", (("line", str(number)), ("why", why)))


def _heads(payload: bytes) -> dict[TargetName, Head]:
    found: dict[TargetName, Head] = {}
    for line in payload.decode("ascii", errors="replace").splitlines():
        match line.split():
            case [name, count, digest] if count.isdecimal() and len(count) < 19 and len(digest) == 64:
                found[parsed(TargetName.parse, name)] = Head(int(count), digest)
            case []:
                pass
            case _:
                raise Invalid("a kept head is lines of NAME COUNT HASH, as 'bento audit verify --head' prints them")
    return found


METHODS: dict[str, Method] = {
    "bento.audit.Show": show,
    "bento.audit.Verify": verify_chains,
}
