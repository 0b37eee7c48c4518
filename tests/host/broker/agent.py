"""A well-behaved guest with services of its own, built on nothing but the wire: `python -m tests.host.broker.agent FD`.

test.Echo      gives back its stdin
test.Exit+N    ends with N
test.Source+N  writes N bytes, `pattern(N)`
test.Sink      reads to the end; writes the SHA-256 of it in hex
test.Both+N    writes N bytes of `pattern` to stdout and to stderr alike
test.Never     neither reads nor writes nor ends
test.Deaf+N    as Source, and takes no stdin
test.Pass+S    calls service S of whatever target, and is that call's caller and relay
"""

import hashlib
import select
import socket
import sys
from dataclasses import dataclass, field

from bento.wire.calls import Calls
from bento.wire.channel import answer, seal_of
from bento.wire.frames import FrameReader, encode_frame
from bento.wire.greeting import GreetingHunter
from bento.wire.layout import Message, Sender
from bento.wire.names import ServiceArgument, ServiceName, TargetName
from bento.wire.rpc import (
    FROM_HOST,
    MAX_DATA,
    Accepted,
    Ask,
    Data,
    Drop,
    Eof,
    Exit,
    Identity,
    Ready,
    Refused,
    Serve,
    Shutdown,
    Stream,
    Window,
)

BLOCK = bytes(range(256)) * 1024
TURN = 1 << 20


def pattern(size: int, start: int = 0) -> bytes:
    """`size` bytes of an endless stream that begins anew every 251 blocks, so that a lost or doubled one shows."""
    at = start % 251
    return (BLOCK[at:] * (size // (len(BLOCK) - at) + 1))[:size]


@dataclass
class Call:
    number: int
    service: str
    argument: str
    out: dict[int, bytearray] = field(default_factory=dict)  # by stream, waits for credit
    ended: set[int] = field(default_factory=set)  # streams to end when their bytes are out
    code: int | None = None
    partner: "Call | None" = None
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def write(self, stream: int, data: bytes) -> None:
        self.out.setdefault(stream, bytearray()).extend(data)


class Agent:
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._calls = Calls(Sender.GUEST)
        self._open: dict[int, Call] = {}
        self._out = bytearray()
        self._seal = b""
        self._done = False

    def run(self) -> None:
        hunter = GreetingHunter()
        while (found := hunter.feed(self._sock.recv(1 << 18))) is None:
            pass
        _, nonce, rest = found
        self._seal = seal_of(nonce)
        self._sock.sendall(answer(nonce))
        self._sock.setblocking(False)
        reader = FrameReader(seal=self._seal)
        data = rest
        while True:
            for tag, payload in reader.feed(data):
                self._hear(FROM_HOST.decode(tag, payload))
            data = b""
            self._flush()
            if self._done:
                return
            readable, _, _ = select.select([self._sock], [self._sock] if self._out else [], [])
            if readable:
                data = self._sock.recv(1 << 18)
                if not data:
                    return
            if self._out:
                self._flush()

    def _flush(self) -> None:
        try:
            while self._out:
                del self._out[: self._sock.send(self._out)]
        except BlockingIOError:
            pass

    def _put(self, message: Message) -> None:
        self._out += encode_frame(message, self._seal)

    def _hear(self, message: Message) -> None:
        match message:
            case Identity():
                self._put(Ready(1))
                return
            case Shutdown():
                self._done = True
                return
        if not self._calls.receive(message):
            return
        match message:
            case Serve(number, service, argument):
                call = Call(number, service, argument)
                self._open[number] = call
                self._begin(call)
                self._pump(call)
            case Data(number, stream, payload):
                self._take(self._open[number], stream, bytes(payload))
            case Eof(number, stream):
                self._eof(self._open[number], stream)
            case Window(number, _, _) | Accepted(number):
                self._pump(self._open[number])
            case Refused(number, code) | Exit(number, code):
                call = self._open.pop(number)
                assert call.partner
                call.partner.code = code
                self._pump(call.partner)
            case Drop(number):
                call = self._open.pop(number)
                if call.partner and call.partner.number in self._calls:
                    self._drop(call.partner)

    def _begin(self, call: Call) -> None:
        size = int(call.argument) if call.argument.isdecimal() else 0
        match call.service:
            case "test.Exit":
                call.code = size
            case "test.Source" | "test.Deaf":
                call.write(1, pattern(size))
                call.code = 0
            case "test.Both":
                call.write(1, pattern(size))
                call.write(2, pattern(size))
                call.code = 0
            case "test.Pass":
                service, _, argument = call.argument.partition("+")
                asked = Call(self._calls.begin(), "", "", partner=call)
                call.partner = asked
                self._open[asked.number] = asked
                name = ServiceName.parse(service)
                self._put(Ask(asked.number, name, ServiceArgument.parse(argument), TargetName.parse("")))

    def _take(self, call: Call, stream: int, payload: bytes) -> None:
        match call.service:
            case "test.Echo":
                call.write(1, payload)
                self._pump(call)
                return  # granted when it goes out
            case "test.Sink":
                call.digest.update(payload)
            case "test.Never" | "test.Deaf":
                return
            case _:
                if call.partner:
                    call.partner.write(stream, payload)
                    self._pump(call.partner)
                    return
        self._grant(call, stream, len(payload))

    def _grant(self, call: Call, stream: int, size: int) -> None:
        if window := self._calls.consumed(call.number, Stream(stream), size):
            self._put(window)

    def _eof(self, call: Call, stream: int) -> None:
        if call.partner:
            call.partner.ended.add(stream)
            self._pump(call.partner)
            return
        match call.service:
            case "test.Echo":
                call.ended.add(1)
                call.code = 0
            case "test.Sink":
                call.write(1, call.digest.hexdigest().encode())
                call.code = 0
        self._pump(call)

    def _pump(self, call: Call) -> None:
        if call.number not in self._calls:
            return
        for stream, waiting in call.out.items():
            while waiting and (credit := self._calls.sendable(call.number, Stream(stream))):
                payload = bytes(memoryview(waiting)[: min(credit, MAX_DATA)])
                del waiting[: len(payload)]
                self._say(Data(call.number, stream, payload))
                if call.partner:
                    self._grant(call.partner, stream, len(payload))
                elif call.service == "test.Echo":
                    self._grant(call, 0, len(payload))
        for stream in [stream for stream in call.ended if not call.out.get(stream)]:
            call.ended.remove(stream)
            self._say(Eof(call.number, stream))
        if call.code is not None and not any(call.out.values()):
            self._say(Exit(call.number, call.code))
            self._open.pop(call.number, None)

    def _drop(self, call: Call) -> None:
        self._say(Drop(call.number))
        self._open.pop(call.number, None)

    def _say(self, message: Data | Eof | Exit | Drop) -> None:
        self._calls.sent(message)
        self._put(message)


if __name__ == "__main__":
    Agent(socket.socket(fileno=int(sys.argv[1]))).run()
