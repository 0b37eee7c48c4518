"""When the other end of a socket or a pipe is gone: waited for without reading what it may still have said."""

import asyncio
import select
import socket

AGAIN_SECONDS = 1.0
"""Until another try, where this process has too many open files to wait: that is no hang-up."""


async def hung_up(file: socket.socket | int) -> None:
    """Returns when nobody holds the other end. A file that is closed meanwhile is not heard of any more.

    Who has only shut down writing, and so reads as ended, has not hung up.
    """
    with await _epoll() as hang_ups:
        hang_ups.register(file, 0)  # nothing but EPOLLHUP and EPOLLERR, which are always reported
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(hang_ups.fileno(), ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(hang_ups.fileno())


async def _epoll() -> select.epoll:
    while True:
        try:
            return select.epoll()
        except OSError:
            await asyncio.sleep(AGAIN_SECONDS)
