"""The policy in force: the person's files, read again when one of them changed."""

import errno
import logging
import os
from pathlib import Path

from bento.host.policy.files import SUFFIX, Policy, PolicyBroken, assemble
from bento.host.policy.grammar import Fault

log = logging.getLogger(__name__)

DEFAULT_NAME = "90-default.policy"
DEFAULT_TEXT = """\
# Who may call what, in whom. The first line that matches decides; what no line allows is denied.
# Files are read in the order of their names; put your own rules in a file of a lower number, such as
# 30-user.policy, and leave this one for last.
#
#   SERVICE        ARGUMENT  SOURCE   TARGET    allow|deny  [user=... target=... autostart=no notify=yes]
#
# For example: files copied in 'random' may land in 'work', and nowhere else:
#
#   qubes.Filecopy  *        random   work      allow
#
# docs/policy.md explains the language.
"""


class PolicyFiles:
    """The policy of one directory. A file that cannot be read denies everything, as a malformed one does."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._signature: set[tuple[str, int, int, int]] | None = None
        self._policy: Policy = assemble([])

    def ensure_default(self) -> None:
        """Write the default file if the person has no policy yet; never touch what is there."""
        self._directory.mkdir(parents=True, exist_ok=True)
        if not any(self._directory.iterdir()):
            aside = self._directory / f".{DEFAULT_NAME}.new"
            aside.write_text(DEFAULT_TEXT)
            os.replace(aside, self._directory / DEFAULT_NAME)

    def current(self) -> Policy:
        """The policy as it stands on disk now. Files that did not change are not read again."""
        try:
            found = [path for path in self._directory.iterdir() if path.name.endswith(SUFFIX)]
            signature = {(p.name, s.st_ino, s.st_size, s.st_ctime_ns) for p in found for s in (p.stat(),)}
            if signature != self._signature:
                self._policy = assemble((path.name, _read(path)) for path in found)
                self._signature = signature
                if isinstance(self._policy, PolicyBroken):
                    log.error("every call is denied until the policy is mended: %s", self._policy.fault)
        except OSError as error:
            fault = Fault(str(error.filename or self._directory), 0, 0, f"cannot be read: {error.strerror}")
            log.error("every call is denied: %s", fault)
            self._signature = None
            self._policy = PolicyBroken(fault, "")
        return self._policy


def _read(path: Path) -> bytes:
    if not path.is_file():  # a FIFO would hold the manager up for ever
        raise OSError(errno.EINVAL, "is not a plain file", str(path))
    return path.read_bytes()
