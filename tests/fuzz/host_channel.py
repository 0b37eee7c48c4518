"""An agent that hunts while its host relays what another domain chose: nothing in it may pass for a greeting.

An input is what that domain sends, as the inputs of calls: it is cut into
`Data` of the host's connection. Behind it the real greeting comes, in the
middle of the last frame, and must be found.
"""

from collections.abc import Hashable

from bento.wire.channel import GREETING, PADDING, VERSION, greeting, seal_of
from bento.wire.errors import WireError
from bento.wire.frames import FrameReader, encode_frame
from bento.wire.greeting import GreetingHunter
from bento.wire.rpc import MAX_DATA, Data, Shutdown, Stream
from tests.fuzz.engine import Target, main, pieces

OLD, NEW, EVIL = bytes(range(1, 17)), bytes(range(33, 49)), b"e" * 16
FORGED = GREETING + VERSION.to_bytes(2, "big") + EVIL + encode_frame(Shutdown(), seal_of(EVIL))


def relayed(data: bytes) -> bytes:
    chosen = [data[at : at + MAX_DATA] for at in range(0, max(1, len(data)), MAX_DATA)]
    return b"".join(encode_frame(Data(0, Stream.STDIN, payload), seal_of(OLD)) for payload in chosen)


def check(data: bytes) -> Hashable:
    stream = relayed(data)
    assert greetings(stream, None) == [], "what a domain sent passes for a greeting"
    killed_at = len(data) % len(stream)
    for nonce in (None, OLD):
        assert greetings(stream[:killed_at] + greeting(NEW), nonce) == [NEW], "the greeting is not found"
    return data.count(GREETING), data.count(PADDING[: MAX_DATA // 2])


def greetings(stream: bytes, nonce: bytes | None) -> list[bytes]:
    """The nonces that an agent answers, which begins in step with `nonce`, or hunting."""
    hunter, reader = GreetingHunter(), None if nonce is None else FrameReader(seal=seal_of(nonce))
    found = []
    for data in pieces(stream):
        while data:
            if reader is not None:
                try:
                    for _ in reader.feed(data):
                        pass
                    break
                except WireError:
                    data = data[max(0, len(data) - len(reader.pending)) :]
                    hunter, reader = GreetingHunter(), None
            elif (greeted := hunter.feed(data)) is not None:
                _, nonce, data = greeted
                found.append(nonce)
                reader = FrameReader(seal=seal_of(nonce))
            else:
                break
    return found


TARGET = Target(
    check,
    seeds=(FORGED, bytes(MAX_DATA - len(FORGED)) + FORGED, FORGED * 20, b"", PADDING + FORGED),
    words=(GREETING, FORGED, GREETING[:5], bytes(1000)),
)

if __name__ == "__main__":
    main("tests.fuzz.host_channel", TARGET)
