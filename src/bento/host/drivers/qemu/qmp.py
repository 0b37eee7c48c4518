"""Words with a running QEMU: one short QMP session a deed, which is mostly one command.

Nothing is held between deeds. So a machine costs the manager no connection while it runs, a machine found again
after the manager's death is spoken to like any other, and a QEMU that a guest has taken over can send what it likes to
nobody. It is distrusted during a command too: answers are bounded in size and in time, events are thrown away.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from qemu.qmp import Message, QMPClient

from bento.host.model.errors import Unavailable
from bento.host.model.machine import MachineState
from bento.wire.names import ascii_only

# The library logs as an error whatever it also raises.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)

MAX_ANSWER = 64 << 10
"""Bytes of one message from QEMU; those we ask for have some hundred."""

MAX_WORDS = 300
"""Characters of QEMU's own explanation that are passed on."""


class Client(QMPClient):
    """One that does not print each message for a log that nobody keeps, which takes longer than to send it."""

    def _cb_outbound(self, msg: Message) -> Message:
        return msg

    def _cb_inbound(self, msg: Message) -> Message:
        return msg


class Session:
    """A session with QEMU. All methods raise `Unavailable` if it refuses."""

    def __init__(self, client: QMPClient) -> None:
        self._client = client

    async def execute(self, command: str, arguments: Mapping[str, object] | None = None) -> object:
        try:
            return await self._client.execute(command, arguments)
        except Exception as error:  # also what the library's JSON reader and its assertions raise: that is up to QEMU
            raise Unavailable(f"QEMU refused {command}: {_one_line(str(error))}") from error

    async def give(self, fd: int, name: str) -> None:
        """Hand it an open file, which it knows by `name` until the session ends."""
        self._client.send_fd_scm(fd)
        await self.execute("getfd", {"fdname": name})

    async def lend(self, fd: int, number: int) -> None:
        """Hand it an open file as its file set `number`, which it keeps until `remove-fd`."""
        self._client.send_fd_scm(fd)
        await self.execute("add-fd", {"fdset-id": number})


@contextlib.asynccontextmanager
async def session(socket: Path, *, deadline: float) -> AsyncIterator[Session]:
    """Words with the QEMU behind `socket`, which has `deadline` seconds for all of them; else `Unavailable`."""
    client = Client("bento", readbuflen=MAX_ANSWER)
    client.events.event_filter = _no_event
    try:
        async with asyncio.timeout(deadline):
            try:
                await client.connect(str(socket))
            except Exception as error:
                raise Unavailable(f"QEMU does not answer: {_one_line(str(error))}") from error
            yield Session(client)
    except TimeoutError as error:
        raise Unavailable(f"QEMU did not answer within {deadline:g} seconds") from error
    finally:
        # It tells again what a command has told.
        with contextlib.suppress(Exception):
            await client.disconnect()


async def execute(
    socket: Path, command: str, arguments: Mapping[str, object] | None = None, *, deadline: float
) -> object:
    """QEMU's answer to `command`. Raises `Unavailable` if it refuses, or gives none within `deadline` seconds."""
    async with session(socket, deadline=deadline) as words:
        return await words.execute(command, arguments)


def _one_line(untrusted: str) -> str:
    """QEMU's words as part of a sentence that goes to the log, and to the person."""
    return ascii_only(untrusted[:MAX_WORDS])


def _no_event(_event: Message) -> bool:
    return False


async def query_state(socket: Path, *, deadline: float) -> MachineState:
    match await execute(socket, "query-status", deadline=deadline):
        case {"status": "running"}:
            return MachineState.RUNNING
        case {"status": str()}:
            # Also when QEMU stopped the machine by itself, as it does when the host's disk is full.
            return MachineState.PAUSED
        case _:
            raise Unavailable("QEMU gave an answer that makes no sense")
