"""`bento template`: building, listing and removing the images that domains start from."""

import argparse
import json
from datetime import UTC, datetime

from bento.cli.exits import Code
from bento.cli.manager import Manager, request
from bento.cli.progress import Progress
from bento.cli.render import print_json, print_table, size
from bento.wire.names import DomainName


def declare_build(parser: argparse.ArgumentParser) -> None:
    parser.description = "Build a template from the distribution's packages. Ctrl-C gives it up and leaves nothing."
    parser.add_argument("distribution", metavar="DISTRIBUTION", help="such as debian-12")
    parser.add_argument("--flavor", metavar="FLAVOR", help="how much is in it, such as minimal")
    parser.add_argument("--name", metavar="NAME", help="the template's name (the distribution's)")


def build(words: argparse.Namespace, manager: Manager) -> int:
    payload = f"flavor={words.flavor}\n" if words.flavor else ""
    if words.name:
        payload += f"name={DomainName.parse(words.name)}\n"
    with Progress() as progress:
        for event in manager.follow(request("bento.template.Build", argument=words.distribution, payload=payload)):
            details = dict(event.details)
            if event.name != "progress":
                continue
            fraction = details.get("fraction")
            progress.show(f"{event.subject}: {details['phase']}", float(fraction) if fraction else None)
    return Code.DONE


def declare_ls(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="a list of objects")


def ls(words: argparse.Namespace, manager: Manager) -> int:
    found = json.loads(manager.ask(request("bento.template.List")))
    if words.json:
        print_json(found)
        return Code.DONE
    heads = ("NAME", "FLAVOR", "VERSION", "SIZE", "PACKAGES", "BUILT", "USED BY")
    rows = [
        [
            one["name"],
            one["flavor"],
            str(one["version"]),
            size(one["size_bytes"]),
            str(one["packages"]),
            _day(one["created"]),
            " ".join(one["used_by"]) or "-",
        ]
        for one in found
    ]
    print_table(heads, rows, right=("VERSION", "SIZE", "PACKAGES"))
    return Code.DONE


def declare_info(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--json", action="store_true", help="one object, with all that is recorded of it")


def info(words: argparse.Namespace, manager: Manager) -> int:
    found = json.loads(manager.ask(request("bento.template.Info", argument=DomainName.parse(words.name))))
    if words.json:
        print_json(found)
        return Code.DONE
    rows = [
        ["name", found["name"]],
        ["flavor", found["flavor"]],
        ["state", found["state"]],
        ["packages", str(found["packages"])],
        ["used by", " ".join(found["used_by"]) or "-"],
    ]
    rows += [
        [f"version {one['version']}", f"{size(one['size_bytes'])}, {_day(one['created'])}, {one['digest']}"]
        for one in found["versions"]
    ]
    print_table(("TEMPLATE", ""), rows)
    return Code.DONE


def declare_rm(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")


def rm(words: argparse.Namespace, manager: Manager) -> int:
    name = DomainName.parse(words.name)
    manager.ask(request("bento.template.Info", argument=name))  # says no to a domain that is no template
    manager.ask(request("admin.vm.Remove", name))
    return Code.DONE


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M")
