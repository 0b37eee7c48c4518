"""What the log says of a domain's calls: so many lines a minute, and then how many more there were.

A refused call costs its guest nothing and the log a line. Without a bound here, the log's own bound would let a guest
wash out of it, in seconds, whatever else was written there.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from bento.wire.names import DomainName

log = logging.getLogger(__name__)

MINUTE = 60.0
LINES = 100
"""For one domain in a minute."""


@dataclass(slots=True)
class _Minute:
    began: float
    said: int = 0
    unsaid: int = 0


class Reports:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds."""
        self._clock = clock
        self._minutes: dict[DomainName, _Minute] = {}

    def say(self, source: DomainName, level: int, sentence: str) -> None:
        """A line about a call of `source`, or one more that is only counted."""
        now = self._clock()
        minute = self._minutes.setdefault(source, _Minute(now))
        if now - minute.began >= MINUTE:
            if minute.unsaid:
                log.warning("%s: %d more lines about its calls were left out", source, minute.unsaid)
            minute = self._minutes[source] = _Minute(now)
        if minute.said < LINES:
            minute.said += 1
            log.log(level, "%s", sentence)
        else:
            if not minute.unsaid:
                log.warning("%s makes so many calls that some are not written here", source)
            minute.unsaid += 1
