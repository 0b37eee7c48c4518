"""Machines as processes: started apart from the manager, found again by a mark, watched and ended through pidfds.

Every hypervisor driver here puts a machine into a box: bwrap outside, which only waits, and the machine as process 1 of
a pid namespace inside, so that ending that one process makes the kernel end whatever it started. The box is nobody's
child: it outlives the manager and leaves it nothing to reap.

A mark among the arguments says which home and which machine a process belongs to. The machine itself is not believed:
it may be in a guest's hands, and a process can rewrite its own arguments. What the kernel says (owner, parent,
namespace) comes first, then the box's arguments; the machine's own count only where its box was killed.
"""

import asyncio
import contextlib
import logging
import os
import re
import select
import shlex
import signal
import socket
import weakref
from collections.abc import Callable, Container, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from bento.host.disk.said import Said
from bento.host.model.errors import Exhausted, Unavailable
from bento.host.model.machine import MachineUsage

log = logging.getLogger(__name__)

LOOKS = 8
"""In a row for boxes, at most: who has taken one over could have its processes move without end."""

AGAIN_SECONDS = 1.0
"""Between two attempts to find a machine or to wait for it, where this process has too many open files for that."""

BACKLOG = 8
"""Connections to a machine's socket that may wait; it takes one at a time."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One argument of every process of a machine ends with this. `home` is letters and digits."""

    home: str
    uuid: UUID

    def __str__(self) -> str:
        return f"bento-{self.home}-{self.uuid}"


def read_mark(argv: Sequence[str], home: str) -> UUID | None:
    """The machine of `home` that a process with these arguments says it belongs to."""
    pattern = re.compile(rf"(?:.*[/=])?bento-{re.escape(home)}-([0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})")
    return next((UUID(found[1]) for argument in argv if (found := pattern.fullmatch(argument))), None)


async def spawn(argv_for: Callable[[int], Sequence[str]], *, inherit: Iterable[int], said: Said) -> None:
    """Start a box as nobody's child, with these fds and no others. On return it has its namespaces; its content starts.

    `argv_for(fd)` is a command that becomes bwrap with `--info-fd fd`. Raises `Unavailable` if it did not get so far,
    and then no process is left. A cancellation takes effect when that is known.
    """
    await _to_the_end(_spawn(argv_for, tuple(inherit), said))


async def _spawn(argv_for: Callable[[int], Sequence[str]], inherit: tuple[int, ...], said: Said) -> None:
    told, tell = os.pipe()
    try:
        try:
            await _detach(argv_for(tell), (*inherit, tell), said)
        finally:
            os.close(tell)
        # bwrap writes a few lines about its namespaces; whatever fails before that closes the pipe without a word.
        if not await _read_to_end(told):
            raise Unavailable(f"no box can be made; 'bento doctor' may know why: {said.text() or 'not a word'}")
    finally:
        os.close(told)


async def _read_to_end(fd: int) -> bytes:
    everything = b""
    while True:
        await _readable(fd)
        if not (piece := os.read(fd, 4096)):
            return everything
        everything += piece


async def _detach(argv: Sequence[str], fds: tuple[int, ...], said: Said) -> None:
    log.info("start: %s", shlex.join(argv))
    try:
        # setsid --fork ends at once; the program's parent is then init, or systemd's user manager.
        launcher = await asyncio.create_subprocess_exec(
            "setsid",
            "--fork",
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=said.fd,
            stderr=said.fd,
            pass_fds=fds,
        )
    except OSError as error:
        raise Exhausted(f"no process can be started ({error.strerror}); end some programs and try again") from error
    await launcher.wait()


