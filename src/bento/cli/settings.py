"""What a domain is set to: properties, tags and features, each shown, set and taken back by the same verb."""

import argparse
import re

from bento.cli.exits import Code, Failed
from bento.cli.harmless import harmless
from bento.cli.manager import Manager, request
from bento.cli.render import print_json, print_table
from bento.wire.admin import Request
from bento.wire.names import DomainName, FeatureName, Name, ServiceArgument, Tag


class PropertyName(ServiceArgument):
    __slots__ = ()
    what = "a property name (letters, digits, or any of _ . + -)"


def declare_prefs(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        f"{parser.prog} NAME [PROPERTY [VALUE | --default]] [--json]\n"
        f"       {parser.prog} --global [PROPERTY [VALUE | --default]] [--json]"
    )
    parser.add_argument("words", nargs="*", metavar="NAME PROPERTY VALUE")
    parser.add_argument("--default", "-D", action="store_true", help="set the property back to its default")
    parser.add_argument("--global", "-g", dest="everywhere", action="store_true", help="properties of the whole system")
    parser.add_argument("--json", action="store_true", help="an object: value, type and default of each property")


def prefs(words: argparse.Namespace, manager: Manager) -> int:
    typed = words.words if not words.everywhere else ["dom0", *words.words]
    name, prop, value = _three(typed, "NAME PROPERTY VALUE", PropertyName)
    prefix = "admin.property" if words.everywhere else "admin.vm.property"
    if words.default:
        if prop is None or value is not None:
            raise Failed("name the one property to set back, as in: bento prefs work memory --default", Code.BAD_INPUT)
        manager.ask(request(f"{prefix}.Reset", name, prop))
    elif prop is not None and value is not None:
        manager.ask(request(f"{prefix}.Set", name, prop, value))
    elif prop is not None:
        answer = manager.ask(request(f"{prefix}.Get", name, prop)).decode()
        shown = _property(answer)
        if words.json:
            print_json(shown)
        else:
            print(shown["value"])
    else:
        answer = manager.ask(request(f"{prefix}.GetAll", name)).decode()
        found = {key: _property(rest, escaped=True) for key, _, rest in _split(answer)}
        if words.json:
            print_json(found)
        else:
            rows = [[key, "D" if one["default"] else "", _cell(one["value"])] for key, one in sorted(found.items())]
            print_table(("PROPERTY", "D", "VALUE"), rows)
    return Code.DONE


def declare_tags(parser: argparse.ArgumentParser) -> None:
    parser.usage = f"{parser.prog} NAME [add TAG... | del TAG...] [--json]"
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("change", nargs="?", choices=("add", "del"))
    parser.add_argument("tags", nargs="*", metavar="TAG")
    parser.add_argument("--json", action="store_true", help="a list of strings")


def tags(words: argparse.Namespace, manager: Manager) -> int:
    name = DomainName.parse(words.name)
    if words.change:
        if not words.tags:
            raise Failed(f"say which tags, as in: bento tags {name} {words.change} work", Code.BAD_INPUT)
        method = "admin.vm.tag.Set" if words.change == "add" else "admin.vm.tag.Remove"
        changes = [request(method, name, Tag.parse(tag)) for tag in words.tags]
        for change in changes:
            manager.ask(change)
        return Code.DONE
    found = manager.ask(request("admin.vm.tag.List", name)).decode().split()
    if words.json:
        print_json(found)
    else:
        print("".join(f"{tag}\n" for tag in found), end="")
    return Code.DONE


def declare_features(parser: argparse.ArgumentParser) -> None:
    parser.usage = f"{parser.prog} NAME [FEATURE [VALUE | --unset]] [--json]"
    parser.add_argument("words", nargs="+", metavar="NAME FEATURE VALUE")
    parser.add_argument("--unset", "-D", action="store_true", help="remove the feature")
    parser.add_argument("--json", action="store_true", help="an object: the value of each feature")


def features(words: argparse.Namespace, manager: Manager) -> int:
    name, feature, value = _three(words.words, "NAME FEATURE VALUE", FeatureName)
    if words.unset:
        if feature is None or value is not None:
            raise Failed("name the one feature to remove, as in: bento features work gui --unset", Code.BAD_INPUT)
        manager.ask(request("admin.vm.feature.Remove", name, feature))
    elif feature is not None and value is not None:
        manager.ask(request("admin.vm.feature.Set", name, feature, value))
    elif feature is not None:
        shown = manager.ask(_feature(name, feature)).decode()
        if words.json:
            print_json(shown)
        else:
            print(shown)
    else:
        names = manager.ask(request("admin.vm.feature.List", name)).decode().split()
        found = {}
        for one, answer in zip(names, manager.ask_each([_feature(name, one) for one in names]), strict=True):
            if isinstance(answer, Failed):
                raise answer
            found[one] = answer.decode()
        if words.json:
            print_json(found)
        else:
            print_table(("FEATURE", "VALUE"), [[key, shown] for key, shown in sorted(found.items())])
    return Code.DONE


def _feature(name: str, feature: str) -> Request:
    return request("admin.vm.feature.Get", name, feature)


def _three(words: list[str], what: str, kind: type[Name]) -> tuple[DomainName, str | None, str | None]:
    """A domain's name, and what may follow it. An empty value is a value."""
    if not words or len(words) > 3:
        raise Failed(f"expected {what}", Code.BAD_INPUT)
    name, key, value = [*words, None, None][:3]
    if key is not None:
        if not key:
            raise Failed(f"expected {what}, and the second is empty", Code.BAD_INPUT)
        key = kind.parse(key)
    return DomainName.parse(name or ""), key, value


def _split(answer: str) -> list[tuple[str, str, str]]:
    return [line.partition(" ") for line in answer.split("\n") if line]


def _cell(value: object) -> str:
    return "-" if value is None else harmless(str(value)).replace("\n", "^J")


def _property(answer: str, *, escaped: bool = False) -> dict[str, object]:
    """`default=True type=int 4` as an object; in a list of properties newlines and backslashes are escaped."""
    match = re.fullmatch(r"default=(True|False) type=(\w+) (.*)", answer, re.DOTALL)
    if match is None:
        raise Failed("the manager's answer makes no sense: it is no property", Code.OUTSIDE)
    value: object = match[3]
    if escaped:
        value = re.sub(r"\\(.)", lambda found: "\n" if found[1] == "n" else found[1], match[3])
    match match[2]:
        case "int" if match[3]:
            value = int(match[3])
        case "bool":
            value = match[3] == "True"
        case "vm" | "label" if not match[3]:
            value = None
        case _:
            pass
    return {"value": value, "type": match[2], "default": match[1] == "True"}
