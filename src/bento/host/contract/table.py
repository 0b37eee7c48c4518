"""A contract as the table that a broker runs (`wire/contract.py`), in which the messages of a state are told apart.

Messages that a side may choose from are read together, number by number, for as long as the numbers alone do not say
which it is; so a broker never has to look ahead, and never goes back. Messages that are not told apart in this way are
a fault of the contract.
"""

from itertools import pairwise
from typing import assert_never

from bento.host.contract.check import check
from bento.host.contract.grammar import parse
from bento.host.contract.language import (
    BytesField,
    Contract,
    ContractError,
    LineField,
    NumberField,
    RestField,
    Says,
    State,
)
from bento.host.model.fault import Fault
from bento.wire.contract import (
    CODES,
    LABEL,
    RANGE,
    SILENT,
    START,
    UNHEARD,
    Count,
    Run,
    Terms,
    Until,
    Value,
    decode,
)
from bento.wire.contract import State as Place
from bento.wire.control import MAX_CONTRACT
from bento.wire.errors import WireError
from bento.wire.frames import encode_frame
from bento.wire.layout import U8, U64, Message
from bento.wire.rpc import Role

ENDLESS = U64.limit
"""As a limit: none."""

Head = tuple[Says, int]
"""A message that may be under way, and which of its fields comes next."""


def examine(file: str, text: bytes) -> tuple[Fault, ...]:
    """Everything that is wrong with a contract."""
    try:
        contract = parse(file, text)
        if faults := check(contract):
            return faults
        encode(contract)
    except ContractError as error:
        return (error.fault,)
    return ()


def make(file: str, text: bytes) -> bytes:
    """The table of a contract that must be sound. Raises `ContractError`."""
    contract = parse(file, text)
    if faults := check(contract):
        raise ContractError(faults[0])
    return encode(contract)


def encode(contract: Contract) -> bytes:
    """The table of a contract that was checked. Raises `ContractError`: messages are alike, or it is too large."""
    return _Table(contract).encoded()


class _Table:
    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._places = {name: START + at for at, name in enumerate(contract.states)}
        self._steps: list[Message] = []  # behind the states
        self._known: dict[tuple[Head, ...], int] = {}
        self._totals = 0

    def encoded(self) -> bytes:
        states = [self._state(state) for state in self._contract.states.values()]
        terms = Terms(ENDLESS if self._contract.stderr is None else self._contract.stderr)
        table = b"".join(map(encode_frame, (terms, *states, *self._steps)))
        try:
            decode(table)
            fits = len(table) <= MAX_CONTRACT and self._totals <= U8.limit
        except WireError:
            fits = False
        if not fits:
            raise self._contract.fault(0, "is too large; declare fewer states, messages and ranges")
        return table

    def _state(self, state: State) -> Place:
        codes = b"".join(CODES.pack(codes.least, codes.most) for codes in state.codes)
        return Place(
            state.name,
            self._entry(state, Role.CALLER),
            self._entry(state, Role.SERVER),
            self._end(state, Role.CALLER),
            self._end(state, Role.SERVER),
            codes,
        )

    def _entry(self, state: State, side: Role) -> int:
        if side in state.unheard:
            return UNHEARD
        heads = tuple((says, 0) for says in state.of(side))
        return self._step(state, heads) if heads else SILENT

    def _end(self, state: State, side: Role) -> int:
        """Where the side's end of stream leads. A server that may exit may first say that nothing more comes."""
        for end in state.ends:
            if end.side is side:
                return self._places[end.to]
        return self._places[state.name] if side is Role.SERVER and state.codes else SILENT

    def _step(self, state: State, heads: tuple[Head, ...]) -> int:
        """The place of the step that reads what comes next of these messages."""
        if heads not in self._known:
            self._known[heads] = self._single(state, *heads[0]) if len(heads) == 1 else self._choice(state, heads)
        return self._known[heads]

    def _single(self, state: State, says: Says, at: int) -> int:
        kind = self._contract.messages[says.message]
        if at == len(kind.fields):
            to = self._places[says.to]
            label = f"{says.message} in state {state.name}"
            return to if says.at_most is None else self._put(Count(label, self._total(), 0, 0, says.at_most, to))
        then = self._step(state, ((says, at + 1),))
        label = _label(((says, kind.fields[at].name),))
        match kind.fields[at]:
            case NumberField() as field:
                ranges = b"".join(RANGE.pack(one.least, one.most, then) for one in field.ranges)
                return self._put(Value(label, field.size, field.little, at, ranges))
            case BytesField() as field:
                names = [one.name for one in kind.fields]
                register = names.index(field.length) if field.length else 0
                less = field.less + 1 if field.length else 0
                run = self._put(Run(label, Until.COUNT, field.count, register, less, field.alphabet, then))
                if field.in_all is None:
                    return run
                return self._put(Count(f"bytes of {label}", self._total(), 1, register, field.in_all, run))
            case LineField() as field:
                return self._put(Run(label, Until.NEWLINE, field.limit, 0, 0, field.alphabet, then))
            case RestField() as field:
                limit = ENDLESS if field.limit is None else field.limit
                return self._put(Run(label, Until.EOF, limit, 0, 0, field.alphabet, then))
            case never:
                assert_never(never)

    def _choice(self, state: State, heads: tuple[Head, ...]) -> int:
        fields: list[NumberField] = []
        for says, at in heads:
            following = self._contract.messages[says.message].fields[at:]
            if not following or not isinstance(following[0], NumberField):
                raise self._alike(state, heads)
            fields.append(following[0])
        size, little, at = fields[0].size, fields[0].little, heads[0][1]
        if any((field.size, field.little) != (size, little) for field in fields):
            raise self._alike(state, heads)
        edges = sorted({edge for field in fields for one in field.ranges for edge in (one.least, one.most + 1)})
        ranges = b""
        for least, above in pairwise(edges):
            may_be = tuple(
                (says, at + 1)
                for (says, at), field in zip(heads, fields, strict=True)
                if any(one.least <= least <= one.most for one in field.ranges)
            )
            if may_be:
                ranges += RANGE.pack(least, above - 1, self._step(state, may_be))
        names = [(says, field.name) for (says, _), field in zip(heads, fields, strict=True)]
        return self._put(Value(_label(tuple(names)), size, little, at, ranges))

    def _alike(self, state: State, heads: tuple[Head, ...]) -> ContractError:
        one, other = heads[0][0], heads[1][0]
        return self._contract.fault(
            other.line,
            f"in state {state.name} {one.message} and {other.message} cannot be told apart:"
            " messages differ by numbers of the same size, which come before all else",
        )

    def _total(self) -> int:
        self._totals += 1
        return self._totals & U8.limit

    def _put(self, step: Message) -> int:
        self._steps.append(step)
        return len(self._places) + len(self._steps)


def _label(named: tuple[tuple[Says, str], ...]) -> str:
    """Such as `size of file or link`."""
    fields = "/".join(dict.fromkeys(name for _, name in named))
    messages = " or ".join(dict.fromkeys(says.message for says, _ in named))
    return f"{fields} of {messages}"[: LABEL.blob.limit]
