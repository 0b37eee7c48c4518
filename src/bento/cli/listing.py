"""`bento ls`: the domains in one table, or as JSON with every figure."""

import argparse
import json

from bento.cli.exits import Code, Failed
from bento.cli.manager import Manager, request
from bento.cli.render import Paint, print_json, print_table, seconds, size
from bento.wire.names import DomainName

Row = dict[str, object]


def declare_ls(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these domains")
    parser.add_argument("--disk", action="store_true", help="with the disk space that each domain uses by itself")
    parser.add_argument("--json", action="store_true", help="a list of objects, with every figure")


def ls(words: argparse.Namespace, manager: Manager) -> int:
    names = [DomainName.parse(name) for name in words.names]
    rows: list[Row] = json.loads(manager.ask(request("bento.vm.Table")))
    if names:
        by_name = {row["name"]: row for row in rows}
        for name in names:
            if name not in by_name:
                raise Failed(f"there is no domain '{name}'; 'bento ls' shows those there are", Code.BAD_INPUT)
        rows = [by_name[name] for name in dict.fromkeys(names)]
    if words.json:
        print_json(rows)
    else:
        _print(rows, disk=words.disk)
    return Code.DONE


def _print(rows: list[Row], *, disk: bool) -> None:
    paint = Paint()
    heads = ["NAME", "CLASS", "LABEL", "STATE", "TEMPLATE", "NETVM", "MEMORY", "START"]
    lines = [
        [
            _word(row["name"]),
            _word(row["class"]),
            paint.label(_word(row["label"]), row.get("label_rgb")),
            _word(row["state"]),
            _word(row.get("template")),
            _word(row.get("netvm")),
            size(row.get("memory_bytes") or None),
            seconds(row.get("start_seconds")),
        ]
        for row in rows
    ]
    if disk:
        heads.insert(7, "DISK")
        for line, row in zip(lines, rows, strict=True):
            line.insert(7, size(row.get("disk_bytes")))
    print_table(heads, lines, right=("MEMORY", "DISK", "START"))


def _word(value: object) -> str:
    return str(value) if value else "-"
