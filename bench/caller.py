"""A program that calls services and measures itself, on the host or in a domain. Standard library and the wire only.

    python caller.py WHAT TARGET COUNT SIZE

runs in a domain, asks its agent, and prints what `WORK` measures under that name as JSON. The bench imports the same
functions for calls from the admin side. No client process is in any figure: the clock starts before the first byte of a
request and stops at the exit code.
"""

import contextlib
import json
import os
import select
import socket
import sys
import time
from collections.abc import Callable

from bento.wire.admin import Request
from bento.wire.frames import FrameReader, encode_frame
from bento.wire.names import DomainName, ServiceArgument, ServiceName, TargetName
from bento.wire.rpc import FROM_SERVER, MAX_DATA, Ask, Data, Eof, Exit, Refused, Stream

EMPTY, ECHO, SINK, SOURCE = "bench.Empty", "bench.Echo", "bench.Sink", "bench.Source"
"""`true`; its input back; reads it all; as many MiB of zeros as its argument says."""
SOCKET = "bench.Socket"
"""As EMPTY, by a program that listens on a socket: nothing is started for a call."""
KILOBYTE = bytes(1024)
PATIENCE = 60.0
"""Seconds without any call's end, after which those under way count as lost."""
END = encode_frame(Eof(0, Stream.STDIN))

Door = Callable[[str, bytes], socket.socket]
"""Begin a call of a service (SERVICE[+ARGUMENT]) and send those frames: its leg."""


def by_agent(target: str, path: str) -> Door:
    """From a program in a domain."""

    def open_leg(service: str, frames: bytes) -> socket.socket:
        name, _, argument = service.partition("+")
        ask = Ask(0, ServiceName(name), ServiceArgument(argument), TargetName(target))
        leg = socket.socket(socket.AF_UNIX)
        leg.connect(path)
        leg.sendall(encode_frame(ask) + frames)
        return leg

    return open_leg


def by_manager(target: str, path: str) -> Door:
    """From a program on the host: one request to the manager, whose answer brings the leg."""

    def open_leg(service: str, frames: bytes) -> socket.socket:
        request = Request(
            ServiceName("bento.vm.Call"), ServiceArgument(service), DomainName("dom0"), DomainName(target), b""
        )
        with socket.socket(socket.AF_UNIX) as manager:
            manager.connect(path)
            manager.sendall(request.encode())
            manager.shutdown(socket.SHUT_WR)
            answer, files, _, _ = socket.recv_fds(manager, 4096, 1)
        if not files:
            raise SystemExit(f"bench: the call was not opened: {answer!r}")
        leg = socket.socket(fileno=files[0])
        with contextlib.suppress(BrokenPipeError):  # a service that reads nothing may be through before it is told
            leg.sendall(frames)
        return leg

    return open_leg


def read_to_exit(leg: socket.socket) -> int:
    """Bytes of stdout until the exit code came."""
    reader, count = FrameReader(), 0
    while data := leg.recv(1 << 20):
        for frame in reader.feed(data):
            match FROM_SERVER.decode(*frame):
                case Data(stream=Stream.STDOUT, payload=payload):
                    count += len(payload)
                case Exit(code=0):
                    return count
                case Exit(code=code) | Refused(code=code):
                    raise SystemExit(f"bench: the service ended with {code}")
    raise SystemExit("bench: the call ended without an exit code")


def empty_calls(door: Door, count: int, _: int) -> list[float]:
    """Milliseconds of each, one after the other."""
    return [_timed(door, EMPTY, END) for _ in range(count)]


def echo_calls(door: Door, count: int, _: int) -> list[float]:
    return [_timed(door, ECHO, encode_frame(Data(0, Stream.STDIN, KILOBYTE)) + END) for _ in range(count)]


def _timed(door: Door, service: str, frames: bytes) -> float:
    began = time.perf_counter()
    with door(service, frames) as leg:
        read_to_exit(leg)
    return (time.perf_counter() - began) * 1000


