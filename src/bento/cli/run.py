"""`bento run`: a program in a domain, as if it ran here: its input, its output, its errors and its exit code.

Two terminals as input and output make the program run on a terminal in the
domain, raw at this end, as ssh does; then the program, and so the domain,
speaks to the person's terminal directly, which is what a terminal session is.
Without that, what it prints on a terminal is made harmless (`harmless.py`)
unless the person says --no-filter; what goes to a pipe or a file is never
touched.
"""

import argparse
import os

from bento.cli.birth import birth, declare_birth
from bento.cli.ends import Sink, call, command
from bento.cli.exits import Code, Failed
from bento.cli.leg import File, Leg
from bento.cli.manager import Manager
from bento.cli.terminal import Harmlessly, raw, rows_and_columns, sizes
from bento.wire.names import ADMIN, DomainName, UserName
from bento.wire.rpc import Stream

STDIN, STDOUT, STDERR = 0, 1, 2


def declare_run(parser: argparse.ArgumentParser) -> None:
    options, program = "[--user USER] [--tty | --no-tty] [--no-filter]", "-- PROGRAM [ARGUMENT...]"
    where = "--disposable[=TEMPLATE] [--label LABEL] [--netvm DOMAIN] [--fresh]"
    parser.usage = (
        f"{parser.prog} {options} [--no-autostart] DOMAIN {program}\n       {parser.prog} {options} {where} {program}"
    )
    parser.add_argument("domain", metavar="DOMAIN", nargs="?", default="")
    parser.add_argument(
        "--disposable",
        nargs="?",
        const=ADMIN,
        metavar="TEMPLATE",
        help="in a new disposable, which is gone with the program (made from the system's default_dispvm)",
    )
    declare_birth(parser)
    parser.add_argument("words", nargs="*", default=[], help=argparse.SUPPRESS)
    parser.add_argument("--user", "-u", metavar="USER", help="the account in the domain (its default user)")
    parser.add_argument("--no-autostart", action="store_true", help="do not start the domain if it is halted")
    parser.add_argument(
        "--tty",
        "-t",
        action=argparse.BooleanOptionalAction,
        help="run it on a terminal (if both standard input and output are one)",
    )
    parser.add_argument(
        "--no-filter", action="store_true", help="print control characters on a terminal as they are; trust the domain"
    )


def run(words: argparse.Namespace, manager: Manager) -> int:
    if words.disposable == "":
        raise Failed("say what it is made from, as in: bento run --disposable=web -- ls -l", Code.BAD_INPUT)
    if words.domain and words.disposable:
        raise Failed(
            f"it runs in {words.domain} or in a disposable; --disposable={words.domain} is one made from that",
            Code.BAD_INPUT,
        )
    if not words.domain and not words.disposable:
        raise Failed(
            "name the domain to run it in, or say --disposable, as in: bento run work -- ls -l", Code.BAD_INPUT
        )
    domain = DomainName.parse(words.domain or words.disposable)
    if not words.program or words.words:
        where = words.domain or ("--disposable" if domain == ADMIN else f"--disposable={domain}")
        raise Failed(f"put the program behind --, as in: bento run {where} -- ls -l", Code.BAD_INPUT)
    if words.domain and (given := list(birth(words))):
        raise Failed(f"--{given[0]} is for a new disposable, and {domain} is none", Code.BAD_INPUT)
    terminal = words.tty if words.tty is not None else os.isatty(STDIN) and os.isatty(STDOUT)
    settings = {"autostart": "no" if words.no_autostart else "yes", **birth(words)}
    if words.disposable:
        settings["disposable"] = "yes"
    if words.user:
        settings["user"] = UserName.parse(words.user)
    if terminal:
        rows, columns = rows_and_columns(STDOUT)
        settings |= {"rows": str(rows), "columns": str(columns)}
    with call(manager, domain, command(words.program), settings) as connection:
        sinks: dict[int, Sink] = {
            stream: _sink(file, filtered=not terminal and not words.no_filter)
            for stream, file in ((Stream.STDOUT, STDOUT), (Stream.STDERR, STDERR))
        }
        leg = Leg(connection, domain, File(STDIN), sinks)
        if not terminal:
            code = leg.converse()
        else:
            with raw(STDIN), sizes(STDOUT) as leg.sizes:
                code = leg.converse()
        for sink in sinks.values():
            if isinstance(sink, Harmlessly):
                sink.end()
        return code


def _sink(file: int, *, filtered: bool) -> Sink:
    return Harmlessly(file) if filtered and os.isatty(file) else File(file)
