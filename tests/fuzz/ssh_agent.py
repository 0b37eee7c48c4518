"""What a domain without keys sends to an ssh-agent of one that has them: only two kinds of requests get through."""

from collections.abc import Hashable

from bento.wire.sshagent import MAX_MESSAGE, MessageReader, Other, Sign, decode_request, encode_message, encode_request
from bento.wire.sshagent import List as ListKeys
from tests.fuzz.engine import Target, main, pieces

LIST = encode_request(ListKeys())
SIGN = encode_request(Sign(b"a key's blob", b"some data", 2))
REMOVE_ALL = encode_message(b"\x13")
BIND = encode_message(b"\x1b\0\0\0\x18session-bind@openssh.com")


def check(data: bytes) -> Hashable:
    reader = MessageReader()
    outcome = []
    passed = b""
    for untrusted in pieces(data):
        for message in reader.feed(untrusted):
            assert 0 < len(message) <= MAX_MESSAGE
            request = decode_request(message)
            if isinstance(request, Other):
                assert request.kind not in (0x0B, 0x0D)
                outcome.append(request.kind)
            else:
                encoded = encode_request(request)
                assert encoded == encode_message(message), "what is passed on is not what was asked"
                passed += encoded
                outcome.append(-1)
    again = MessageReader()
    assert all(isinstance(decode_request(message), ListKeys | Sign) for message in again.feed(passed))
    return tuple(outcome[:5]), len(outcome)


TARGET = Target(
    check,
    seeds=(LIST + SIGN, REMOVE_ALL + LIST, BIND + SIGN + LIST),
    words=(LIST, SIGN, REMOVE_ALL, BIND, b"\0\0\0\1", b"\x0d", b"\x0b", b"\0\0\0\0"),
)

if __name__ == "__main__":
    main("tests.fuzz.ssh_agent", TARGET)
