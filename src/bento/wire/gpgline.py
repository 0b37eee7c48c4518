"""What of gpg's command line may go to another domain's keys: the field's list of options, and nothing else.

The side with the keys believes none of it: it parses the words, refuses what is not in `OPTIONS`, and makes a command
line of its own from what it understood. No word of the other side's is ever read by gpg as an option, and none names a
file: files are numbers, which that side puts in itself. The other side uses the same parser to know which of its files
to connect. Options are written in full (gpg would take any beginning of one), their values after `=` or as the next
word; nothing after the first word that is no option is one. Source: gpg-common.h, gpg-common.c and gpg-list-options.c
of the field's qubes-app-linux-split-gpg.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from bento.wire.errors import WireError
from bento.wire.names import printable

MAX_FILE = 1023
"""Highest number of a file that a command line may name."""
MAX_FILES = 14
"""Files in one direction, at most."""

FILE = re.compile(r"0|[1-9][0-9]{0,3}", re.ASCII)
FILE_PATH = "/dev/fd/"


class Value(Enum):
    """What an option is followed by."""

    NOTHING = "nothing"
    TEXT = "text"
    INPUT = "the number of a file that gpg reads"
    OUTPUT = "the number of a file that gpg writes"
    DASH = "-, which is standard output"
    LISTING = "names of what a list shows"
    VERIFYING = "names of what a verification shows"


class Takes(Enum):
    """What follows the options of a command."""

    DATA = "data"
    """One file, or standard input."""
    SIGNATURE = "signature"
    """A file with a signature, and maybe one with what was signed."""
    USERS = "users"
    """Any number of user ids or key ids; no file at all."""


def _options(value: Value, names: str) -> dict[str, Value]:
    return dict.fromkeys(names.split(), value)


OPTIONS: Mapping[str, Value] = {
    **_options(
        Value.NOTHING,
        "always-trust armor batch clearsign clear-sign decrypt default-recipient-self detach-sign dry-run emit-version"
        " enable-progress-filter encrypt exit-on-status-write-error export export-ssh-key fingerprint fixed-list-mode"
        " gnupg list-config list-key list-keys list-only list-public-keys list-secret-keys list-sig list-sigs"
        " no-auto-check-trustdb no-comments no-default-recipient no-emit-version no-encrypt-to no-force-v3-sigs"
        " no-force-v4-certs no-greeting no-secmem-warning no-skip-hidden-recipients no-throw-keyids no-verbose openpgp"
        " pgp6 pgp7 pgp8 quiet rfc2440 rfc4880 sign skip-hidden-recipients store symmetric textmode throw-keyids"
        " try-all-secrets unwrap verbose verify version with-colons with-fingerprint with-keygrip with-secret",
    ),
    **_options(
        Value.TEXT,
        "cert-notation comment compress-algo digest-algo encrypt-to hidden-encrypt-to hidden-recipient keyid-format"
        " local-user max-output personal-cipher-preferences personal-compress-preferences personal-digest-preferences"
        " recipient s2k-cipher-algo s2k-count s2k-digest-algo s2k-mode sender set-filename set-notation sig-notation"
        " trust-model trusted-key try-secret-key",
    ),
    **_options(Value.OUTPUT, "attribute-fd logger-fd status-fd"),
    **_options(Value.INPUT, "command-fd"),
    **_options(Value.DASH, "output"),
    **_options(Value.LISTING, "list-options"),
    **_options(Value.VERIFYING, "verify-options"),
}

SHORT: Mapping[str, str] = {
    "a": "armor", "b": "detach-sign", "c": "symmetric", "d": "decrypt", "e": "encrypt", "k": "list-keys",
    "K": "list-secret-keys", "n": "dry-run", "N": "set-notation", "o": "output", "q": "quiet", "r": "recipient",
    "R": "hidden-recipient", "s": "sign", "t": "textmode", "u": "local-user", "v": "verbose",
}  # fmt: skip  # a list to be read across

COMMANDS: Mapping[str, Takes] = {
    **dict.fromkeys(("list-keys", "list-key", "list-public-keys", "list-secret-keys"), Takes.USERS),
    **dict.fromkeys(("export", "export-ssh-key", "fingerprint", "list-sig", "list-sigs"), Takes.USERS),
    **dict.fromkeys(("detach-sign", "symmetric", "decrypt", "encrypt", "sign", "clearsign", "clear-sign"), Takes.DATA),
    **dict.fromkeys(("list-config", "store"), Takes.DATA),
    "verify": Takes.SIGNATURE,
}
"""Of the options those that say what to do. Without one gpg looks at the data and does what fits."""

SHOWN = frozenset(
    "show-keyserver-urls show-notations show-policy-urls show-sig-expire show-std-notations show-uid-validity"
    " show-unusable-subkeys show-unusable-uids show-usage show-user-notations".split()
)
SHOWN_WHEN_VERIFYING = frozenset(
    "show-keyserver-urls show-notations show-policy-urls show-primary-uid-only show-std-notations show-uid-validity"
    " show-unusable-uids show-user-notations".split()
)
"""What neither starts a program (as show-photos does) nor tells where files lie (as show-keyring does)."""


@dataclass(frozen=True, slots=True)
class Line:
    """A command line that may go to another domain's keys, options by their long names."""

    options: tuple[tuple[str, str | None], ...]
    takes: Takes
    arguments: tuple[str, ...]

    @property
    def signature(self) -> int | None:
        """The number of the file with the signature that is to be verified, if it has one."""
        if self.takes is Takes.SIGNATURE and self.arguments and self.arguments[0].startswith(FILE_PATH):
            return _file(self.arguments[0].removeprefix(FILE_PATH))
        return None

    @property
    def inputs(self) -> list[int]:
        """The numbers of the files that gpg reads, in the order of the wire."""
        named = [0, *self._numbers(Value.INPUT)]
        return _once(named if self.signature is None else [*named, self.signature])

    @property
    def outputs(self) -> list[int]:
        """The same for those that it writes."""
        return _once([1, 2, *self._numbers(Value.OUTPUT)])

    @property
    def words(self) -> list[str]:
        """For the wire or for gpg: every option in full with its value behind `=`, then `--`, then the arguments."""
        options = [f"--{name}" if value is None else f"--{name}={value}" for name, value in self.options]
        return [*options, "--", *self.arguments] if self.arguments else options

    def _numbers(self, kind: Value) -> list[int]:
        return [_file(value) for name, value in self.options if OPTIONS[name] is kind and value is not None]


