"""What a domain without keys sends to one that has them: the command line and the blocks after it."""

from collections.abc import Hashable

from bento.wire.gpg import COMMAND, MAX_BLOCK, Block, BlockReader, Ended, decode_command, encode_block, encode_command
from bento.wire.gpgline import OPTIONS, Takes, Value, parse_remote, renumbered
from tests.fuzz.engine import Target, main, pieces

SIGN = encode_command(["--armor", "--local-user=me", "--detach-sign", "--status-fd=5", "-"])
VERIFY = encode_command(["--command-fd=3", "--verify", "--", "/dev/fd/4", "-"])
LIST = encode_command(["--with-colons", "--list-keys", "--", "me"])
HELLO = encode_block(Block(0, b"hello"))
END = encode_block(Block(0, b""))


def check(data: bytes) -> Hashable:
    line = parse_remote(decode_command(data[: COMMAND.size]))
    inputs, outputs = line.inputs, line.outputs
    mine = renumbered(line, {fd: 100 + fd for fd in inputs}, {fd: 2000 + fd for fd in outputs})
    for word in mine.words[: len(mine.options)]:
        name, equals, _ = word.removeprefix("--").partition("=")
        assert bool(equals) == (OPTIONS[name] is not Value.NOTHING)
    if mine.takes is not Takes.USERS:
        assert all(argument == "-" or int(argument.removeprefix("/dev/fd/")) >= 100 for argument in mine.arguments)
    reader = BlockReader(len(inputs), answering=False)
    ended = set()
    for untrusted in pieces(data[COMMAND.size :]):
        for block in reader.feed(untrusted):
            assert not isinstance(block, Ended)
            assert 0 <= block.file < len(inputs)
            assert block.file not in ended, "something follows a file's end"
            assert len(block.data) <= MAX_BLOCK
            if not block.data:
                ended.add(block.file)
    return line.takes, len(line.options), len(inputs), len(outputs), len(ended)


TARGET = Target(
    check,
    seeds=(SIGN + HELLO + END, VERIFY + HELLO + encode_block(Block(2, b"sig")) + END, LIST + END, bytes(COMMAND.size)),
    words=(
        HELLO,
        END,
        b"\0--export\0",
        b"\0-k\0--",
        b"--list-options=show-usage",
        b"/dev/fd/",
        b"\0--output=-",
        b"\0-\0",
    ),
)

if __name__ == "__main__":
    main("tests.fuzz.gpg", TARGET)
