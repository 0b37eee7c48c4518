"""A domain's serial console: joined (`bento console`), or read back from its log (`bento logs`).

A console that is joined on a terminal speaks to that terminal directly, as a
serial line does. The log is for reading: whatever the guest wrote there is
made harmless first, also on the way to a file that somebody may print later.
"""

import argparse
import os
import select
import socket
import sys
import time
from dataclasses import replace

from bento.cli.exits import Code, Failed
from bento.cli.harmless import Harmless, speaks_utf8
from bento.cli.manager import Manager, request
from bento.cli.render import say
from bento.cli.terminal import raw

LEAVE = b"\x1d"
"""Ctrl-], as with telnet and other consoles: the one key that does not go to the domain."""

PIECE = 1 << 16
TAIL = 4096
TAIL_LINES = 12
"""How much of a log is shown with a failure: its last so many bytes, of these the last so many lines."""

LOOK_AGAIN = 0.25
"""Seconds between two looks at a log that is followed: a file tells nobody that it has grown."""


def declare_console(parser: argparse.ArgumentParser) -> None:
    parser.description = "Join a domain's serial console. Ctrl-] leaves it."
    parser.add_argument("domain", metavar="DOMAIN")


def console(words: argparse.Namespace, manager: Manager) -> int:
    with socket.socket(fileno=manager.open(request("bento.vm.Console", words.domain))) as line:
        if os.isatty(0):
            say(f"on the console of {words.domain}; Ctrl-] leaves it")
        with raw(0):
            _converse(line, leave=os.isatty(0))
    return Code.DONE


def _converse(line: socket.socket, *, leave: bool) -> None:
    poll = select.poll()
    poll.register(line, select.POLLIN)
    poll.register(0, select.POLLIN)
    while True:
        for file, _ in poll.poll():
            if file == 0:
                typed = os.read(0, PIECE)
                if leave and LEAVE in typed:
                    return
                if typed:
                    line.sendall(typed)
                else:  # the end of what was piped in; what the console answers is still of interest
                    poll.unregister(0)
                    line.shutdown(socket.SHUT_WR)
            else:
                said = memoryview(line.recv(PIECE))
                if not said:
                    return
                while said:
                    said = said[os.write(1, said) :]


def say_tail(domain: str, manager: Manager) -> None:
    """The end of a domain's log, made harmless, on standard error; nothing if there is none."""
    try:
        log = manager.open(request("bento.vm.Log", domain))
    except Failed:
        return
    try:
        untrusted = os.pread(log, TAIL, max(0, os.fstat(log).st_size - TAIL))
    finally:
        os.close(log)
    shown = Harmless(utf8=speaks_utf8(os.environ))
    for line in (shown.feed(untrusted) + shown.end()).splitlines()[-TAIL_LINES:]:
        print(f"  {domain}: {line}", file=sys.stderr)


def declare_logs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("domain", metavar="DOMAIN")
    parser.add_argument("--follow", "-f", action="store_true", help="go on with what comes, until Ctrl-C")
    parser.add_argument("--raw", action="store_true", help="control characters as they are; trust the domain")


def logs(words: argparse.Namespace, manager: Manager) -> int:
    asked = request("bento.vm.Log", words.domain)
    shown = Harmless(utf8=speaks_utf8(os.environ) or not sys.stdout.isatty())
    log = manager.open(asked)

    def pass_on() -> None:
        while untrusted := os.read(log, PIECE):
            if words.raw:
                sys.stdout.buffer.write(untrusted)
            else:
                sys.stdout.buffer.write(shown.feed(untrusted).encode())
        sys.stdout.flush()

    try:
        pass_on()
        while words.follow:
            time.sleep(LOOK_AGAIN)
            try:
                if os.fstat(log).st_nlink == 0:  # removed, or a disposable's, which has no name even while it is used
                    now = replace(manager, launch=False).open(asked)
                    pass_on()  # to the end, if it is not the one that the manager has now
                    _renew(log, now)
                if os.fstat(log).st_size < os.lseek(log, 0, os.SEEK_CUR):  # it was cut
                    os.lseek(log, 0, os.SEEK_SET)
            finally:
                pass_on()  # of a domain that is gone the last words
    finally:
        os.close(log)
    sys.stdout.buffer.write(shown.end().encode())
    return Code.DONE


def _renew(log: int, now: int) -> None:
    """Put `now`, which is closed, in the place of `log`, which stays as it is if it is that file."""
    try:
        if not os.path.samestat(os.fstat(now), os.fstat(log)):
            os.dup2(now, log, inheritable=False)
    finally:
        os.close(now)
