"""When the other end of a socket or a pipe is gone: waited for without reading what it may still have said."""

import asyncio
import select
import socket


async def hung_up(file: socket.socket | int) -> None:
    """Returns when nobody holds the other end. A file that is closed meanwhile is not heard of any more."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    with select.epoll() as hang_ups:
        hang_ups.register(file, 0)  # nothing but EPOLLHUP and EPOLLERR, which are always reported
        loop.add_reader(hang_ups.fileno(), ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(hang_ups.fileno())
