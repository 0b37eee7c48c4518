"""All that `bento` can be told to do, in one table, and the parser of each verb's words.

A verb's module is imported when the verb is used and not before, so that
`bento run` starts without waiting for the rest. Each module holds functions
`declare_VERB(parser)` and `VERB(words, manager) -> exit code`, named in `VERBS`.
"""

import argparse
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import NoReturn, cast

from bento.cli.exits import Code, Failed
from bento.cli.manager import Manager
from bento.wire.home import Home


@dataclass(frozen=True, slots=True)
class Verb:
    module: str
    function: str
    help: str
    launch: bool = True
    """Whether it starts the manager where none runs."""


VERBS: dict[str, Verb] = {
    "ls": Verb("listing", "ls", "list domains"),
    "top": Verb("top", "top", "follow what domains take of this machine"),
    "create": Verb("domains", "create", "make a domain"),
    "rm": Verb("domains", "rm", "remove domains and all they hold"),
    "clone": Verb("domains", "clone", "make a copy of a domain"),
    "start": Verb("domains", "start", "start domains"),
    "shutdown": Verb("domains", "shutdown", "ask domains to shut down"),
    "kill": Verb("domains", "kill", "end domains at once, as if the power failed"),
    "pause": Verb("domains", "pause", "freeze domains"),
    "unpause": Verb("domains", "unpause", "let paused domains go on"),
    "suspend": Verb("suspending", "suspend", "write running domains to the disk, encrypted, and end their machines"),
    "resume": Verb("suspending", "resume", "let suspended domains go on"),
    "prefs": Verb("settings", "prefs", "show or set a domain's properties"),
    "tags": Verb("settings", "tags", "show or set a domain's tags"),
    "features": Verb("settings", "features", "show or set a domain's features"),
    "run": Verb("run", "run", "run a program in a domain"),
    "console": Verb("console", "console", "join a domain's serial console"),
    "logs": Verb("console", "logs", "show what a domain's console said"),
    "cp": Verb("cp", "cp", "copy files into a domain or out of it"),
    "template build": Verb("templates", "build", "build a template from the distribution's packages"),
    "template ls": Verb("templates", "ls", "list templates"),
    "template info": Verb("templates", "info", "show all about a template"),
    "template rm": Verb("templates", "rm", "remove a template"),
    "disp open": Verb("opening", "disp_open", "open a file or a link in a disposable"),
    "disp seeds": Verb("disposables", "seeds", "list what disposables are forked from"),
    "policy check": Verb("policy", "check", "say what is odd about the policy"),
    "policy explain": Verb("policy", "explain", "say what the policy makes of a call, and why"),
    "policy reach": Verb("policy", "reach", "say who can reach whom"),
    "policy diff": Verb("policy", "diff", "say what an edit of the policy changes"),
    "policy simulate": Verb("simulate", "simulate", "replay the audit log against another policy"),
    "policy invariant": Verb("policy", "invariant", "say whether your statements about the policy hold"),
    "audit show": Verb("audit", "show", "show what was decided about calls"),
    "audit verify": Verb("audit", "verify", "say whether the log of decisions is whole"),
    "agent": Verb("agent", "agent", "be asked where the policy says ask"),
    "grants": Verb("grants", "grants", "show or revoke what you allowed for longer than once"),
    "contract ls": Verb("contract", "ls", "list the services that have a contract"),
    "contract check": Verb("contract", "check", "say what is wrong with contracts"),
    "contract show": Verb("contract", "show", "print a service's contract"),
    "doctor": Verb("system", "doctor", "say what this machine gives, and what follows"),
    "events": Verb("system", "events", "follow what happens"),
    "manager status": Verb("system", "status", "show whether the manager runs", launch=False),
    "manager stop": Verb("system", "stop", "stop the manager; domains run on", launch=False),
    "completion": Verb("completion", "completion", "print a script that makes bash complete commands", launch=False),
    "version": Verb("system", "version", "print the version", launch=False),
}

HELP = ("-h", "--help", "help")

Declare = Callable[[argparse.ArgumentParser], None]
Perform = Callable[[argparse.Namespace, Manager], int]


class Parser(argparse.ArgumentParser):
    """argparse, but what it finds wrong is one sentence like every other."""

    def error(self, message: str) -> NoReturn:
        raise Failed(f"{self.prog.removeprefix('bento ')}: {message}; see {self.prog} --help", Code.BAD_INPUT)


def perform(words: Sequence[str], find_home: Callable[[], Home]) -> int:
    """Do what `words` (the command line without the program's name) say; the code to end with."""
    name, rest = _split(words)
    if not name:
        print(_overview(rest))
        return Code.DONE
    verb = VERBS[name]
    parser = parser_of(name)
    act = cast(Perform, getattr(_module(verb), verb.function))
    # What follows the first -- belongs to a program in the domain; argparse's own idea of -- differs by version.
    program: list[str] | None = None
    if name == "run" and "--" in rest:
        at = rest.index("--")
        rest, program = rest[:at], list(rest[at + 1 :])
    parsed = parser.parse_args(rest)
    parsed.program = program
    return act(parsed, Manager(find_home(), launch=verb.launch))


def parser_of(name: str) -> Parser:
    """Of the verb's words."""
    verb = VERBS[name]
    parser = Parser(prog=f"bento {name}", description=f"{verb.help[0].upper()}{verb.help[1:]}.", allow_abbrev=False)
    declare = cast(Declare, getattr(_module(verb), f"declare_{verb.function}"))
    declare(parser)
    return parser


def _module(verb: Verb) -> ModuleType:
    return importlib.import_module(f"bento.cli.{verb.module}")


def _split(words: Sequence[str]) -> tuple[str, Sequence[str]]:
    """The verb, which may be of two words, and what follows it; for a call for help no verb, and what about."""
    if not words or words[0] in HELP:
        return "", ()
    if words[0] == "--version":
        return "version", words[1:]
    if words[0] in VERBS:
        return words[0], words[1:]
    seconds = [verb.partition(" ")[2] for verb in VERBS if verb.startswith(words[0] + " ")]
    if not seconds:
        raise Failed(f"there is no command {words[0]!a}; see bento --help", Code.BAD_INPUT)
    if len(words) > 1 and words[1] in seconds:
        return f"{words[0]} {words[1]}", words[2:]
    if words[1:] and words[1] in HELP:
        return "", words[:1]
    raise Failed(f"say what to do: bento {words[0]} {'|'.join(seconds)}", Code.BAD_INPUT)


def _overview(about: Sequence[str] = ()) -> str:
    """All verbs, or those whose first word is `about`."""
    first = " ".join([*about, ""]) if about else ""
    verbs = {name: verb for name, verb in VERBS.items() if name.startswith(first)}
    width = max(map(len, verbs))
    lines = [f"  {name:{width}}  {verb.help}" for name, verb in verbs.items()]
    more = f"bento {first}COMMAND --help tells more about one of them."
    return "\n".join([f"usage: bento {first}COMMAND ...", "", *lines, "", more])
