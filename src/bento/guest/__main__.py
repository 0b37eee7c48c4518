"""Starts the agent: `python -m bento.guest` in a domain, as root.

    python -m bento.guest --listen SOCKET --root DIR

is the loopback mode, on any machine as any user: the host connects to SOCKET (one connection at a time) in place of
the virtio-serial port. DIR stands for `/`: services lie in DIR/etc/qubes-rpc and its like, local programs ask at
DIR/run/bento/agent.sock, DIR/home is everybody's home; and neither an identity nor a shutdown touches the machine.
"""

import os
import sys
from resource import RLIMIT_NOFILE, getrlimit, setrlimit

from bento.guest.agent import Agent
from bento.guest.identity import IDENTITY
from bento.guest.loop import READ, Loop
from bento.guest.place import OOM, OOM_SPARED, Domain, Loopback
from bento.guest.port import Port, open_channel

OPEN_FILES = 8192
"""Room for the most calls in both directions, at five files each at the utmost."""


def main(arguments: list[str]) -> int:
    match arguments:
        case []:
            return in_domain()
        case ["--listen", path, "--root", root]:
            # Services are started in other directories than this one.
            return loopback(os.path.abspath(path), os.path.abspath(root))
        case _:
            print("usage: python -m bento.guest [--listen SOCKET --root DIR]", file=sys.stderr)
            return 2


def in_domain() -> int:
    survive()
    loop = Loop()
    place = Domain()
    agent = Agent(loop, place)
    # What goes on from a seed was told the same, and may have to start its agent again.
    if place.is_seed and not os.path.exists(f"{place.run}/{IDENTITY}"):
        from bento.guest.rehearsal import rehearse

        rehearse(loop, place, agent)
        if place.private_later:
            place.mind_private("let-go")
    agent.attach(Port(loop, open_channel(), agent.hear))
    loop.run()
    return 0


def survive() -> None:
    """Programs here may use up memory and files."""
    setrlimit(RLIMIT_NOFILE, (OPEN_FILES, max(OPEN_FILES, getrlimit(RLIMIT_NOFILE)[1])))
    with open(OOM, "wb", buffering=0) as file:
        file.write(OOM_SPARED)


def loopback(path: str, root: str) -> int:
    import socket

    from bento.wire.rpc import MAX_DATA

    most = getrlimit(RLIMIT_NOFILE)[1]
    setrlimit(RLIMIT_NOFILE, (most, most))  # the calls there may be at once take more than most accounts begin with
    loop = Loop()
    agent = Agent(loop, Loopback(root, loop.stop))
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    listener.bind(path)
    listener.listen(1)

    def connect(_: int) -> None:
        connection, _address = listener.accept()
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_DATA)  # a whole one in one write
        loop.forget(listener.fileno())
        agent.attach(Port(loop, connection.detach(), agent.hear, gone))

    def gone() -> None:
        agent.detach()
        loop.watch(listener.fileno(), READ, connect)

    loop.watch(listener.fileno(), READ, connect)
    loop.run()
    agent.detach()
    os.unlink(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
