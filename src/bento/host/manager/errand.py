"""Have a guest run one of Bento's own commands as root, and learn nothing but its exit code.

The command's output is thrown away unread: this is the one place where the
manager holds a leg, and a number from 0 to 255 is all it takes from it.
"""

import asyncio
import socket
from collections.abc import Sequence

from bento.host.manager.brokers import Broker
from bento.host.model.domain import ADMIN
from bento.host.model.errors import Unavailable
from bento.wire.control import Open
from bento.wire.errors import WireError
from bento.wire.frames import FrameReader, encode_frame
from bento.wire.names import DomainName, ServiceName, TargetName
from bento.wire.rpc import FROM_SERVER, Eof, Exit, Stream
from bento.wire.vmexec import encode_command

EXEC = ServiceName("qubes.VMExec")

READ_SIZE = 1 << 12
"""Bytes a turn: what a hostile broker can put in as many is judged in a millisecond or two."""


async def run_errand(broker: Broker, name: DomainName, argv: Sequence[str], *, seconds: float) -> int:
    """The exit code of `argv`, run as root in the domain; `Unavailable` when none comes within `seconds`."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours:
        ours.setblocking(False)
        argument = encode_command([word.encode() for word in argv])
        try:
            async with asyncio.timeout(seconds):
                await broker.open(Open(EXEC, argument, ADMIN, TargetName(name), "root", 0, 0), theirs)
                await asyncio.get_running_loop().sock_sendall(ours, encode_frame(Eof(0, Stream.STDIN)))
                return await _exit_code(ours)
        except TimeoutError:
            raise Unavailable(f"'{name}' did not finish {argv[0]} within {seconds:.0f} s") from None
        except (OSError, WireError) as error:
            raise Unavailable(f"the channel to '{name}' was lost during {argv[0]}: {error}") from None


async def _exit_code(leg: socket.socket) -> int:
    reader = FrameReader()
    loop = asyncio.get_running_loop()
    while untrusted := await loop.sock_recv(leg, READ_SIZE):
        # A read that finds something never waits: without this, whoever writes faster than we read has the manager.
        await asyncio.sleep(0)
        for untrusted_tag, untrusted_payload in reader.feed(untrusted):
            match FROM_SERVER.decode(untrusted_tag, untrusted_payload):
                case Exit(code=code):
                    return code
                case _:
                    continue
    raise WireError("no exit code came")