def sink_rates(door: Door, count: int, megabytes: int) -> list[float]:
    """MiB/s from the request to the exit code, which comes when the service has read all."""
    chunk = encode_frame(Data(0, Stream.STDIN, bytes(MAX_DATA)))
    rates = []
    for _ in range(count):
        began = time.perf_counter()
        with door(SINK, b"") as leg:
            for _ in range((megabytes << 20) // MAX_DATA):
                leg.sendall(chunk)
            leg.sendall(END)
            read_to_exit(leg)
        rates.append(megabytes / (time.perf_counter() - began))
    return rates


def source_rates(door: Door, count: int, megabytes: int) -> list[float]:
    rates = []
    for _ in range(count):
        began = time.perf_counter()
        with door(f"{SOURCE}+{megabytes}", END) as leg:
            if read_to_exit(leg) != megabytes << 20:
                raise SystemExit("bench: the source's bytes did not all arrive")
        rates.append(megabytes / (time.perf_counter() - began))
    return rates


def many_calls(door: Door, count: int, at_once: int, service: str = EMPTY) -> dict[str, object]:
    """Milliseconds of each call that came to its exit code 0, how many did not, and seconds for all."""
    under_way: dict[int, tuple[socket.socket, FrameReader, float]] = {}
    times: list[float] = []
    lost = begun = 0
    began = time.perf_counter()
    with select.epoll() as ready:
        while begun < count or under_way:
            while begun < count and len(under_way) < at_once:
                started = time.perf_counter()
                leg = door(service, END)
                under_way[leg.fileno()] = leg, FrameReader(), started
                ready.register(leg, select.EPOLLIN)
                begun += 1
            events = ready.poll(PATIENCE)
            if not events:
                lost += len(under_way)
                break
            for fd, _ in events:
                leg, reader, started = under_way[fd]
                code = _exit_code(leg, reader)
                if code is None:
                    continue
                if code == 0:
                    times.append((time.perf_counter() - started) * 1000)
                else:
                    lost += 1
                leg.close()
                del under_way[fd]
    return {"times": times, "lost": lost, "seconds": time.perf_counter() - began}


def many_socket_calls(door: Door, count: int, at_once: int) -> dict[str, object]:
    return many_calls(door, count, at_once, SOCKET)


def listen(path: str) -> None:
    """Be the service SOCKET, until stdin ends: hear which call it is, and hang up."""
    with socket.socket(socket.AF_UNIX) as listener, select.epoll() as ready:
        listener.bind(path)
        os.chmod(path, 0o666)  # noqa: S103  # the agent may be anybody
        listener.listen(1024)
        ready.register(listener, select.EPOLLIN)
        ready.register(0, select.EPOLLIN)
        print("begun", flush=True)
        while all(fd != 0 for fd, _ in ready.poll()):
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
    os.unlink(path)


def _exit_code(leg: socket.socket, reader: FrameReader) -> int | None:
    """None: not yet. -1: the call broke."""
    data = leg.recv(65536)
    if not data:
        return -1
    for frame in reader.feed(data):
        match FROM_SERVER.decode(*frame):
            case Exit(code=code) | Refused(code=code):
                return code
    return None


def stops_reading(door: Door, _: int, megabytes: int) -> int:
    """Asks for more than all windows hold, takes none of it, and stays until its own stdin ends."""
    with door(f"{SOURCE}+{megabytes}", END):
        _stay()
    return 0


def never_closes(door: Door, _: int, __: int) -> int:
    """Sends a kilobyte and neither its end nor anything more."""
    with door(ECHO, encode_frame(Data(0, Stream.STDIN, KILOBYTE))):
        _stay()
    return 0


def dies_in_the_middle(door: Door, count: int, megabytes: int) -> int:
    """Of a frame, with output under way; again and again."""
    half = encode_frame(Data(0, Stream.STDIN, KILOBYTE))[:100]
    print("begun", flush=True)
    for _ in range(count):
        with door(f"{SOURCE}+{megabytes}", half) as leg:
            leg.recv(1)
    return count


def _stay() -> None:
    print("begun", flush=True)
    os.read(0, 1)


WORK: dict[str, Callable[[Door, int, int], object]] = {
    "empty": empty_calls,
    "echo": echo_calls,
    "sink": sink_rates,
    "source": source_rates,
    "many": many_calls,
    "many-socket": many_socket_calls,
    "stops-reading": stops_reading,
    "never-closes": never_closes,
    "dies": dies_in_the_middle,
}


if __name__ == "__main__":
    what, target, count, size = sys.argv[1:]
    if what == "listen":
        listen(target)
    else:
        print(json.dumps(WORK[what](by_agent(target, os.environ["BENTO_AGENT"]), int(count), int(size))))
