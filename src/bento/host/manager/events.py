"""What happened, told to whoever listens. Events announce; nothing here decides an order."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from bento.wire.admin import Event

log = logging.getLogger(__name__)

MAX_BEHIND = 4096
"""Events that a listener may lag behind before it is dropped: a client that does not read costs no memory."""


BURST_SECONDS = 0.05
"""News mostly comes with more of it: one look at what ten starts have changed is enough, and keeps none waiting."""


class Events:
    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[Event | None]] = set()

    def tell(self, subject: str, name: str, /, **details: str) -> None:
        event = Event(subject, name, tuple(details.items()))
        for queue in tuple(self._listeners):
            if queue.qsize() >= MAX_BEHIND:
                self._listeners.discard(queue)
                queue.put_nowait(None)
            else:
                queue.put_nowait(event)

    @contextmanager
    def listen(self) -> Iterator[asyncio.Queue[Event | None]]:
        """A queue of what happens from now on; None in it means: fell too far behind."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            yield queue
        finally:
            self._listeners.discard(queue)

    async def attend(self, look: Callable[[], Awaitable[float | None]], doing: str) -> None:
        """Look now, whenever something has happened, and as many seconds later as the last look said, for ever."""
        while True:
            with self.listen() as news:
                while True:
                    patience = None
                    try:
                        patience = await look()
                    except Exception:
                        log.exception("%s failed", doing)
                    try:
                        async with asyncio.timeout(patience):  # wait_for takes no cancellation that comes with news
                            if await news.get() is None:
                                break
                    except TimeoutError:
                        continue
                    await asyncio.sleep(BURST_SECONDS)
                    while not news.empty():
                        news.get_nowait()
