"""What a contract declares, as values: messages of typed and bounded fields, and the states that they lead through.

Lines count from 1 and say where in the file a thing was declared.
"""

from dataclasses import dataclass
from enum import Enum

from bento.host.model.fault import Fault, Malformed
from bento.wire.rpc import Role


class ContractError(Malformed):
    """The text is no contract, or not a sound one."""


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `least` to `most`, both among them."""

    least: int
    most: int


@dataclass(frozen=True, slots=True)
class NumberField:
    """An unsigned number of `size` bytes in one of `ranges`, which do not overlap and go upwards."""

    name: str
    size: int
    little: bool
    ranges: tuple[Range, ...]
    line: int


@dataclass(frozen=True, slots=True)
class BytesField:
    """`count` bytes; or with `length`, as many as that earlier number of the message says, and `less` fewer.

    An empty `alphabet` means any bytes. `in_all` bounds what all such fields of one conversation add up to.
    """

    name: str
    count: int
    length: str
    less: int
    alphabet: bytes
    in_all: int | None
    line: int


@dataclass(frozen=True, slots=True)
class LineField:
    """At most `limit` bytes, and a newline."""

    name: str
    limit: int
    alphabet: bytes
    line: int


@dataclass(frozen=True, slots=True)
class RestField:
    """All bytes to the end of the stream, at most `limit` (None: without bound)."""

    name: str
    limit: int | None
    alphabet: bytes
    line: int


Field = NumberField | BytesField | LineField | RestField


@dataclass(frozen=True, slots=True)
class MessageKind:
    name: str
    fields: tuple[Field, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Says:
    """A message that `side` may say, the state that it leads to, and how often in one conversation (None: no bound)."""

    side: Role
    message: str
    to: str
    at_most: int | None
    unbounded: bool
    """It says so: without a bound on purpose."""
    line: int


@dataclass(frozen=True, slots=True)
class Ends:
    """`side` may end its stream here, which leads to that state."""

    side: Role
    to: str
    line: int


class Turn(Enum):
    CALLER = "caller"
    SERVER = "server"
    BOTH = "both"

    def is_of(self, side: Role) -> bool:
        return self is Turn.BOTH or self.value == side.value


@dataclass(frozen=True, slots=True)
class State:
    """`turn` has the initiative; what else the other side says here interrupts. `codes`: the server may exit so."""

    name: str
    turn: Turn
    says: tuple[Says, ...]
    ends: tuple[Ends, ...]
    codes: tuple[Range, ...]
    unheard: frozenset[Role]
    line: int

    def of(self, side: Role) -> tuple[Says, ...]:
        return tuple(says for says in self.says if says.side is side)


@dataclass(frozen=True, slots=True)
class Contract:
    """The first state is where a conversation begins."""

    file: str
    stderr: int | None
    """Bytes; None: without bound."""
    messages: dict[str, MessageKind]
    states: dict[str, State]

    def fault(self, line: int, problem: str) -> ContractError:
        return ContractError(Fault(self.file, line, 0, problem))
