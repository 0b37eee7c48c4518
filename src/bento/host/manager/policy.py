"""The policy in force: read from its directories, read again when a file there changed, kept while an edit is wrong.

A change is taken in as a whole or not at all. Nobody can tell an edit that is
done from one whose writer has emptied the file and not yet filled it, so a change is
taken in when nothing has moved for `SETTLE` seconds; calls wait for that. What
does not parse then is reported, and the policy of before holds. At a
manager's start there is none from before: a mistake then denies everything.
"""

import asyncio
import errno
import logging
import os
import stat
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from pathlib import Path

from bento.host.manager.edited import Stamp, read, stamp
from bento.host.model.fault import Fault
from bento.host.policy.files import Policy, PolicyBroken, PolicyRules, assemble
from bento.host.policy.includes import SUFFIX

log = logging.getLogger(__name__)

SETTLE = 0.1
"""Seconds without a change after which an edit counts as done."""

PATIENCE = 2.0
"""Seconds that a call waits for that; then the policy of before decides it."""

MAX_DEPTH = 4
"""Directories below one another that are looked into, for what is included."""

MAX_INCLUDED = 1 << 20
"""Bytes. Files that are not policy files by their name and larger than this are none to be included."""

DEFAULT_NAME = "90-default.policy"
DEFAULT_TEXT = """\
# Who may call what, in whom. The first line that matches decides; what no line allows is denied.
# Files are read in the order of their names; put your own rules in a file of a lower number, such as
# 30-user.policy, and leave this one for last.
#
#   SERVICE        ARGUMENT  SOURCE   TARGET    allow|ask|deny  [user=... target=... autostart=no notify=yes]
#
# For example: files copied in 'random' may land in 'work', and nowhere else:
#
#   qubes.Filecopy  *        random   work      allow
#
# docs/policy.md explains the language.
"""


class PolicyFiles:
    """`fault` is what is wrong with the files as they are now; None where they are what is in force."""

    def __init__(
        self,
        directories: Sequence[Path],
        own: Path,
        tell: Callable[[str], None],
        *,
        judge: Callable[[Policy], Fault | None] = lambda policy: None,
        beside: Sequence[Path] = (),
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`directories`: overriding ones first. `own` is the one of them that has to be there. `tell` tells the person.

        `judge` says why a sound policy may not come into force; it is asked again when a file `beside` has changed.
        `clock` and `now` give seconds, `now` since 1970.
        """
        self._directories = directories
        self._own = own
        self._tell = tell
        self._judge = judge
        self._beside = beside
        self._clock = clock
        self._now = now
        self._sleep = sleep
        self._policy: Policy | None = None
        self._read: dict[Path, Stamp] = {}
        """What the policy, or the fault, was made from."""
        self._moving: tuple[dict[Path, Stamp], float] = ({}, 0.0)
        """A change that has not settled, and when it was first seen."""
        self.fault: Fault | None = None

    def ensure_default(self) -> None:
        """Write the default file if there is no policy anywhere yet; never touch what is there."""
        self._own.mkdir(parents=True, exist_ok=True)
        if not any(directory.is_dir() and any(directory.iterdir()) for directory in self._directories):
            aside = self._own / f".{DEFAULT_NAME}.new"
            aside.write_text(DEFAULT_TEXT)
            os.replace(aside, self._own / DEFAULT_NAME)

    async def current(self) -> Policy:
        """The policy in force, now that whatever edit was under way is done."""
        patience = self._clock() + PATIENCE
        while not self._take_in() and self._clock() < patience:
            await self._sleep(SETTLE / 4)
        return self._policy or self._restless

    def in_force(self) -> Policy:
        """The policy in force, without waiting for an edit that may be under way."""
        self._take_in()
        return self._policy or self._restless

    @property
    def _restless(self) -> Policy:
        """While there is none: before files could be read that did not change meanwhile."""
        return PolicyBroken(
            Fault(str(self._own), 0, 0, "expected files that rest for a moment; they keep changing"), ""
        )

    def _take_in(self) -> bool:
        """Bring the policy up to date; False if its files are changing just now."""
        if self._policy is not None and all(stamp(path) == seen for path, seen in self._read.items()):
            return True
        try:
            stamps = dict(self._walk())
            if self._policy is not None and not self._settled(stamps):
                return False
            files = list(self._contents(stamps))
            if dict(self._walk()) != stamps:
                return False
        except OSError as error:
            self._read = {self._own: None}  # looked at again each time
            self._take(PolicyBroken(Fault(str(error.filename), 0, 0, f"cannot be read: {error.strerror}"), ""))
        else:
            self._read = stamps
            self._take(assemble(files))
        return True

    def _take(self, policy: Policy) -> None:
        holds = isinstance(self._policy, PolicyRules)
        if isinstance(policy, PolicyRules) and (fault := self._judge(policy)):
            policy = PolicyBroken(fault, policy.digest)
        if isinstance(policy, PolicyRules):
            self.fault = None
            log.info("the policy in force has %d rules, digest %s", len(policy.rules), policy.digest)
        elif policy.fault != self.fault:
            self.fault = policy.fault
            until = "the policy of before holds" if holds else "every call is denied"
            sentence = f"the policy has a mistake, and {until} until it is mended: {policy.fault}"
            log.error("%s", sentence)
            self._tell(sentence)
        if isinstance(policy, PolicyRules) or not holds:
            self._policy = policy

    def _settled(self, stamps: dict[Path, Stamp]) -> bool:
        newest = max((seen[2] for seen in stamps.values() if seen), default=0)
        if 0 <= newest < (self._now() - SETTLE) * 1e9:
            return True
        if self._moving[0] != stamps:
            self._moving = (stamps, self._clock())
        return self._clock() - self._moving[1] > SETTLE  # for a clock that was set back

    # ---- directories -----------------------------------------------------------------------------

    def _walk(self) -> Iterator[tuple[Path, Stamp]]:
        """Every directory and file that may count, with its stamp."""
        yield from ((path, stamp(path)) for path in self._beside)
        for directory in self._directories:
            seen = stamp(directory)
            yield directory, seen
            if seen is not None:
                yield from _below(directory, MAX_DEPTH)
            elif directory == self._own:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(directory))

    def _contents(self, paths: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
        for path in paths:
            for directory in self._directories:
                if path != directory and path.is_relative_to(directory):
                    name = str(path.relative_to(directory))
                    if name.endswith(SUFFIX) and "/" not in name:
                        yield name, read(path)
                    elif path.is_dir():
                        yield f"{name}/", b""
                    elif (content := _included(path)) is not None:
                        yield name, content


def _below(directory: Path, depth: int) -> Iterator[tuple[Path, Stamp]]:
    for path in sorted(directory.iterdir()):
        if not path.name.startswith("."):
            yield path, stamp(path)
            if depth and path.is_dir():
                yield from _below(path, depth - 1)


def _included(path: Path) -> bytes | None:
    """A file that a policy file may include, if it can be read; who includes it where it cannot is told there."""
    try:
        found = path.stat()
        return path.read_bytes() if stat.S_ISREG(found.st_mode) and found.st_size <= MAX_INCLUDED else None
    except OSError:
        return None