def parse(words: Sequence[str]) -> Line:
    """The command line of these words (without the program's name); `WireError` says what is not allowed of it.

    The arguments of a `Line` may still be names of files, if the command takes files: only on the own side.
    """
    if not all(word.isprintable() for word in words):
        raise WireError("the command line has characters that do not print")
    options: list[tuple[str, str | None]] = []
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            options.append(_option(name, value if equals else None, rest))
        else:
            options += _letters(word[1:], rest)
    else:
        # gpg itself would find options among the arguments.
        for word in rest:
            if word.startswith("-") and word != "-":
                raise WireError(f"{printable(word)} comes after what is no option; options come first")
    takes = {COMMANDS[name] for name, _ in options if name in COMMANDS}
    if len(takes) > 1:
        raise WireError("the command line has two commands that do not go together")
    line = Line(tuple(options), takes.pop() if takes else Takes.DATA, tuple(rest))
    if line.takes is not Takes.USERS and len(rest) > (most := 2 if line.takes is Takes.SIGNATURE else 1):
        raise WireError(f"the command line names {len(rest)} files; split GPG takes {most} at once")
    return line


def parse_remote(words: Sequence[str]) -> Line:
    """The same for words of another domain's: a file can only be a number that its blocks come for."""
    line = parse(words)
    files = line.arguments if line.signature is None else line.arguments[1:]
    if line.takes is not Takes.USERS and files not in ((), ("-",)):
        raise WireError("the command line names a file of the domain that has the keys")
    if max(len(line.inputs), len(line.outputs)) > MAX_FILES:
        raise WireError(f"the command line names more than {MAX_FILES} files")
    return line


def renumbered(line: Line, inputs: Mapping[int, int], outputs: Mapping[int, int]) -> Line:
    """`line` with other numbers for its files: those they have where gpg runs."""
    numbers = {Value.INPUT: inputs, Value.OUTPUT: outputs}
    options = tuple(
        (name, str(numbers[OPTIONS[name]][_file(value)]) if value and OPTIONS[name] in numbers else value)
        for name, value in line.options
    )
    arguments = line.arguments
    if line.signature is not None:
        arguments = (f"{FILE_PATH}{inputs[line.signature]}", *arguments[1:])
    return replace(line, options=options, arguments=arguments)


def _option(name: str, value: str | None, rest: list[str]) -> tuple[str, str | None]:
    """A checked option; its value, unless given, is taken from `rest`."""
    kind = OPTIONS.get(name)
    if kind is None:
        raise WireError(f"{printable(f'--{name}')} is no option that may go to another domain's keys")
    if kind is Value.NOTHING:
        if value is not None:
            raise WireError(f"--{name} takes no value")
        return name, None
    if value is None:
        if not rest:
            raise WireError(f"--{name} needs a value")
        value = rest.pop(0)
    match kind:
        case Value.INPUT | Value.OUTPUT:
            _file(value)
        case Value.DASH if value != "-":
            raise WireError(f"--{name} can only be -, the standard output of the domain that asks")
        case Value.LISTING:
            _check_names(name, value, SHOWN)
        case Value.VERIFYING:
            _check_names(name, value, SHOWN_WHEN_VERIFYING)
        case _:
            pass
    return name, value


def _letters(letters: str, rest: list[str]) -> list[tuple[str, str | None]]:
    """The options of a word like `-bau`: a letter with a value takes the rest of the word, or the next one."""
    options = []
    while letters:
        letter, letters = letters[0], letters[1:]
        name = SHORT.get(letter)
        if name is None:
            raise WireError(f"{printable(f'-{letter}')} is no option that may go to another domain's keys")
        value = None
        if OPTIONS[name] is not Value.NOTHING:
            value, letters = letters or None, ""
        options.append(_option(name, value, rest))
    return options


def _file(value: str) -> int:
    if not FILE.fullmatch(value) or int(value) > MAX_FILE:
        raise WireError(f"{printable(value)} is not the number of a file (0 to {MAX_FILE})")
    return int(value)


def _check_names(option: str, value: str, allowed: frozenset[str]) -> None:
    for name in re.split(r"[ ,]+", value.strip(" ,").lower()):
        if name.removeprefix("no-") not in allowed:
            raise WireError(f"--{option} may not have {printable(name)} for another domain's keys")


def _once(numbers: list[int]) -> list[int]:
    """Each number where it came first."""
    return list(dict.fromkeys(numbers))
