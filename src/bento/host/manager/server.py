"""The Admin API's socket: one request a connection, an answer, the end.

Only the person's own account may connect (the socket lies in a directory of
mode 0700, and the peer's uid is asked for all the same), and every request is
the admin domain's: calls of guests come by their brokers, never by here. A
request that breaks the framing closes its own connection and nothing else.
"""

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import AsyncGenerator, Coroutine
from pathlib import Path

from bento.host.manager.hangups import hung_up
from bento.host.manager.methods import METHODS, is_about_a_domain
from bento.host.manager.methods.kinds import File, Manager, Reply, Stream
from bento.host.model.domain import ADMIN, PowerState
from bento.host.model.errors import BentoError, Conflict, Invalid, Kind, NoMemory, NoSuch, Refused, Silent
from bento.wire.admin import (
    MAX_REQUEST,
    Event,
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
ACCEPT_AGAIN_SECONDS = 1.0

MISTAKE = Failure(Fault.GENERAL, "the manager made a mistake; its log says which")


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
    room = asyncio.Semaphore(MAX_CONNECTIONS)
    async with asyncio.TaskGroup() as conversations:
        while True:
            await room.acquire()  # before there is a client: those beyond wait in the backlog and cost no open file
            client = await _accept(listener)
            conversation = conversations.create_task(_converse(client, manager))
            conversation.add_done_callback(lambda _: room.release())


async def _accept(listener: socket.socket) -> socket.socket:
    while True:
        try:
            client, _ = await asyncio.get_running_loop().sock_accept(listener)
        except OSError as error:
            # No open files or no memory left: those under way will give some back.
            log.error("no connection can be taken: %s", error.strerror)
            await asyncio.sleep(ACCEPT_AGAIN_SECONDS)
        else:
            client.setblocking(False)
            return client


async def _converse(client: socket.socket, manager: Manager) -> None:
    """One client, whatever it does: nothing it causes may leave here, since its fellows share the task group."""
    with client:
        try:
            request = await _hear(client, manager)
            if request:
                await _deliver(client, request, await _carry_out(manager, request))
        except WireError as error:
            await _send_last(client, Failure(Fault.PROTOCOL, str(error)))
        except NoSuch as error:
            await _send_last(client, Failure(NO_SUCH[error.kind], str(error)))
        except OSError:
            pass  # the client is gone; its request was carried out or not, and the next one sees which
        except Exception:
            log.exception("a request failed")
            await _send_last(client, MISTAKE)


async def _hear(client: socket.socket, manager: Manager) -> Request | None:
    """What is asked; None from somebody who may not ask. Raises `NoSuch` where it is sent to a UUID of nobody."""
    if (uid := _uid(client)) != os.getuid():
        log.warning("a stranger's connection was closed (uid %d)", uid)
        return None
    request = parse_request(await _read(client), ADMIN, manager.inventory.identified)
    if request.source != ADMIN:
        log.warning("a request in the name of %s was closed", request.source)
        return None
    return request


async def _carry_out(manager: Manager, request: Request) -> Reply | Failure:
    method = METHODS.get(request.method)
    if method is None or (request.destination != ADMIN and not is_about_a_domain(request.method)):
        return Failure(Fault.NO_METHOD, f"there is no method {request.method} for {request.destination}")
    try:
        return await method(manager, request)
    except (BentoError, OSError) as error:
        return _failure(request, error)


async def _deliver(client: socket.socket, request: Request, reply: Reply | Failure) -> None:
    match reply:
        case bytes():
            await _send(client, encode_ok(reply))
        case Failure():
            await _send(client, encode_failure(reply))
        case File(fd):
            try:
                socket.send_fds(client, [encode_ok(b"")], [fd])
            finally:
                os.close(fd)
        case Stream(events):
            await _while_there(client, _stream(client, request, events))


async def _stream(client: socket.socket, request: Request, events: AsyncGenerator[Event, None]) -> None:
    async with contextlib.aclosing(events):
        while True:
            try:
                event = await anext(events, None)
            except (BentoError, OSError) as error:
                await _send(client, encode_failure(_failure(request, error)))
                return
            if event is None:
                await _send(client, encode_ok(b""))
                return
            await _send(client, encode_event(event))


async def _while_there(client: socket.socket, work: Coroutine[None, None, None]) -> None:
    """End `work` when the client hangs up: it may have nothing to send that would find out."""
    working, gone = asyncio.create_task(work), asyncio.create_task(hung_up(client))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (working, gone):
            task.cancel()
        await asyncio.wait({working, gone})
    if not working.cancelled():
        working.result()


async def _read(client: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    untrusted = bytearray()
    while chunk := await loop.sock_recv(client, MAX_REQUEST + 1):
        untrusted += chunk
        if len(untrusted) > MAX_REQUEST:
            break
    return bytes(untrusted)


async def _send(client: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(client, data)


async def _send_last(client: socket.socket, failure: Failure) -> None:
    with contextlib.suppress(OSError):
        await _send(client, encode_failure(failure))


def _uid(client: socket.socket) -> int:
    credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", credentials)[1]
    return uid


def _failure(request: Request, error: BentoError | OSError) -> Failure:
    sentence = str(error) if isinstance(error, BentoError) else f"{error.filename or 'the disk'}: {error.strerror}"
    log.info("%s of %s: %s", request.method, request.destination, sentence)
    return Failure(_fault(request, error), sentence)


def _fault(request: Request, error: BentoError | OSError) -> Fault:
    """The class a client knows this error by."""
    match error:
        case NoSuch(kind=kind):
            return NO_SUCH[kind]
        case Invalid():
            return Fault.BAD_PROPERTY_VALUE if request.method.endswith("property.Set") else Fault.BAD_VALUE
        case Refused():
            return Fault.REFUSED
        case Silent():
            return Fault.NOT_STARTED
        case NoMemory():
            return Fault.NO_MEMORY
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
