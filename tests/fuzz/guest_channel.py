"""A hostile guest: what a broker makes of the bytes that its domain writes to the channel."""

from collections.abc import Hashable, Iterator

from bento.wire.calls import Calls
from bento.wire.channel import ANSWER, PADDING, AnswerHunter, answer, seal_of
from bento.wire.frames import HEADER, MAX_PAYLOAD, FrameReader, encode_frame
from bento.wire.layout import Message, Sender
from bento.wire.names import ServiceArgument, ServiceName, TargetName
from bento.wire.rpc import (
    FROM_GUEST,
    MAX_CALLS,
    WINDOW,
    Accepted,
    Ask,
    Data,
    Drop,
    Eof,
    Exit,
    Ready,
    Stream,
    Window,
)
from tests.fuzz.engine import Target, main, pieces

NONCE = bytes(range(16))
SEAL = seal_of(NONCE)


def ask(call: int) -> Ask:
    return Ask(call, ServiceName("qubes.Filecopy"), ServiceArgument("+a"), TargetName("@default"))


MESSAGES: tuple[Message, ...] = (
    Ready(1),
    ask(1),
    ask(3),
    Data(0, Stream.STDOUT, b"out"),
    Data(1, Stream.STDIN, b"in"),
    Window(0, Stream.STDIN, 2),
    Window(1, Stream.STDOUT, 2),
    Eof(0, Stream.STDERR),
    Exit(0, 7),
    Drop(3),
    Drop(1),
)


class Host:
    """What a broker does with its guest's messages, and the promises it relies on."""

    def __init__(self) -> None:
        self.calls = Calls(Sender.HOST)
        self.heard: dict[tuple[int, int], int] = {}
        for _ in range(2):
            call = self.calls.begin()
            self.calls.sent(Data(call, Stream.STDIN, b"four"))

    def hear(self, message: Message) -> tuple[str, bool]:
        """Its kind, and whether it was acted on."""
        act = isinstance(message, Ready) or self.calls.receive(message)
        if act:
            self._act(message)
        return type(message).__name__, act

    def _act(self, message: Message) -> None:
        if isinstance(message, Ask) and not message.call & 2:
            self.calls.sent(Accepted(message.call))
            self.calls.sent(Data(message.call, Stream.STDOUT, b"four"))
        if isinstance(message, Data):
            key = message.call, message.stream
            self.heard[key] = self.heard.get(key, 0) + len(message.payload)
            assert self.heard[key] <= WINDOW, "more was taken than was agreed"
        assert self.calls.begun_there <= MAX_CALLS
        for call in tuple(self.calls._open):
            for stream in Stream:
                assert 0 <= self.calls.sendable(call, stream) <= WINDOW


def heard(data: bytes) -> Iterator[Message]:
    """The messages in the bytes of a channel, as a broker reads them."""
    hunter: AnswerHunter | None = AnswerHunter(NONCE)
    reader = FrameReader(seal=SEAL)
    for untrusted in pieces(data):
        if hunter is not None:
            rest = hunter.feed(untrusted)
            if rest is None:
                continue
            hunter, untrusted = None, rest
        for tag, payload in reader.feed(untrusted):
            yield FROM_GUEST.decode(tag, payload)
        assert len(reader.pending) < HEADER + MAX_PAYLOAD + len(SEAL)


def check(data: bytes) -> Hashable:
    host = Host()
    return tuple([host.hear(message) for message in heard(data)][:8])


FRAMES = tuple(encode_frame(message, SEAL) for message in MESSAGES)
TARGET = Target(
    check,
    seeds=(answer(NONCE) + b"".join(FRAMES), PADDING[:100] + answer(NONCE) + FRAMES[0]),
    words=(*FRAMES, SEAL, ANSWER, answer(NONCE)),
)

if __name__ == "__main__":
    main("tests.fuzz.guest_channel", TARGET)
