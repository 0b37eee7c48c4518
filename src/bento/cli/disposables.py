"""`bento disp`: disposables, and the seeds that they and AppVMs go on from."""

import argparse
import json
import time

from bento.cli.exits import Code
from bento.cli.manager import Manager, request
from bento.cli.render import print_json, print_table, size


def declare_seeds(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "List the seeds: machines booted, saved, and forked for each disposable or AppVM that starts. "
        "A spare is one that was forked ahead, and waits for the next disposable."
    )
    parser.add_argument("--json", action="store_true", help="a list of objects")


def seeds(words: argparse.Namespace, manager: Manager) -> int:
    found = json.loads(manager.ask(request("bento.seed.List")))
    if words.json:
        print_json(found)
        return Code.DONE
    rows = [
        [
            one["base"],
            one["for"],
            str(one["template_version"]),
            size(one["size_bytes"]),
            _age(time.time() - one["made"]),
            "current" if one["current"] else "stale",
            "ready" if one["spare"] else "",
        ]
        for one in found
    ]
    print_table(("TEMPLATE", "FOR", "VERSION", "SIZE", "AGE", "STATE", "SPARE"), rows, right=("VERSION", "SIZE", "AGE"))
    return Code.DONE


def _age(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
