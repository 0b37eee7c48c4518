"""The messages of a call, on the guest channel and on a leg, and who may say what when.

A *call* is one service run for one caller: stdin goes to the server; stdout,
stderr and at last an exit code come back. On the guest channel many calls run
at once, told apart by number: the host numbers those it begins even, the guest
odd, each upwards. A *leg* is a socket that carries one call (broker to broker,
broker to command line, command to agent); its messages are the same with call
number 0, and its flow control is the socket's own, so `Window` never goes there.

    host                            guest
    Identity ->                                   first of all; nothing is served before it
                                 <- Ready
    Serve ->                                      run this service for that source
    Data(0), Eof(0), Resize ->   <- Data(1|2), Eof(1|2), Exit
                                 <- Ask           a program in the guest wants to call
    Accepted | Refused ->
    Data(1|2), Eof(1|2), Exit -> <- Data(0), Eof(0)
    Drop ->                      <- Drop          either end of a call is gone
    Window ->                    <- Window        so many bytes more may come
    Shutdown ->                                   end everything and power off

Source of what a call carries, and of the exit codes: the field's qrexec.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Annotated

from bento.wire.callnames import MAX_CALL_NAME, DomainName, ServiceArgument, ServiceName, TargetName, UserName
from bento.wire.layout import U8, U16, U32, U64, Blob, Bytes, Codec, Message, Number, Rest, Sender, Text, message

MAX_DATA = 1 << 18
"""Most payload bytes in one `Data`."""

WINDOW = 1 << 19
"""Bytes of each stream that may be under way before the receiver grants more. Both sides know it."""

MAX_CALLS = 256
"""Calls that one domain may have open in each direction (the field's limit)."""


class Stream(IntEnum):
    STDIN = 0
    STDOUT = 1
    STDERR = 2


class ExitCode(IntEnum):
    """Codes that do not come from the service itself (the field's)."""

    FAULT = 125
    REFUSED = 126
    NOT_FOUND = 127


def _user_or_none(untrusted: str) -> str:
    return UserName.parse(untrusted) if untrusted else ""


STREAM = Number(1, limit=2)
DOMAIN = Text(DomainName.parse, 31)
SERVICE = Text(ServiceName.parse, 255)
ARGUMENT = Text(ServiceArgument.parse, MAX_CALL_NAME)
TARGET = Text(TargetName.parse, 160)
USER = Text(_user_or_none, 32)
"""What a call is made of, laid out alike wherever it passes; limits are bytes."""


@message(tag=1, sender=Sender.HOST)
class Identity(Message):
    """Who the guest is from now on. `seed` goes into its random pool first; `time` is nanoseconds since 1970, UTC.

    Its class has to be spelled as a domain may be.
    """

    name: Annotated[DomainName, DOMAIN]
    klass: Annotated[str, DOMAIN]
    seed: Annotated[bytes, Blob(32, exact=True)]
    time: Annotated[int, U64]


@message(tag=2, sender=Sender.GUEST)
class Ready(Message):
    """The identity is taken on; calls are served. `version` is the guest half's protocol version."""

    version: Annotated[int, U16]


@message(tag=3, sender=Sender.HOST)
class Serve(Message):
    """Run `service` for `source`. Empty `user`: the guest's default. `rows` and `columns` not 0: on a terminal."""

    call: Annotated[int, U32]
    service: Annotated[ServiceName, SERVICE]
    argument: Annotated[ServiceArgument, ARGUMENT]
    source: Annotated[DomainName, DOMAIN]
    target: Annotated[TargetName, TARGET]
    user: Annotated[str, USER]
    rows: Annotated[int, U16]
    columns: Annotated[int, U16]


@message(tag=4, sender=Sender.GUEST)
class Ask(Message):
    """A program in the guest wants `service` of `target` (empty: whatever the policy says)."""

    call: Annotated[int, U32]
    service: Annotated[ServiceName, SERVICE]
    argument: Annotated[ServiceArgument, ARGUMENT]
    target: Annotated[TargetName, TARGET]


@dataclass(frozen=True, slots=True)
class OfCall(Message):
    """What is said of a call that has begun."""

    call: Annotated[int, U32]


@message(tag=5, sender=Sender.HOST)
class Accepted(OfCall):
    """The call may be."""


@message(tag=6, sender=Sender.HOST)
class Refused(OfCall):
    """The call will not be. The guest learns a code; the reason is in the host's journal."""

    code: Annotated[int, U8]


@message(tag=7, sender=Sender.BOTH)
class Data(OfCall):
    stream: Annotated[int, STREAM]
    payload: Annotated[Bytes, Rest(MAX_DATA)]


@message(tag=8, sender=Sender.BOTH)
class Eof(OfCall):
    stream: Annotated[int, STREAM]


@message(tag=9, sender=Sender.BOTH)
class Exit(OfCall):
    """The service ended with `code`; nothing more comes from it. The call is over."""

    code: Annotated[int, U8]


@message(tag=10, sender=Sender.BOTH)
class Drop(OfCall):
    """The sender's end of the call is gone; the call is over."""


@message(tag=11, sender=Sender.BOTH)
class Window(OfCall):
    """The sender can take `size` bytes more of `stream`."""

    stream: Annotated[int, STREAM]
    size: Annotated[int, Number(4, limit=WINDOW)]


@message(tag=12, sender=Sender.HOST)
class Resize(OfCall):
    """The caller's terminal has a new size."""

    rows: Annotated[int, U16]
    columns: Annotated[int, U16]


@message(tag=13, sender=Sender.HOST)
class Shutdown(Message):
    """End all programs, unmount, power off."""


MESSAGES = (Identity, Ready, Serve, Ask, Accepted, Refused, Data, Eof, Exit, Drop, Window, Resize, Shutdown)

ENDS = (Refused, Exit, Drop)
"""After one of these, by either side, the call is over."""


class Role(StrEnum):
    CALLER = "caller"
    SERVER = "server"

    @property
    def other(self) -> "Role":
        return Role.SERVER if self is Role.CALLER else Role.CALLER


class Stage(StrEnum):
    ASKED = "asked"
    OPEN = "open"


NONE = frozenset({None})
FORWARD = frozenset({Stream.STDIN})
BACK = frozenset({Stream.STDOUT, Stream.STDERR})

LEGAL: dict[tuple[Role, Stage], dict[type[Message], frozenset[Stream | None]]] = {
    (Role.CALLER, Stage.ASKED): {Drop: NONE},
    (Role.SERVER, Stage.ASKED): {Accepted: NONE, Refused: NONE},
    (Role.CALLER, Stage.OPEN): {Data: FORWARD, Eof: FORWARD, Window: BACK, Resize: NONE, Drop: NONE},
    (Role.SERVER, Stage.OPEN): {Data: BACK, Eof: BACK, Window: FORWARD, Exit: NONE, Drop: NONE},
}
"""Who speaks, and the stage of the call -> each message, and the streams it may be about, if any. All else is a
violation."""

FROM_GUEST = Codec(MESSAGES, sender=Sender.GUEST)
"""For the broker, reading the channel."""

FROM_HOST = Codec(MESSAGES, sender=Sender.HOST)
"""For the agent, reading the channel."""

FROM_CALLER = Codec((Ask, Data, Eof, Resize), sender=Sender.BOTH)
"""For whoever serves a leg: what the calling end may say. `Ask` only as the first, and only to an agent."""

FROM_SERVER = Codec((Accepted, Refused, Data, Eof, Exit), sender=Sender.BOTH)
"""For whoever calls over a leg: what the serving end may say."""
