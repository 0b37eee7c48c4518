"""`bento suspend` and `bento resume`: one domain after the other, for they share a disk."""

import argparse

from bento.cli.exits import Code, Failed
from bento.cli.manager import Manager, request
from bento.cli.progress import Progress
from bento.cli.render import say


def _declare_names(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="+", metavar="NAME")


declare_suspend = declare_resume = _declare_names


def suspend(words: argparse.Namespace, manager: Manager) -> int:
    return _each(manager, "bento.vm.Suspend", "suspending", words.names)


def resume(words: argparse.Namespace, manager: Manager) -> int:
    return _each(manager, "bento.vm.Resume", "resuming", words.names)


def _each(manager: Manager, method: str, doing: str, names: list[str]) -> int:
    """All names are parsed first; one that fails does not keep the others from being asked for."""
    code = Code.DONE
    for asked in [request(method, name) for name in dict.fromkeys(names)]:
        try:
            with Progress() as progress:
                for event in manager.follow(asked):
                    if event.name == "progress":
                        progress.show(f"{doing} {asked.destination}", float(dict(event.details)["fraction"]))
        except Failed as failed:
            say(failed.sentence)
            code = code or failed.code
    return code
