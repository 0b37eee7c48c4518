"""What the manager and a domain's broker say to each other.

Carried over a SOCK_SEQPACKET socket pair: one packet a message, `tag u8 |
payload`, with open files beside it as SCM_RIGHTS where a message says so. The
manager is the host of this boundary and the broker its guest: a broker reads a
hostile domain's bytes, so the manager believes it no more than that domain.
Whose broker speaks is known from the socket, never from a message.
"""

from enum import IntEnum
from typing import Annotated

from bento.wire.errors import WireError
from bento.wire.layout import U8, U16, U32, U64, Blob, Codec, Message, Number, Sender, Text, message
from bento.wire.names import DomainName, ServiceArgument, ServiceName, TargetName, ascii_only
from bento.wire.rpc import ARGUMENT, DOMAIN, SERVICE, TARGET, USER

MAX_PACKET = 1 << 17
"""Largest packet in bytes; both sides read with a buffer of this size and refuse a truncated packet."""

MAX_SENTENCE = 400
"""Bytes in which a broker says what happened."""

MAX_CONTRACT = 1 << 14
"""Largest contract in bytes, as `contract.encode` makes it."""


class Ending(IntEnum):
    """Why a broker ended."""

    CLOSED = 0
    """The machine closed the channel."""
    OUT_OF_STEP = 1
    """The agent was replaced, or lies; a new broker may greet it again."""
    VIOLATION = 2
    """The guest broke the protocol."""


@message(tag=1, sender=Sender.HOST)
class Spawn(Message):
    """To the nursery: fork a broker for `name`. Files: its control socket, the channel, the console, the log file."""

    name: Annotated[DomainName, DOMAIN]


@message(tag=2, sender=Sender.GUEST)
class Spawned(Message):
    """From the nursery, one for each `Spawn` in order: the broker's process number."""

    pid: Annotated[int, U32]


@message(tag=3, sender=Sender.HOST)
class Begin(Message):
    """Greet the agent and give it this identity (`rpc.Identity`); `nonce` is for the greeting.

    `first` is 1 if no broker has spoken to this machine before.
    """

    nonce: Annotated[bytes, Blob(16, exact=True)]
    first: Annotated[int, Number(1, limit=1)]
    name: Annotated[DomainName, DOMAIN]
    klass: Annotated[str, Text(ascii_only, 31)]
    seed: Annotated[bytes, Blob(32, exact=True)]
    time: Annotated[int, U64]


@message(tag=4, sender=Sender.GUEST)
class Up(Message):
    """The guest answered `Ready`."""

    version: Annotated[int, U16]


@message(tag=5, sender=Sender.HOST)
class Open(Message):
    """Have the guest serve a call. File: the leg, whose other end is the caller. Fields as in `rpc.Serve`.

    With a `token` (not 0) the broker says `Over` when the call is over; with a `contract` it holds both sides to it.
    """

    service: Annotated[ServiceName, SERVICE]
    argument: Annotated[ServiceArgument, ARGUMENT]
    source: Annotated[DomainName, DOMAIN]
    target: Annotated[TargetName, TARGET]
    user: Annotated[str, USER]
    rows: Annotated[int, U16]
    columns: Annotated[int, U16]
    token: Annotated[int, U32] = 0
    contract: Annotated[bytes, Blob(MAX_CONTRACT)] = b""


@message(tag=6, sender=Sender.GUEST)
class Asked(Message):
    """A program in the guest wants a call. `token` comes back in the answer."""

    token: Annotated[int, U32]
    service: Annotated[ServiceName, SERVICE]
    argument: Annotated[ServiceArgument, ARGUMENT]
    target: Annotated[TargetName, TARGET]


@message(tag=7, sender=Sender.HOST)
class Connect(Message):
    """The call `token` may be. File: the leg, whose other end serves it."""

    token: Annotated[int, U32]


@message(tag=8, sender=Sender.HOST)
class Deny(Message):
    """The call `token` may not be; the guest's program gets `code`."""

    token: Annotated[int, U32]
    code: Annotated[int, U8]


@message(tag=9, sender=Sender.HOST)
class OpenConsole(Message):
    """Join the serial console. File: a stream socket that carries its bytes as they are; a later one takes over."""


@message(tag=10, sender=Sender.HOST)
class PowerOff(Message):
    """Tell the guest to shut down (`rpc.Shutdown`)."""


@message(tag=11, sender=Sender.GUEST)
class Ended(Message):
    """The broker's last message. `sentence` says what the guest did."""

    ending: Annotated[int, Number(1, limit=max(Ending))]
    sentence: Annotated[str, Text(ascii_only, MAX_SENTENCE)]


class Blame(IntEnum):
    """Who is to blame for how a call ended."""

    NOBODY = 0
    """The service ended it with an exit code, or the call never had a slot."""
    CALLER = 1
    SERVER = 2


@message(tag=12, sender=Sender.GUEST)
class Over(Message):
    """The call opened with this token is over, in whatever way: nothing more of it comes or goes. Once a token."""

    token: Annotated[int, U32]
    blame: Annotated[int, Number(1, limit=max(Blame))]
    sentence: Annotated[str, Text(ascii_only, MAX_SENTENCE)]


@message(tag=13, sender=Sender.GUEST)
class Withdrawn(Message):
    """The guest gave up the call `token` before it was answered. It is answered all the same."""

    token: Annotated[int, U32]


MESSAGES: tuple[type[Message], ...] = (
    Spawn,
    Spawned,
    Begin,
    Up,
    Open,
    Asked,
    Connect,
    Deny,
    OpenConsole,
    PowerOff,
    Ended,
    Over,
    Withdrawn,
)

FROM_BROKER = Codec(MESSAGES, sender=Sender.GUEST)
FROM_MANAGER = Codec(MESSAGES, sender=Sender.HOST)


def encode_packet(message: Message) -> bytes:
    return b"".join((bytes((message.TAG,)), *message.parts()))


def decode_packet(codec: Codec, untrusted: bytes) -> Message:
    if not untrusted:
        raise WireError("empty packet")
    return codec.decode(untrusted[0], untrusted[1:])
