"""`bento policy simulate`: the audit log against another policy. Changes nothing.

The log is read here, and sent along as calls with their numbers: the same few
calls are made again and again, so a long log is a short list.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bento.cli.exits import Code, Failed
from bento.cli.files import ROOM
from bento.cli.harmless import harmless
from bento.cli.manager import Manager
from bento.cli.policy import ask, policy_files
from bento.cli.render import print_json, print_table, say

Json = dict[str, Any]

FIELDS = ("source", "service", "argument", "asked", "chosen", "verdict")
"""What the log has of a call that a decision can depend on, or that tells what became of it."""

VERDICTS = {"allow": "allowed", "consent": "asked", "withhold": "asked", "deny": "denied"}


def declare_simulate(parser: argparse.ArgumentParser) -> None:
    parser.description = "Say which calls in the audit log would have been decided otherwise."
    parser.add_argument(
        "log",
        metavar="LOG",
        help="a file of the log, or what 'bento audit show --json' printed; a directory of such files",
    )
    parser.add_argument("directory", nargs="?", metavar="DIR", help="by the policy files there, not those in force")
    parser.add_argument("--json", action="store_true", help="one object")


def simulate(words: argparse.Namespace, manager: Manager) -> int:
    calls, unread = _calls(Path(words.log))
    asked: Json = {} if words.directory is None else {"files": policy_files(words.directory)}
    found: Json = {"fault": None, "same": 0, "changed": [], "gone": {}, "commands": 0, "unread": unread}
    gone: Counter[str] = Counter()
    beside = json.dumps({**asked, "calls": []}, ensure_ascii=False).encode("utf-8", "surrogateescape")
    for piece in _pieces(calls, ROOM - len(beside)):
        answer = ask(manager, "Simulate", {**asked, "calls": piece})
        found["fault"] = answer["fault"]
        found["same"] += answer["same"]
        found["commands"] += answer["commands"]
        found["changed"] += answer["changed"]
        gone.update(answer["gone"])
    found["changed"].sort(key=lambda change: -change["calls"])
    found["gone"] = dict(sorted(gone.items()))
    if words.json:
        print_json(found)
    else:
        _print(found)
    return Code.DONE


def _print(found: Json) -> None:
    if found["fault"]:
        say(f"the policy is broken and denies every call: {found['fault']}")
    if found["unread"]:
        say(f"{found['unread']} lines are none of the audit log's, and left out")
    rows = []
    for change in found["changed"]:
        argument = "+?" if change["argument"] is None else f"+{change['argument']}" if change["argument"] else ""
        after, before = change["after"], change["before"]
        was = VERDICTS[before["verdict"]]
        rule = f"{after['rule']['file']}:{after['rule']['line']}" if after["rule"] else "no rule"
        cells = [
            str(change["calls"]),
            _fate(after),
            was if before["target"] is None else f"{was} ({before['target']})",
            change["source"],
            f"{change['service']}{argument}",
            change["asked"] or "@default",
            rule,
        ]
        rows.append([harmless(cell) for cell in cells])
    if rows:
        print_table(("CALLS", "WOULD BE", "WAS", "FROM", "SERVICE", "TARGET", "BY"), rows, right=("CALLS",))
    otherwise = sum(change["calls"] for change in found["changed"])
    print(f"{otherwise} calls would be decided otherwise, {found['same']} as they were.")
    if found["gone"]:
        print(f"{sum(found['gone'].values())} are left out, for their domains are no more: {', '.join(found['gone'])}.")


def _fate(after: Json) -> str:
    if "candidates" in after:
        return f"asked ({' or '.join(after['candidates'])})"
    return f"allowed ({after['target']})" if after["allowed"] else "denied"


# ---- the log -------------------------------------------------------------------------------------


def _calls(log: Path) -> tuple[Counter[tuple[str, ...]], int]:
    """The calls in the log with their numbers; and how many lines are none of it."""
    calls: Counter[tuple[str, ...]] = Counter()
    unread = 0
    for line in _lines(log):
        match _object(line):
            case {"kind": "decided", **said} if all(isinstance(said.get(field), str) for field in FIELDS):
                calls[tuple(str(said[field]) for field in FIELDS)] += 1
            case {"kind": str(kind)} if kind != "decided":
                pass
            case _:
                unread += 1
    return calls, unread


def _lines(log: Path) -> Iterator[str]:
    try:
        files = sorted(path for path in log.rglob("*") if path.is_file()) if log.is_dir() else [log]
        for path in files:
            with open(path, encoding="utf-8", errors="replace") as file:
                yield from file
    except OSError as error:
        raise Failed(f"{error.filename or log} cannot be read: {error.strerror}", Code.BAD_INPUT) from None


def _object(line: str) -> object:
    """The object of a line, before which the log itself has a hash."""
    try:
        return json.loads(line[line.index("{") :])
    except (ValueError, RecursionError):
        return None


def _pieces(calls: Counter[tuple[str, ...]], room: int) -> Iterator[list[Json]]:
    """All calls, so many at once as there is `room` for in a request, in bytes."""
    piece: list[Json] = []
    size = 0
    for fields, count in calls.items():
        call = {**dict(zip(FIELDS, fields, strict=True)), "count": count}
        length = len(json.dumps(call)) + 2
        if piece and size + length > room:
            yield piece
            piece, size = [], 0
        piece.append(call)
        size += length
    yield piece
