"""Calls that wait until the guest has a slot for them: a queue for each source, so that no caller keeps another out.

A source gets a slot only while it holds fewer than are free: alone it may take
half of them, the next one half of what is left, and so on; there is one for
whoever has none. The admin domain is the person, and may take any that is
free. Who the source is, the manager says; a caller cannot pretend to be two.
"""

import socket
from collections import Counter, deque
from collections.abc import Iterator

from bento.wire.control import Open
from bento.wire.names import ADMIN, DomainName
from bento.wire.rpc import MAX_CALLS

MAX_WAITING = MAX_CALLS
"""Calls of one source that may wait, each with an open file and up to 65 KB: all that a domain can have asked for."""

MAX_WAITING_GUESTS = 4 * MAX_CALLS
"""Calls of all domains together but the admin domain's, which nobody else's calls can keep from waiting."""

Call = tuple[Open, socket.socket]


class Waiting:
    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._free = slots
        self._held: Counter[DomainName] = Counter()
        self._queues: dict[DomainName, deque[Call]] = {}
        self._guests = 0

    @property
    def idle(self) -> bool:
        """No slot is taken."""
        return self._free == self._slots

    def put(self, request: Open, leg: socket.socket) -> bool:
        """Let a call wait; False if its source has too many waiting."""
        queue = self._queues.get(request.source, deque())
        is_guest = request.source != ADMIN
        if len(queue) >= MAX_WAITING or (is_guest and self._guests >= MAX_WAITING_GUESTS):
            return False
        queue.append((request, leg))
        self._queues[request.source] = queue
        self._guests += is_guest
        return True

    def take(self) -> Call | None:
        """The next call that may have a slot, which it then holds. Sources take turns."""
        for source in self._queues:
            if self._free and (source == ADMIN or self._held[source] < self._free):
                return self._take(source)
        return None

    def give_back(self, source: DomainName) -> None:
        """A call of `source` no longer holds its slot."""
        self._free += 1
        self._held[source] -= 1
        if not self._held[source]:
            del self._held[source]

    def drain(self) -> Iterator[Call]:
        for queue in self._queues.values():
            yield from queue
        self._queues.clear()
        self._guests = 0

    def _take(self, source: DomainName) -> Call:
        queue = self._queues.pop(source)
        call = queue.popleft()
        if queue:
            self._queues[source] = queue  # behind the others
        self._guests -= source != ADMIN
        self._free -= 1
        self._held[source] += 1
        return call