class Box:
    """The processes of one machine. `pid` is the machine's own, or None where nothing runs in the box (yet)."""

    def __init__(self, uuid: UUID, pid: int | None, pidfds: Iterable[int]) -> None:
        self.uuid = uuid
        self.pid = pid
        self._pidfds = tuple(pidfds)
        weakref.finalize(self, _close, self._pidfds)

    def has_ended(self) -> bool:
        waiting = select.poll()
        for pidfd in self._pidfds:
            waiting.register(pidfd, select.POLLIN)
        return len(waiting.poll(0)) == len(self._pidfds)

    async def wait(self) -> None:
        """Return when all the processes have ended."""
        for pidfd in self._pidfds:
            await _ended(pidfd)

    async def kill(self) -> None:
        for pidfd in self._pidfds:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        await self.wait()


async def find_boxes(home: str, owners: Container[int]) -> list[Box]:
    """What runs on this host and bears the mark of `home`, the trustworthy first: boxes, then machines without one.

    `owners` are the users (host uids) that machines of this home run as; processes of others are not looked at.
    """
    return await asyncio.to_thread(_find_boxes, home, owners)


async def kill_boxes(home: str, owners: Container[int], uuid: UUID) -> None:
    """End whatever runs for one machine. A cancellation takes effect when that is done."""
    await _to_the_end(_kill_boxes(home, owners, uuid))


async def _kill_boxes(home: str, owners: Container[int], uuid: UUID) -> None:
    # A box may start its machine while we look: look again until nothing is left.
    while boxes := [box for box in await _found(home, owners) if box.uuid == uuid]:
        for box in boxes:
            await box.kill()


async def _found(home: str, owners: Container[int]) -> list[Box]:
    short = False
    while True:
        try:
            return await find_boxes(home, owners)
        except (OSError, RuntimeError) as error:  # no file number is left, or no thread; that passes
            if not short:
                log.warning("machines cannot be looked for, which is tried again: %s", error)
            short = True
            await asyncio.sleep(AGAIN_SECONDS)


def listen(path: Path) -> socket.socket:
    """The socket that a machine is given to accept connections on."""
    path.unlink(missing_ok=True)  # left by an earlier machine that was killed
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(str(path))
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


SEND_BUFFER = 1 << 19
"""Bytes on their way to a machine, as far as the system allows: a few chunks of bulk, so that neither end waits for the
other after each one (socket(7): SO_SNDBUF)."""


