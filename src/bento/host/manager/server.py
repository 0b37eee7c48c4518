"""The Admin API's socket: one request a connection, an answer, the end.

Only the person's own account may connect (the socket lies in a directory of
mode 0700, and the peer's uid is asked for all the same), and every request is
the admin domain's: calls of guests come by their brokers, never by here. A
request that breaks the framing closes its own connection and nothing else.
"""

import asyncio
import logging
import os
import socket
import struct
from pathlib import Path

from bento.host.manager.methods import METHODS
from bento.host.manager.methods.kinds import File, Manager, Reply, Stream
from bento.host.model.domain import ADMIN, PowerState
from bento.host.model.errors import BentoError, Conflict, Invalid, Kind, NoSuch, Refused
from bento.wire.admin import (
    MAX_REQUEST,
    Failure,
    Fault,
    Request,
    encode_event,
    encode_failure,
    encode_ok,
    parse_request,
)
from bento.wire.errors import WireError

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 512
BACKLOG = 256


def listen(path: Path) -> socket.socket:
    """The manager's own socket. Whoever holds the home's lock may take the place of a socket left by a crash."""
    path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    sock.bind(str(path))
    path.chmod(0o600)
    sock.listen(BACKLOG)
    return sock


async def serve(listener: socket.socket, manager: Manager) -> None:
    """Answer until cancelled."""
    loop = asyncio.get_running_loop()
    room = asyncio.Semaphore(MAX_CONNECTIONS)

    async def converse(client: socket.socket) -> None:
        async with room:
            with client:
                await _converse(client, manager)

    async with asyncio.TaskGroup() as conversations:
        while True:
            client, _ = await loop.sock_accept(listener)
            client.setblocking(False)
            conversations.create_task(converse(client))


async def _converse(client: socket.socket, manager: Manager) -> None:
    """One client, whatever it does: nothing it causes may leave here, since its fellows share the task group."""
    try:
        if _uid(client) != os.getuid():
            log.warning("a stranger's connection was closed (uid %d)", _uid(client))
            return
        request = parse_request(await _read(client), ADMIN)
        if request.source != ADMIN:
            log.warning("a request in the name of %s was closed", request.source)
            return
        await _answer(client, manager, request)
    except WireError as error:
        await _send(client, encode_failure(Failure(Fault.PROTOCOL, str(error))))
    except OSError:
        pass  # the client is gone; its request was carried out or not, and the next one sees which
    except Exception:
        log.exception("a request failed")
        await _send(client, encode_failure(Failure(Fault.GENERAL, "the manager made a mistake; its log says which")))


async def _answer(client: socket.socket, manager: Manager, request: Request) -> None:
    method = METHODS.get(request.method)
    if method is None or (".vm." not in request.method and request.destination != ADMIN):
        sentence = f"there is no method {request.method} for {request.destination}"
        await _send(client, encode_failure(Failure(Fault.PROTOCOL, sentence)))
        return
    try:
        await _deliver(client, await method(manager, request))
    except BentoError as error:
        log.info("%s of %s: %s", request.method, request.destination, error)
        await _send(client, encode_failure(Failure(_fault(request, error), str(error))))


async def _deliver(client: socket.socket, reply: Reply) -> None:
    match reply:
        case bytes():
            await _send(client, encode_ok(reply))
        case File(fd):
            try:
                socket.send_fds(client, [encode_ok(b"")], [fd])
            finally:
                os.close(fd)
        case Stream(events):
            try:
                async for event in events:
                    await _send(client, encode_event(event))
            finally:
                await events.aclose()  # type: ignore[attr-defined]  # every stream here is an async generator
            await _send(client, encode_ok(b""))


async def _read(client: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    untrusted = b""
    while chunk := await loop.sock_recv(client, MAX_REQUEST + 1):
        untrusted += chunk
        if len(untrusted) > MAX_REQUEST:
            break
    return untrusted


async def _send(client: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(client, data)


def _uid(client: socket.socket) -> int:
    credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", credentials)[1]
    return uid


def _fault(request: Request, error: BentoError) -> Fault:
    """The class a client knows this error by."""
    match error:
        case NoSuch(kind=kind):
            return NO_SUCH[kind]
        case Invalid():
            return Fault.BAD_PROPERTY_VALUE if request.method.endswith("property.Set") else Fault.BAD_VALUE
        case Refused():
            return Fault.REFUSED
        case Conflict(required=required):
            return WRONG_STATE.get(required, Fault.IN_USE)
        case _:
            return Fault.GENERAL


NO_SUCH = {
    Kind.DOMAIN: Fault.NOT_FOUND,
    Kind.PROPERTY: Fault.NO_SUCH_PROPERTY,
    Kind.LABEL: Fault.NO_SUCH_LABEL,
    Kind.TAG: Fault.NO_SUCH_TAG,
    Kind.FEATURE: Fault.NO_SUCH_FEATURE,
}
WRONG_STATE = {
    PowerState.HALTED.value: Fault.NOT_HALTED,
    PowerState.RUNNING.value: Fault.NOT_RUNNING,
    PowerState.PAUSED.value: Fault.NOT_PAUSED,
}
