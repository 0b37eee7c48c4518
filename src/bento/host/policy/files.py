"""The policy as a whole: the files of a policy directory to one list of rules, or to a refusal of everything.

Reading directories is the caller's work; here are names and bytes. The rules
on files are the field's: only `*.policy` counts, hidden files don't, files are
taken in the order of their names, and of two files of one name the one
handed in first wins (so the run-time directory, or a user's, comes first).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from bento.host.policy.grammar import Fault, PolicyError, lines, parse
from bento.host.policy.rules import Rule
from bento.wire.names import printable

SUFFIX = ".policy"
FILE_NAME = re.compile(r"[0-9a-z_.-]+\.policy", re.ASCII)


@dataclass(frozen=True, slots=True)
class PolicyRules:
    """A sound policy. `digest` is of the names and bytes it was made from, in hex."""

    rules: tuple[Rule, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class PolicyBroken:
    """A policy with a malformed file. It denies everything, and says where it is to be mended.

    A caller that cannot read a file or directory makes one itself: `Fault(file, 0, 0, why)`.
    """

    fault: Fault
    digest: str


Policy = PolicyRules | PolicyBroken


def assemble(files: Iterable[tuple[str, bytes]]) -> Policy:
    """The policy that `files` (base name, content; the directories one after the other, overriding ones first) make up.

    Never raises: one bad file, by its name, its encoding or its text, makes a `PolicyBroken`.
    """
    chosen: dict[str, bytes] = {}
    for name, content in files:
        if name.endswith(SUFFIX) and not name.startswith("."):
            chosen.setdefault(name, content)
    in_order = sorted(chosen.items())
    digest = _digest(in_order)
    try:
        rules = tuple(rule for name, content in in_order for rule in _rules(name, content))
    except PolicyError as error:
        return PolicyBroken(error.fault, digest)
    return PolicyRules(rules, digest)


def _rules(name: str, content: bytes) -> tuple[Rule, ...]:
    if not FILE_NAME.fullmatch(name):
        # Not skipped: whoever wrote the file believes that it holds.
        problem = "expected a file name of small letters, digits and _ . - only; rename the file"
        raise PolicyError(Fault(printable(name), 0, 0, problem))
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        *above, broken = lines(content[: error.start].decode("utf-8"))
        raise PolicyError(Fault(name, len(above) + 1, len(broken) + 1, "expected text in UTF-8")) from None
    return parse(name, text)


def _digest(in_order: list[tuple[str, bytes]]) -> str:
    """SHA-256; every part with its length before it, so that no two policies run together into the same bytes."""
    digest = sha256()
    for name, content in in_order:
        for part in (name.encode("utf-8", "backslashreplace"), content):
            digest.update(b"%d:" % len(part))
            digest.update(part)
    return digest.hexdigest()
