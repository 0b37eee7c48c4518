"""`bento audit`: what was decided about calls, and whether the log that says so is whole."""

import argparse
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from bento.cli.exits import Code, Failed
from bento.cli.files import ROOM, as_text, read_text
from bento.cli.harmless import harmless
from bento.cli.manager import Manager, request
from bento.cli.numbers import whole
from bento.cli.render import print_json, print_table, say
from bento.wire.admin import Event
from bento.wire.names import DomainName, TargetName

Row = dict[str, Any]


# ---- show ----------------------------------------------------------------------------------------


def declare_show(parser: argparse.ArgumentParser) -> None:
    parser.description = "Show what was decided about calls, the latest last."
    parser.add_argument("--source", metavar="D", help="only calls of this domain")
    parser.add_argument("--target", metavar="D", help="only calls that named this target, or came there")
    parser.add_argument("--denied", action="store_true", help="only calls that came to nothing")
    parser.add_argument("-n", metavar="N", type=whole, default=50, help="at most so many (50)")
    parser.add_argument("--why", action="store_true", help="add what decided each: the rule, or the reason")
    parser.add_argument("--json", action="store_true", help="an object a line")


def show(words: argparse.Namespace, manager: Manager) -> int:
    asked = {"count": str(words.n)}
    if words.source is not None:
        asked["source"] = DomainName.parse(words.source)
    if words.target is not None:
        asked["target"] = TargetName.parse(words.target)
    asked |= {name: "yes" for name in ("denied", "why") if getattr(words, name)}
    payload = "".join(f"{key}={value}\n" for key, value in asked.items())
    rows: list[Row] = []
    for event in manager.follow(request("bento.audit.Show", payload=payload)):
        if event.name == "damaged":
            count = dict(event.details).get("count", "some")
            say(f"{count} lines are damaged and not shown; 'bento audit verify' says where the log breaks")
        elif words.json:
            print(dict(event.details)["json"])
        else:
            rows.append(json.loads(dict(event.details)["json"]))
    if not words.json:
        _print_lines(rows, why=words.why)
    return Code.DONE


def _print_lines(rows: list[Row], *, why: bool) -> None:
    if not rows:
        print("Nothing.")
        return
    heads = ["TIME", "SOURCE", "SERVICE", "TARGET", "DECISION", *(["WHY"] if why else [])]
    table = []
    for row in rows:
        cells = [_time(row["time"]), *_cells(row), *([_why(row)] if why else [])]
        table.append([harmless(cell) for cell in cells])
    print_table(heads, table)


def _cells(row: Row) -> list[str]:
    """Source, service, target and decision."""
    match row["kind"]:
        case "decided":
            asked, chosen = row["asked"] or "@default", row["chosen"]
            target = asked if chosen in ("", asked) else f"{asked} -> {chosen}"
            return [row["source"], row["service"], target, row["verdict"]]
        case "counted":
            return [row["source"], "", "", f"{row['calls']} more refused since {_time(row['since'])}"]
        case "repaired":
            return [row["log"], "", "", f"{row['size']} bytes that were no line were cut off, after a crash"]
        case "dropped":
            return [row["log"], "", "", f"the lines up to number {row['last']} fell off"]
        case _:
            return [row["log"], "", "", "the log begins"]


def _why(row: Row) -> str:
    if row["kind"] != "decided":
        return ""
    if row["verdict"] == "admin":
        return "you, at the host"
    said = [f"{row['rule']}  {_rule(row)}"] if row["rule"] else []
    said += [f"your answer: {row['grant']}"] if row["grant"] else []
    said += [row["reason"]] if row["reason"] else []
    return "; ".join(said)


def _rule(row: Row) -> str:
    if row["in_force"]:
        return row["rule_text"] or ""
    return f"(of the policy {row['policy'][:12]}, which is in force no more)"


def _time(iso: str) -> str:
    """In the person's own time zone, to the second."""
    try:
        return datetime.fromisoformat(iso).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError):
        return iso


# ---- verify --------------------------------------------------------------------------------------


def declare_verify(parser: argparse.ArgumentParser) -> None:
    parser.description = "Verify that each line of the audit log follows from the one before, and all from a kept head."
    parser.add_argument("--since", metavar="FILE", help="a head that was kept elsewhere; - is standard input")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--head", action="store_true", help="print the verified head, to be kept elsewhere")
    output.add_argument("--json", action="store_true", help="a list of objects")


def verify(words: argparse.Namespace, manager: Manager) -> int:
    kept = _kept(words.since) if words.since is not None else ""
    found = list(manager.follow(request("bento.audit.Verify", payload=kept)))
    broken = [event for event in found if event.name != "sound"]
    if words.json:
        print_json([_as_json(event) for event in found])
    elif words.head and not broken:
        for event in found:
            details = dict(event.details)
            print(event.subject, details["count"], details["hash"])
    else:
        _print_verified(found, broken, since=words.since)
    return Code.BROKEN if broken else Code.DONE


def _print_verified(found: list[Event], broken: list[Event], *, since: str | None) -> None:
    for event in broken:
        details = dict(event.details)
        say(f"the log of {event.subject} is broken: line {details['line']} {details['why']}")
    if not broken:
        lines = sum(int(dict(event.details)["count"]) - int(dict(event.details)["first"]) + 1 for event in found)
        against = f" and goes on from the head in {since}" if since else ""
        print(harmless(f"The audit log is whole: {lines} lines of {len(found)} sources{against}."))


def _as_json(event: Event) -> Row:
    numbers = ("first", "count", "line")
    details = {key: int(value) if key in numbers else value for key, value in event.details}
    return {"log": event.subject, "sound": event.name == "sound", **details}


def _kept(name: str) -> str:
    text = as_text(name, sys.stdin.buffer.read(ROOM + 1)) if name == "-" else read_text(Path(name))
    if not text.strip():
        raise Failed(f"{name} is empty; 'bento audit verify --head' prints a head", Code.BAD_INPUT)
    return text
