"""`bento grants`: what the person allowed for longer than one call, listed and revoked in one place."""

import argparse
import json
from datetime import datetime

from bento.cli.exits import Code, Failed
from bento.cli.manager import Manager, request
from bento.cli.render import print_json, print_table

LONG = 40
"""Characters of an argument that the table shows; --json has all of them."""


def declare_grants(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action", nargs="?", choices=("revoke",), help="take them back: the next such call is asked about"
    )
    parser.add_argument("ids", nargs="*", metavar="ID", help="which, as the list shows them")
    parser.add_argument("--all", action="store_true", help="revoke all there are")
    parser.add_argument("--json", action="store_true", help="a list of objects")


def grants(words: argparse.Namespace, manager: Manager) -> int:
    if words.action is None:
        if words.all:
            raise Failed("--all goes with revoke, as in: bento grants revoke --all", Code.BAD_INPUT)
        _show(json.loads(manager.ask(request("bento.grants.List"))), as_json=words.json)
        return Code.DONE
    if words.all == bool(words.ids):
        raise Failed("say which grants to revoke, by their IDs or with --all", Code.BAD_INPUT)
    revoked: list[str] = []
    for number in words.ids or [""]:
        revoked += json.loads(manager.ask(request("bento.grants.Revoke", argument=number)))
    if words.json:
        print_json(revoked)
    return Code.DONE


def _show(found: list[dict[str, object]], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    rows = [
        [
            str(one["id"]),
            str(one["source"]),
            _service(str(one["service"]), str(one["argument"])),
            str(one["requested"]),
            str(one["target"]),
            str(one["user"] or "-"),
            _end(str(one["source"]), one["until"]),
        ]
        for one in found
    ]
    print_table(("ID", "SOURCE", "SERVICE", "ASKED FOR", "GOES TO", "USER", "COUNTS"), rows)


def _service(service: str, argument: str) -> str:
    if not argument:
        return service
    return f"{service}+{argument[:LONG]}" + ("..." if len(argument) > LONG else "")


def _end(source: str, until: object) -> str:
    if not isinstance(until, (int, float)):
        return f"while {source} runs"
    return f"until {datetime.fromtimestamp(until).astimezone():%Y-%m-%d %H:%M}"
