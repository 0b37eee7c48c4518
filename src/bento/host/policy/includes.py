"""Files that include each other, to one list of rules.

Everything that may be included is handed in by name, as its path below the
policy directory: nothing is opened here, and there is no way out of that directory. As
in the field, a path is relative to the policy directory, wherever it is written; within the
old policy of `!compat-4.0`, to the directory of that.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import assert_never

from bento.host.model.fault import Fault
from bento.host.policy.grammar import (
    Compat40,
    Include,
    IncludeDirectory,
    IncludeService,
    PolicyError,
    Statement,
    Word,
    decoded,
    lines,
    parse,
    parse_old,
)
from bento.host.policy.rules import AnyDomain, Deny, Named, Rule
from bento.wire.errors import WireError
from bento.wire.names import ADMIN, ServiceArgument, ServiceName, printable

SUFFIX = ".policy"
FILE_NAME = re.compile(r"[0-9a-z_.-]+\.policy", re.ASCII)

PATH = re.compile(r"[!-~]+", re.ASCII)
"""Names of included files are safe to print."""

COMPAT = "compat-4.0/"
"""Where the files of the old policy lie (the field: `/etc/qubes-rpc/policy`), named SERVICE or SERVICE+ARGUMENT."""

LEFTOVERS = (".rpmsave", ".rpmnew", ".swp")
"""What installers and editors leave behind there, which the field passes over."""

MAX_DEPTH = 16
MAX_LINES = 200_000
"""Of all files together, each counted as often as it is included: a few files that include each other twice and
twice again would else fill the memory."""


def policies(names: Iterable[str], below: str = "") -> list[str]:
    """Those that count as policy files of the directory `below` (empty or with a / at its end), in their order."""
    inside = (name.removeprefix(below) for name in names if name.startswith(below))
    return [below + name for name in sorted(inside) if name.endswith(SUFFIX) and name[0] != "." and "/" not in name]


class Reader:
    """Reads `files` into rules. Those that end in / are directories. `used` are the files read so far."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files
        self._open: list[str] = []
        """The file that is being read, below those that include it."""
        self._lines = 0
        self.used: dict[str, bytes] = {}

    def rules(self, name: str) -> Iterator[Rule]:
        """The rules of a policy file and of all it includes, in order. Raises PolicyError."""
        if not FILE_NAME.fullmatch(name.rpartition("/")[2]):
            # Not skipped: whoever wrote the file believes that it holds.
            problem = "expected a file name of small letters, digits and _ . - only; rename the file"
            raise PolicyError(Fault(printable(name), 0, 0, problem))
        yield from self._follow(name, parse(name, self._text(name)))

    def _follow(self, name: str, statements: Iterable[Statement], base: str = "") -> Iterator[Rule]:
        self._open.append(name)
        for statement in statements:
            match statement:
                case Rule():
                    yield statement
                case Include(path):
                    file = self._file(path, base)
                    yield from self._follow(file, parse(file, self._text(file)))
                case IncludeDirectory(path):
                    for file in policies(self._files, self._directory(path)):
                        self._check_loop(file, path)
                        yield from self.rules(file)
                case IncludeService(service, argument, path):
                    file = self._file(path, base)
                    yield from self._follow(file, parse_old(file, self._text(file), service, argument), base)
                case Compat40(directive):
                    yield from self._old_policy(directive)
                case never:
                    assert_never(never)
        self._open.pop()

    def _old_policy(self, directive: Word) -> Iterator[Rule]:
        """One file a service and, before it, those about one argument of it; each of these denies what it doesn't say.

        So it was when a call looked for its own file alone.
        """
        for service, argument, file in sorted(self._old_files(), key=lambda found: (found[0], found[1] is None, found)):
            self._check_loop(file, directive)
            yield from self._follow(file, parse_old(file, self._text(file), service, argument), COMPAT)
            if argument is not None:
                for target in (AnyDomain(), Named(ADMIN)):
                    yield Rule(service, argument, AnyDomain(), target, Deny(), file, 0)

    def _old_files(self) -> Iterator[tuple[ServiceName, ServiceArgument | None, str]]:
        for file in self._files:
            name = file.removeprefix(COMPAT)
            if name == file or name.endswith(LEFTOVERS):
                continue
            service, plus, argument = name.partition("+")
            try:
                yield ServiceName.parse(service), ServiceArgument.parse(argument) if plus else None, file
            except WireError:
                continue  # as in the field: what is no service's name was not put there as a policy

    # ---- finding and reading ---------------------------------------------------------------------

    def _file(self, path: Word, base: str) -> str:
        name = base + _inside(path)
        if name not in self._files:
            raise path.wrong(f"expected a file that can be read, and there is no {printable(name)} below the policy")
        self._check_loop(name, path)
        return name

    def _directory(self, path: Word) -> str:
        name = f"{_inside(path)}/"
        if not any(file.startswith(name) for file in self._files):
            raise path.wrong(f"expected a directory, and there is no {printable(name)} below the policy")
        return name

    def _check_loop(self, name: str, at: Word) -> None:
        if name in self._open:
            loop = [*self._open[self._open.index(name) :], name]
            raise at.wrong(f"expected no file that leads back to itself: {' includes '.join(map(printable, loop))}")
        if len(self._open) >= MAX_DEPTH:
            raise at.wrong(f"expected at most {MAX_DEPTH} files that include one another")

    def _text(self, name: str) -> str:
        content = self.used[name] = self._files[name]
        text = decoded(name, content)
        self._lines += len(lines(text))
        if self._lines > MAX_LINES:
            problem = f"expected at most {MAX_LINES} lines in all, each file counted as often as it is included"
            raise PolicyError(Fault(name, 0, 0, problem))
        return text


def _inside(path: Word) -> str:
    """The path without `.` and `..`, if it stays inside the directory that it is relative to."""
    if not PATH.fullmatch(path.text):
        raise path.expected("a path of ASCII letters, digits and signs")
    parts: list[str] = []
    for part in path.text.split("/"):
        if part == ".." and parts:
            parts.pop()
        elif part == ".." or (not part and not parts):
            raise path.expected("a path that stays inside the policy directory")
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)
