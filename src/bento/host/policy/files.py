"""The policy as a whole: the files of the policy directories to one list of rules, or to a refusal of everything.

Reading directories is the caller's work; here are names and bytes. The rules
on files are the field's: only `*.policy` counts, hidden files don't, files are
taken in the order of their names, and of two files of one name the one
handed in first wins (so the run-time directory comes first, then the person's).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from bento.host.model.fault import Fault
from bento.host.policy.grammar import PolicyError
from bento.host.policy.includes import Reader, policies
from bento.host.policy.index import Index
from bento.host.policy.rules import Rule


@dataclass(frozen=True, slots=True)
class PolicyRules:
    """A sound policy. `digest` is of the names and bytes it was made from, in hex; `index` is of the rules."""

    rules: tuple[Rule, ...]
    digest: str
    index: Index = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", Index(self.rules))


@dataclass(frozen=True, slots=True)
class PolicyBroken:
    """A policy with a malformed file. It denies everything, and says where it is to be mended.

    A caller that cannot read a file or directory makes one itself: `Fault(file, 0, 0, why)`.
    """

    fault: Fault
    digest: str


Policy = PolicyRules | PolicyBroken


def assemble(files: Iterable[tuple[str, bytes]]) -> Policy:
    """The policy that `files` (path below their directory, content; overriding directories first) make up.

    Never raises: one bad file, by its name, its encoding or its text, makes a
    `PolicyBroken`. A path that ends in / is a directory. Files in directories count where they are included.
    """
    chosen: dict[str, bytes] = {}
    for name, content in files:
        chosen.setdefault(name, content)
    top = policies(chosen)
    reader = Reader(chosen)
    try:
        rules = tuple(rule for name in top for rule in reader.rules(name))
    except PolicyError as error:
        return PolicyBroken(error.fault, _digest({name: chosen[name] for name in top} | reader.used))
    return PolicyRules(rules, _digest(reader.used))


def _digest(used: Mapping[str, bytes]) -> str:
    """SHA-256; every part with its length before it, so that no two policies run together into the same bytes."""
    digest = sha256()
    for name, content in sorted(used.items()):
        for part in (name.encode("utf-8", "backslashreplace"), content):
            digest.update(b"%d:" % len(part))
            digest.update(part)
    return digest.hexdigest()
