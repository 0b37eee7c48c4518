"""Whether a person in this domain lets another one use its keys just now. Read at each call; nobody is no.

A person's yes is a file `stat.SOURCE` in /run/qubes-gpg-split, which counts for a while after it was last touched: the
field's file, its place and its 300 seconds. The field asks in a window and touches the file itself; here no window
exists yet, so the person does, and the policy on the host can `ask`. How long a yes counts may be set for each domain:

    # /rw/config/gpg-split-autoaccept
    work   3600
    mail   always       (needs no yes here at all: let the policy ask)
    *      60

The first line that fits counts. For other domains it is QUBES_GPG_AUTOACCEPT, if the environment has it.
"""

import os
import re
import time
from collections.abc import Callable

from bento.wire.names import DomainName

SECONDS = "300"
ALWAYS = "always"

SETTING = re.compile(r"\s*(?P<name>\*|[A-Za-z][A-Za-z0-9_.-]*)\s+(?P<seconds>[0-9]{1,10}|always)\s*(?:#.*)?", re.ASCII)
NOTHING = re.compile(r"\s*(?:#.*)?")


class NotAccepted(Exception):
    """One sentence for the domain that asks, without its full stop."""


class Accepting:
    def __init__(
        self,
        stamps: str = "/run/qubes-gpg-split",
        settings: str = "/rw/config/gpg-split-autoaccept",
        now: Callable[[], float] = time.time,
    ) -> None:
        self._stamps = stamps
        self._settings = settings
        self._now = now

    def check(self, source: DomainName) -> None:
        """`NotAccepted` unless a person lets `source`."""
        own = os.uname().nodename
        seconds = self._seconds(source)
        if seconds == ALWAYS:
            return
        stamp = f"{self._stamps}/stat.{source}"
        try:
            if os.stat(stamp).st_mtime + int(seconds) > self._now():
                return
        except (OSError, ValueError):
            pass
        raise NotAccepted(
            f"{own} does not let {source} use its keys now; `touch {stamp}` there lets it for {seconds} seconds"
        )

    def _seconds(self, source: DomainName) -> str:
        """How long a yes to `source` counts."""
        try:
            with open(self._settings, encoding="utf-8", errors="replace") as file:
                settings = [line for line in file.read().splitlines() if not NOTHING.fullmatch(line)]
        except FileNotFoundError:
            settings = []
        parsed = [SETTING.fullmatch(line) for line in settings]
        for setting in parsed:
            # A line that was meant to shut somebody out must not be passed over.
            if setting is None:
                raise NotAccepted(
                    f"{self._settings} in {os.uname().nodename} has a line that is not: DOMAIN SECONDS|always"
                )
        for setting in parsed:
            if setting is not None and setting["name"] in (source, "*"):
                return setting["seconds"]
        return os.environ.get("QUBES_GPG_AUTOACCEPT", SECONDS)
