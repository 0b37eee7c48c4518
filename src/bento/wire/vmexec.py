"""A command line as the argument of a service call, for `qubes.VMExec`.

The words are joined by `+`. In a word, letters, digits, `.` and `_` stand for themselves, `--` is a minus sign, and
`-` with two capital hex digits is any other byte. Source: the field's `qubesagent/vmexec.py`, whose decoder allows any
byte to be written in hex, so that a command has many encodings; `encode_command` gives the shortest.
"""

import re
from collections.abc import Sequence

from bento.wire.errors import WireError
from bento.wire.names import MAX_CALL_NAME, ServiceArgument

PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._")
WORD = re.compile(r"(?:[a-zA-Z0-9._]|--|-[0-9A-F]{2})*", re.ASCII)
ESCAPE = re.compile(rb"-(-|[0-9A-F]{2})")


def encode_command(words: Sequence[bytes]) -> ServiceArgument:
    """`WireError` for what no call can carry: no words, a NUL, more than `names.MAX_CALL_NAME` bytes once encoded."""
    if not words or not words[0]:
        raise WireError("no command to run")
    if any(0 in word for word in words):
        raise WireError("a command's words may not contain NUL")
    argument = "+".join(map(_encode_word, words))
    if len(argument) > MAX_CALL_NAME:
        raise WireError(f"the command is too long: {len(argument)} bytes encoded, at most {MAX_CALL_NAME}")
    return ServiceArgument.parse(argument)


def decode_command(argument: str) -> list[bytes]:
    """The words, at least one, the first not empty; or `WireError`."""
    words = [_decode_word(word) for word in argument.split("+")]
    if not words[0]:
        raise WireError("no command to run")
    return words


def _encode_word(word: bytes) -> str:
    return "".join(chr(byte) if byte in PLAIN else "--" if byte == 0x2D else f"-{byte:02X}" for byte in word)


def _decode_word(untrusted: str) -> bytes:
    if not WORD.fullmatch(untrusted):
        raise WireError("the command is not encoded as qubes.VMExec wants it: '-' only as '--' or '-HH'")
    word = ESCAPE.sub(_unescape, untrusted.encode())
    if 0 in word:
        raise WireError("a command's words may not contain NUL")
    return word


def _unescape(found: re.Match[bytes]) -> bytes:
    return b"-" if found[1] == b"-" else bytes((int(found[1], 16),))
