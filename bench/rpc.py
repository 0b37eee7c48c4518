"""`make bench-rpc`: an empty call to a running domain, and bytes both ways, through manager, broker and agent.

The domain is a real one, under whatever accelerator this machine has. The
reference is the field's, from its agent and daemon as plain processes over
sockets on a like machine: no virtual machine was in between there, so under
emulation the ratios say how much the emulated guest costs, and no more.
"""

import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bento.wire.admin import Request
from bento.wire.frames import FrameReader, encode_frame
from bento.wire.home import find_home
from bento.wire.names import DomainName, ServiceArgument, ServiceName
from bento.wire.rpc import FROM_SERVER, MAX_DATA, Data, Eof, Exit, Stream
from bento.wire.vmexec import encode_command
from report import Row, report

BENTO = [sys.executable, "-m", "bento.cli"]
CALLS = int(os.environ.get("BENTO_BENCH_CALLS", "200"))
COMMANDS = 20
MEGABYTES = 64
DOMAIN = "bench"
FIELD = "the field's admin to domain, no VM"
FIELD_CALL_MS = 5.4
FIELD_SINK = 317.0
FIELD_SOURCE = 95.0
"""The better ends of what was measured of the field's reference for an empty call (ms), and the worse for MiB/s."""


def main() -> int:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bento-bench" / "home"
    os.environ["BENTO_HOME"] = str(home)
    with domain():
        leg_close([b"true"])  # the first call warms
        calls = [timed_call() for _ in range(CALLS)]
        commands = [timed_command() for _ in range(COMMANDS)]
        source = throughput(["head", "-c", f"{MEGABYTES}M", "/dev/zero"], feed=0)
        sink = throughput(["sh", "-c", "cat >/dev/null"], feed=MEGABYTES << 20)
    calls.sort()
    p50 = statistics.median(calls)
    rows = [
        Row("empty call, request to exit code", "p50", "ms", p50, FIELD_CALL_MS, FIELD, FIELD_CALL_MS / p50),
        Row("empty call, request to exit code", "p99", "ms", calls[int(len(calls) * 0.99)]),
        Row("empty call, request to exit code", "min", "ms", calls[0]),
        Row("the same as a command: bento run", "p50", "ms", statistics.median(commands)),
        Row("source to stdout", "rate", "MiB/s", source, FIELD_SOURCE, FIELD, source / FIELD_SOURCE),
        Row("stdin to sink", "rate", "MiB/s", sink, FIELD_SINK, FIELD, sink / FIELD_SINK),
    ]
    report("rpc", accelerator(), rows)
    return 0


@contextlib.contextmanager
def domain() -> Iterator[None]:
    """A running domain of a home of the bench's own; gone at the end, but for the template."""
    if "debian-12" not in [row["name"] for row in json.loads(bento("template", "ls", "--json"))]:
        print("  building the template", flush=True)
        bento("template", "build", "debian-12")
    if DOMAIN in [row["name"] for row in json.loads(bento("ls", "--json"))]:
        subprocess.run([*BENTO, "kill", DOMAIN], check=False, capture_output=True)
        bento("rm", DOMAIN)
    bento("create", DOMAIN, "--class", "AppVM", "--template", "debian-12", "--label", "gray")
    try:
        bento("start", DOMAIN)
        yield
    finally:
        subprocess.run([*BENTO, "kill", DOMAIN], check=False, capture_output=True)
        bento("rm", DOMAIN)
        bento("manager", "stop")


def bento(*words: str) -> str:
    return subprocess.run([*BENTO, *words], stdout=subprocess.PIPE, text=True, check=True).stdout


def accelerator() -> str:
    """As `bento doctor` has it; asked at the end, so that its probe disturbs no figure."""
    findings = {finding["key"]: finding for finding in json.loads(bento("doctor", "--json"))}
    bento("manager", "stop")
    return "kvm" if findings["kvm"]["status"] == "ok" else "tcg"


def open_leg(command: list[bytes]) -> socket.socket:
    """A call as any program makes it: one request to the manager, whose answer brings the leg."""
    argument = ServiceArgument(f"qubes.VMExec+{encode_command(command)}")
    request = Request(ServiceName("bento.vm.Call"), argument, DomainName("dom0"), DomainName(DOMAIN), b"")
    with socket.socket(socket.AF_UNIX) as manager:
        manager.connect(str(find_home(os.environ).manager_socket))
        manager.sendall(request.encode())
        manager.shutdown(socket.SHUT_WR)
        answer, files, _, _ = socket.recv_fds(manager, 4096, 1)
        if not files:
            raise SystemExit(f"bench: the call was not opened: {answer!r}")
        return socket.socket(fileno=files[0])


def leg_close(command: list[bytes]) -> None:
    with open_leg(command) as leg:
        with contextlib.suppress(BrokenPipeError):  # a program that reads nothing may be through before it is told
            leg.sendall(encode_frame(Eof(0, Stream.STDIN)))
        read_to_exit(leg)


def read_to_exit(leg: socket.socket) -> int:
    """Bytes of stdout until the exit code came."""
    reader, count = FrameReader(), 0
    while data := leg.recv(1 << 18):
        for frame in reader.feed(data):
            match FROM_SERVER.decode(*frame):
                case Data(stream=Stream.STDOUT, payload=payload):
                    count += len(payload)
                case Exit(code=0):
                    return count
                case Exit(code=code):
                    raise SystemExit(f"bench: the program in the domain ended with {code}")
    raise SystemExit("bench: the call ended without an exit code")


def timed_call() -> float:
    began = time.perf_counter()
    leg_close([b"true"])
    return (time.perf_counter() - began) * 1000


def timed_command() -> float:
    began = time.perf_counter()
    bento("run", DOMAIN, "--", "true")
    return (time.perf_counter() - began) * 1000


def throughput(command: list[str], *, feed: int) -> float:
    """MiB/s, from the request to the exit code."""
    chunk = encode_frame(Data(0, Stream.STDIN, bytes(MAX_DATA)))
    began = time.perf_counter()
    with open_leg([word.encode() for word in command]) as leg:
        for _ in range(feed // MAX_DATA):
            leg.sendall(chunk)
        leg.sendall(encode_frame(Eof(0, Stream.STDIN)))
        read_to_exit(leg)
    return MEGABYTES / (time.perf_counter() - began)


if __name__ == "__main__":
    sys.exit(main())