def connect(path: Path) -> socket.socket:
    """A non-blocking connection to a machine's socket."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        connection.connect(str(path))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    except OSError as error:
        connection.close()
        raise Unavailable(f"the machine behind {path} does not listen any more ({error.strerror})") from error
    return connection


async def usage_of(pids: Iterable[int]) -> MachineUsage:
    """The sum over processes; those that have ended count nothing."""
    # The kernel walks the page tables for it, which takes milliseconds.
    return await asyncio.to_thread(lambda: _sum([_usage(pid) for pid in pids]))


def _sum(used: Sequence[MachineUsage]) -> MachineUsage:
    return MachineUsage(
        sum(each.resident_bytes for each in used),
        sum(each.cpu_ns for each in used),
        _known_sum(each.proportional_bytes for each in used),
        _known_sum(each.shared_bytes for each in used),
    )


def _known_sum(counts: Iterable[int | None]) -> int | None:
    known = list(counts)
    return None if None in known else sum(count or 0 for count in known)


def _usage(pid: int) -> MachineUsage:
    try:
        # proc(5): after the name in parentheses, fields 14 to 17 are the ticks of the process and its children.
        ticks = sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]))
        cpu_ns = ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
        try:
            sizes = _sizes(f"/proc/{pid}/smaps_rollup")
        except PermissionError:
            sizes = _sizes(f"/proc/{pid}/status")
            return MachineUsage(sizes.get("VmRSS", 0), cpu_ns)
        shared = sizes.get("Shared_Clean", 0) + sizes.get("Shared_Dirty", 0)
        return MachineUsage(sizes.get("Rss", 0), cpu_ns, sizes.get("Pss", 0), shared)
    except (FileNotFoundError, ProcessLookupError):
        return MachineUsage(0, 0, 0, 0)


def _sizes(path: str) -> dict[str, int]:
    """The lines `Name:   123 kB` of a file of proc(5), in bytes."""
    found = {}
    for line in Path(path).read_text(errors="replace").splitlines():
        name, _, rest = line.partition(":")
        match rest.split():
            case [count, "kB"]:
                found[name] = int(count) << 10
    return found


@dataclass(frozen=True, slots=True)
class _Process:
    """What the kernel says of a process. `inner`: it stands in a pid namespace below ours."""

    pid: int
    parent: int
    inner: bool
    mark: UUID | None


def _find_boxes(home: str, owners: Container[int]) -> list[Box]:
    boxes: list[Box] = []
    for _ in range(LOOKS):
        boxes, moved = _hold(_groups(home, owners), home, owners)
        # A machine whose box ends while we look gets another parent, and would be in neither of the groups: look again.
        if not moved:
            break
    return boxes


def _groups(home: str, owners: Container[int]) -> list[list[_Process]]:
    """What belongs to one machine: its box and what is in it, or a machine without a box."""
    processes = [each for pid in _pids() if (each := _look(pid, home, owners))]
    outer = {each.pid: each for each in processes if each.mark and not each.inner}
    within = {each.parent: each for each in processes if each.inner and each.parent in outer}
    alone = [each for each in processes if each.mark and each.inner and each.parent not in outer]
    return [
        *([each, *([within[each.pid]] if each.pid in within else [])] for each in outer.values()),
        *([each] for each in alone),
    ]


def _hold(groups: Iterable[Sequence[_Process]], home: str, owners: Container[int]) -> tuple[list[Box], bool]:
    """The groups, held for good; without what has ended, or is not where it was seen, and whether anything is not."""
    boxes: list[Box] = []
    moved = False
    for group in groups:
        held: list[int] = []
        for process in group:
            with contextlib.suppress(ProcessLookupError):
                pidfd = os.pidfd_open(process.pid)
                held.append(pidfd)
                # Between the look and the hold the number may have gone to a stranger; the hold is for good.
                now = _look(process.pid, home, owners)
                if now is None or (now.parent, now.inner) != (process.parent, process.inner):
                    moved = moved or now is not None
                    os.close(held.pop())
        uuid = group[0].mark
        if held and uuid:
            boxes.append(Box(uuid, next((each.pid for each in group if each.inner), None), held))
    return boxes, moved


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _look(pid: int, home: str, owners: Container[int]) -> _Process | None:
    try:
        status = Path(f"/proc/{pid}/status").read_text(errors="replace")
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        if int(fields["Uid"].split()[0]) not in owners:
            return None
        argv = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    # A zombie has no namespace ids any more, nor arguments.
    inner = len(fields.get("NSpid", "").split()) > 1
    return _Process(pid, int(fields["PPid"]), inner, read_mark(argv, home))


async def _readable(fd: int) -> None:
    """Return when there is something to read, or the other end is gone.

    A pidfd becomes readable when its process has ended, reaped or not (pidfd_open(2)).
    """
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    # A number of our own: an event loop keeps one reader for each fd, and several may wait for the same end.
    own = os.dup(fd)
    try:
        loop.add_reader(own, _resolve, ready)
        await ready
    finally:
        loop.remove_reader(own)
        os.close(own)


async def _ended(pidfd: int) -> None:
    """Return when its process has ended, and for no other reason: a machine that is believed gone is buried."""
    while True:
        try:
            return await _readable(pidfd)
        except OSError:  # no number is left, or the kernel watches no more files; that passes
            await asyncio.sleep(AGAIN_SECONDS)


async def _to_the_end(work: Coroutine[object, object, None]) -> None:
    """A cancellation takes effect when it is done."""
    doing = asyncio.ensure_future(work)
    try:
        await asyncio.shield(doing)
    except asyncio.CancelledError:
        await asyncio.wait([doing])
        raise


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _close(pidfds: Iterable[int]) -> None:
    for pidfd in pidfds:
        os.close(pidfd)
