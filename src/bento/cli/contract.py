"""`bento contract`: what services promise about their conversations. Nothing here changes anything.

The contracts in force are the manager's to read; a file that is to be checked
is read here and sent along, so that the manager opens no file that somebody names.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from bento.cli.exits import Code
from bento.cli.files import read_text
from bento.cli.harmless import harmless
from bento.cli.manager import Manager, request
from bento.cli.render import place, print_json, print_table
from bento.wire.names import ServiceName

Json = dict[str, Any]


def declare_ls(parser: argparse.ArgumentParser) -> None:
    parser.description = "List the services whose calls are held to a contract."
    parser.add_argument("--json", action="store_true", help="a list of objects")


def ls(words: argparse.Namespace, manager: Manager) -> int:
    found = json.loads(manager.ask(request("bento.contract.List")))
    if words.json:
        print_json(found)
    else:
        print_table(("SERVICE", "WHOSE", "STATE"), [_row(one) for one in found])
    return Code.DONE


def _row(one: Json) -> list[str]:
    state = f"cannot be called: {_complaint(one['faults'][0])}" if one["faults"] else "held to"
    return [harmless(cell) for cell in (one["service"], "yours" if one["own"] else "bento's", state)]


def declare_check(parser: argparse.ArgumentParser) -> None:
    parser.description = "Say what is wrong with contracts: mistakes, states without an end, loops without a bound."
    parser.add_argument("files", nargs="+", metavar="FILE", help="SERVICE.contract, wherever it lies")
    parser.add_argument("--json", action="store_true", help="a list of objects")


def check(words: argparse.Namespace, manager: Manager) -> int:
    faults: list[Json] = []
    for name in words.files:
        faults += json.loads(manager.ask(request("bento.contract.Check", payload=_file(name))))
    if words.json:
        print_json(faults)
    elif not faults:
        print("Nothing is wrong." if len(words.files) == 1 else "Nothing is wrong with any of them.")
    else:
        for fault in faults:
            print(harmless(_complaint(fault)))
    return Code.BAD_INPUT if faults else Code.DONE


def _file(name: str) -> str:
    """Its name, a NUL, and its text."""
    return f"{name}\0{read_text(Path(name))}"


def _complaint(fault: Json) -> str:
    return f"{place(fault)}: {fault['problem']}"


def declare_show(parser: argparse.ArgumentParser) -> None:
    parser.description = "Print the contract of a service, as it was written."
    parser.add_argument("service", metavar="SERVICE")
    parser.add_argument("--json", action="store_true", help="one object: the text, whose it is, what is wrong with it")


def show(words: argparse.Namespace, manager: Manager) -> int:
    found = json.loads(manager.ask(request("bento.contract.Show", payload=ServiceName.parse(words.service))))
    if words.json:
        print_json(found)
    else:
        print("\n".join(harmless(line) for line in found["text"].rstrip("\n").split("\n")))
    return Code.DONE
