"""Making, removing, copying and powering domains: one Admin API call a domain, several of them under way together."""

import argparse
from collections.abc import Sequence

from bento.cli.console import say_tail
from bento.cli.exits import Code, Failed
from bento.cli.manager import Manager, request
from bento.cli.numbers import seconds
from bento.cli.render import say
from bento.wire.admin import Fault, Request
from bento.wire.names import DomainName, LabelName

CLASSES = ("AppVM", "StandaloneVM", "DispVM")


def declare_create(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument(
        "--class",
        "-C",
        dest="klass",
        default="AppVM",
        metavar="CLASS",
        help="AppVM, StandaloneVM or DispVM",
    )
    parser.add_argument(
        "--template",
        "-t",
        default="",
        metavar="TEMPLATE",
        help="the template it starts from; for a DispVM an AppVM that is a disposable template",
    )
    parser.add_argument("--label", "-l", required=True, metavar="LABEL", help="its colour, such as red or green")
    parser.add_argument(
        "--property", action="append", default=[], metavar="KEY=VALUE", help="set a property; may be given again"
    )


def create(words: argparse.Namespace, manager: Manager) -> int:
    name = DomainName.parse(words.name)
    label = LabelName.parse(words.label)
    settings = [_setting(name, pair) for pair in words.property]
    if words.klass not in CLASSES:
        raise Failed(
            f"'bento create' makes {', '.join(CLASSES)}, no {words.klass!a}; "
            "templates come from 'bento template build' or a clone",
            Code.BAD_INPUT,
        )
    template = DomainName.parse(words.template) if words.template else ""
    manager.ask(request(f"admin.vm.Create.{words.klass}", argument=template, payload=f"name={name} label={label}"))
    try:
        for setting in settings:
            manager.ask(setting)
    except BaseException:  # whatever it is, Ctrl-C too: a domain with half of its properties is not what was asked for
        manager.ask(request("admin.vm.Remove", name))
        raise
    return Code.DONE


def _setting(name: str, pair: str) -> Request:
    key, equals, value = pair.partition("=")
    if not equals:
        raise Failed(f"a property is given as KEY=VALUE, not {pair!a}", Code.BAD_INPUT)
    return request("admin.vm.property.Set", name, key, value)


def declare_clone(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE")
    parser.add_argument("name", metavar="NAME", help="the new domain's name")


def clone(words: argparse.Namespace, manager: Manager) -> int:
    manager.ask(request("bento.vm.Clone", words.source, DomainName.parse(words.name)))
    return Code.DONE


def _declare_names(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="+", metavar="NAME")


declare_rm = declare_kill = declare_pause = declare_unpause = _declare_names


def declare_start(parser: argparse.ArgumentParser) -> None:
    _declare_names(parser)
    parser.add_argument("--fresh", action="store_true", help="boot them, also those that could go on from a seed")


def rm(words: argparse.Namespace, manager: Manager) -> int:
    return _each(manager, "admin.vm.Remove", words.names)


def start(words: argparse.Namespace, manager: Manager) -> int:
    """A domain whose guest gave no answer is shown with the last lines of its console: there it says why."""
    names = list(dict.fromkeys(words.names))
    how = "fresh=yes\n" if words.fresh else ""
    asked = [request("admin.vm.Start", name, payload=how) for name in names]
    code = Code.DONE
    for name, answer in zip(names, manager.ask_each(asked), strict=True):
        if isinstance(answer, Failed):
            say(answer.sentence)
            code = code or answer.code
            if answer.fault == Fault.NOT_STARTED:
                say_tail(name, manager)
    return code


def kill(words: argparse.Namespace, manager: Manager) -> int:
    return _each(manager, "admin.vm.Kill", words.names)


def pause(words: argparse.Namespace, manager: Manager) -> int:
    return _each(manager, "admin.vm.Pause", words.names)


def unpause(words: argparse.Namespace, manager: Manager) -> int:
    return _each(manager, "admin.vm.Unpause", words.names)


def declare_shutdown(parser: argparse.ArgumentParser) -> None:
    _declare_names(parser)
    parser.add_argument("--wait", action="store_true", help="until they have shut down")
    parser.add_argument("--force", action="store_true", help="even if other domains need them")
    parser.add_argument(
        "--timeout",
        type=seconds,
        metavar="SECONDS",
        help="how long to wait; the domains run on after it (implies --wait)",
    )


def shutdown(words: argparse.Namespace, manager: Manager) -> int:
    wait = words.wait or words.timeout is not None
    argument = "+".join(word for word, given in (("force", words.force), ("wait", wait)) if given)
    return _each(manager, "admin.vm.Shutdown", words.names, argument, words.timeout)


def _each(manager: Manager, method: str, names: Sequence[str], argument: str = "", timeout: float | None = None) -> int:
    """Ask it of every name. All names are parsed first; one that fails does not keep the others from being asked."""
    asked = [request(method, name, argument) for name in dict.fromkeys(names)]
    code = Code.DONE
    for answer in manager.ask_each(asked, timeout):
        if isinstance(answer, Failed):
            say(answer.sentence)
            code = code or answer.code
    return code
