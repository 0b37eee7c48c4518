"""The socket pairs that calls go over: one end for whoever calls, one for whoever serves. Nothing is read here."""

import socket

from bento.wire.rpc import MAX_DATA


def pair() -> tuple[socket.socket, socket.socket]:
    """The caller's leg and the server's: each takes a whole `Data` in one write, so that both ends wake once for it."""
    legs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    for leg in legs:
        leg.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_DATA)  # twice that, less if the system allows less
    return legs
