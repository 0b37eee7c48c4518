"""A hostile other end of a call's leg: frames without a seal, from a caller and from a server."""

from collections.abc import Hashable

from bento.wire.frames import HEADER, MAX_PAYLOAD, FrameReader, encode_frame
from bento.wire.rpc import FROM_CALLER, FROM_SERVER, Accepted, Data, Eof, Exit, Refused, Resize, Stream
from tests.fuzz.engine import Target, main, pieces
from tests.fuzz.guest_channel import ask

CALLER = (ask(0), Data(0, Stream.STDIN, b"in"), Resize(0, 24, 80), Eof(0, Stream.STDIN))
SERVER = (Accepted(0), Data(0, Stream.STDOUT, b"out"), Eof(0, Stream.STDERR), Exit(0, 7), Refused(0, 126))


def check(data: bytes) -> Hashable:
    """The first byte says who the other end is."""
    codec = FROM_SERVER if data[:1] == b"s" else FROM_CALLER
    reader = FrameReader()
    outcome = []
    for untrusted in pieces(data[1:]):
        for tag, payload in reader.feed(untrusted):
            message = codec.decode(tag, payload)
            assert encode_frame(message)[HEADER:] == payload, "two payloads mean the same"
            outcome.append(type(message).__name__)
        assert len(reader.pending) < HEADER + MAX_PAYLOAD
    return tuple(outcome[:8])


WORDS = tuple(map(encode_frame, CALLER + SERVER))
SEEDS = b"c" + b"".join(map(encode_frame, CALLER)), b"s" + b"".join(map(encode_frame, SERVER))
TARGET = Target(check, SEEDS, WORDS)

if __name__ == "__main__":
    main("tests.fuzz.leg", TARGET)
