"""How a contract is spelled: the text of one file to a `Contract`, or `ContractError` at the first fault.

    stderr at most N | unbounded
    message NAME
        u8|u16le|u16be|u32le|u32be|u64le|u64be FIELD [is RANGE ...]
        bytes FIELD N|LENGTH-FIELD [- N] [in all at most N] [of ALPHABET]
        line FIELD at most N [of ALPHABET]
        rest FIELD at most N | unbounded [of ALPHABET]
    state NAME caller|server|both
        caller|server says MESSAGE -> STATE [at most N | unbounded]
        caller|server ends -> STATE
        caller|server unheard
        exit RANGE ...

One thing a line; what belongs to a message or a state follows it; a `#` begins a comment. `docs/contracts.md` tells
what each means. The parser looks at words only; whether what it found is sound, `check.py` says.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from bento.host.contract.language import (
    BytesField,
    Contract,
    ContractError,
    Ends,
    Field,
    LineField,
    MessageKind,
    NumberField,
    Range,
    RestField,
    Says,
    State,
    Turn,
)
from bento.host.model.fault import Fault
from bento.wire.layout import U32, U64
from bento.wire.names import printable
from bento.wire.rpc import Role

MAX_TEXT = 1 << 16
"""Bytes of a contract's text."""

MAX_FIELDS = 64
"""Fields of one message."""

NUMBERS = {f"u{8 * size}{order}": (size, order == "le") for size in (2, 4, 8) for order in ("le", "be")} | {
    "u8": (1, False)
}
SUFFIXES = {"": 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}
NUMBER = re.compile(r"(0x[0-9a-f]{1,16}|0o[0-7]{1,22}|[0-9]{1,20})(|KiB|MiB|GiB|TiB)", re.ASCII)
NAME = re.compile(r"[a-z][a-z0-9-]{0,39}", re.ASCII)
SET = re.compile(r"\[([!-~]+)\]", re.ASCII)
SPAN = re.compile("(.)-(.)")
ASCII = bytes(range(32, 127))
ALPHABETS = {"ascii": ASCII, "text": b"\t" + ASCII + bytes(range(128, 256)), "digits": b"0123456789"}
ALPHABET = "ascii, text, digits, or characters such as [0-9a-f]"


@dataclass(slots=True)
class _Line:
    """The words of a line that were not read yet."""

    file: str
    number: int
    words: list[tuple[int, str]]
    end: int

    @property
    def next(self) -> str:
        return self.words[0][1] if self.words else ""

    def fail(self, expected: str) -> ContractError:
        column = self.words[0][0] if self.words else self.end
        found = printable(self.next) if self.words else "the end of the line"
        return self.fault(column, f"expected {expected}, found {found}")

    def fault(self, column: int, problem: str) -> ContractError:
        return ContractError(Fault(self.file, self.number, column, problem))

    def take(self) -> str:
        return self.words.pop(0)[1]

    def word(self, *expected: str) -> str:
        if self.next not in expected:
            raise self.fail(" or ".join(expected))
        return self.take()

    def maybe(self, *words: str) -> bool:
        """Take these words if they are next; once the first of them is, the others must follow."""
        if self.next != words[0]:
            return False
        for word in words:
            self.word(word)
        return True

    def name(self, what: str) -> str:
        if not NAME.fullmatch(self.next):
            raise self.fail(f"{what} (a small letter, then at most 39 small letters, digits or -)")
        return self.take()

    def amount(self, limit: int = U64.limit) -> int:
        """A number, at most `limit`."""
        value = _number(self.next)
        if value is None or value > limit:
            raise self.fail(f"a number up to {limit}")
        self.take()
        return value

    def ranges(self, limit: int) -> tuple[Range, ...]:
        """Numbers or LEAST..MOST, in order; at least one."""
        found: list[Range] = []
        while self.words or not found:
            ends = [_number(end) for end in self.next.split("..", 1)]
            least, most = ends[0], ends[-1]
            if least is None or most is None or max(least, most) > limit:
                raise self.fail(f"a number up to {limit}, or two of them such as 1..{limit}")
            if least > most or (found and least <= found[-1].most):
                raise self.fault(self.words[0][0], "ranges go upwards and do not overlap")
            found.append(Range(least, most))
            self.take()
        return tuple(found)

    def bound(self) -> int | None:
        """`at most N`, or None for `unbounded`."""
        if self.maybe("unbounded"):
            return None
        if not self.maybe("at", "most"):
            raise self.fail("at most N or unbounded")
        return self.amount()

    def alphabet(self) -> bytes:
        if not self.maybe("of"):
            return b""
        if found := SET.fullmatch(self.next):
            if any(first > last for first, last in SPAN.findall(found[1])):
                raise self.fault(self.words[0][0], "a range of characters goes upwards")
            self.take()
            return _characters(found[1])
        if self.next not in ALPHABETS:
            raise self.fail(ALPHABET)
        return ALPHABETS[self.take()]

    def done(self) -> None:
        if self.words:
            raise self.fail("the end of the line")


def _number(spelled: str) -> int | None:
    found = NUMBER.fullmatch(spelled)
    if not found:
        return None
    digits, suffix = found.groups()
    return int(digits, 0 if digits[:2] in ("0x", "0o") else 10) << SUFFIXES[suffix]


def _characters(spelled: str) -> bytes:
    """What is between brackets: characters, and ranges of them such as a-z."""
    ranged = SPAN.sub(lambda found: "".join(map(chr, range(ord(found[1]), ord(found[2]) + 1))), spelled)
    return bytes(sorted(set(ranged.encode())))


@dataclass(slots=True)
class _Draft:
    """What was read so far, and which message or state the next line belongs to."""

    file: str
    stderr: int | None = 0
    stderr_line: int = 0
    messages: dict[str, MessageKind] = field(default_factory=dict)
    states: dict[str, State] = field(default_factory=dict)
    within: str = ""
    """The name of the last of `messages` or `states`; which of the two, `add` knows."""


def parse(file: str, text: bytes) -> Contract:
    """The contract that `text` spells; `file` is its name, for messages. Raises `ContractError`."""
    if len(text) > MAX_TEXT:
        raise ContractError(Fault(file, 0, 0, f"has {len(text)} bytes; a contract has at most {MAX_TEXT}"))
    draft = _Draft(file)
    inner: Callable[[_Draft, _Line], None] | None = None
    for number, raw in enumerate(text.split(b"\n"), start=1):
        line = _words(file, number, raw)
        if not line.words:
            continue
        match line.next:
            case "stderr":
                if draft.stderr_line:
                    raise line.fault(0, f"stderr is declared already, in line {draft.stderr_line}")
                line.take()
                draft.stderr, draft.stderr_line = line.bound(), number
            case "message":
                _open_message(draft, line)
                inner = _add_field
            case "state":
                _open_state(draft, line)
                inner = _add_move
            case _ if inner:
                inner(draft, line)
            case _:
                raise line.fail("stderr, message or state")
        line.done()
    if not draft.states:
        raise ContractError(Fault(file, 0, 0, "declares no state"))
    return Contract(file, draft.stderr, draft.messages, draft.states)


def _words(file: str, number: int, raw: bytes) -> _Line:
    try:
        text = raw.decode("ascii").partition("#")[0]
    except UnicodeDecodeError as error:
        at = error.start
        if b"#" not in raw[:at]:
            raise ContractError(
                Fault(file, number, at + 1, "a byte that is not ASCII stands outside a comment")
            ) from None
        text = raw[:at].decode("ascii").partition("#")[0]
    words = [(found.start() + 1, found[0]) for found in re.finditer(r"[^ \t\r]+", text)]
    return _Line(file, number, words, len(text.rstrip()) + 1)


def _open_message(draft: _Draft, line: _Line) -> None:
    line.take()
    draft.within = _new_name(line, "a message's name", draft.messages)
    draft.messages[draft.within] = MessageKind(draft.within, (), line.number)


def _open_state(draft: _Draft, line: _Line) -> None:
    line.take()
    draft.within = _new_name(line, "a state's name", draft.states)
    turn = Turn(line.word("caller", "server", "both"))
    draft.states[draft.within] = State(draft.within, turn, (), (), (), frozenset(), line.number)


def _new_name(line: _Line, what: str, taken: dict[str, MessageKind] | dict[str, State]) -> str:
    column = line.words[0][0] if line.words else 0
    name = line.name(what)
    if name in taken:
        raise line.fault(column, f"{name} is declared already, in line {taken[name].line}")
    return name


def _add_field(draft: _Draft, line: _Line) -> None:
    kind = draft.messages[draft.within]
    if len(kind.fields) == MAX_FIELDS:
        raise line.fault(line.words[0][0], f"a message has at most {MAX_FIELDS} fields")
    made = _field(line, kind)
    if any(other.name == made.name for other in kind.fields):
        raise line.fault(0, f"{kind.name} has a field {made.name} already")
    draft.messages[kind.name] = replace(kind, fields=(*kind.fields, made))


def _field(line: _Line, kind: MessageKind) -> Field:
    spelled = line.word(*NUMBERS, "bytes", "line", "rest")
    name = line.name("a field's name")
    match spelled:
        case "bytes":
            return _bytes_field(line, name, kind)
        case "line":
            line.word("at")
            line.word("most")
            return LineField(name, line.amount(), line.alphabet(), line.number)
        case "rest":
            return RestField(name, line.bound(), line.alphabet(), line.number)
        case _:
            size, little = NUMBERS[spelled]
            most = (1 << 8 * size) - 1
            ranges = line.ranges(most) if line.maybe("is") else (Range(0, most),)
            return NumberField(name, size, little, ranges, line.number)


def _bytes_field(line: _Line, name: str, kind: MessageKind) -> BytesField:
    count, length, less = 0, "", 0
    lengths = {earlier.name: earlier for earlier in kind.fields if isinstance(earlier, NumberField)}
    if line.next in lengths:
        column = line.words[0][0]
        length = line.take()
        ranges = lengths[length].ranges
        less = line.amount(U32.limit - 1) if line.maybe("-") else 0
        if ranges[0].least < less:
            raise line.fault(column, f"{length} may be less than {less}; give it a range that begins there")
        if ranges[-1].most == (1 << 8 * lengths[length].size) - 1 and lengths[length].size > 2:
            raise line.fault(column, f"{length} has no bound; say in line {lengths[length].line} what it is")
    elif NUMBER.fullmatch(line.next):
        count = line.amount()
    else:
        raise line.fail("a number of bytes, or a number field of this message before it")
    counted = length and not less  # what other fields add up to, their length or `at most` bounds already
    in_all = line.amount() if counted and line.maybe("in", "all", "at", "most") else None
    return BytesField(name, count, length, less, line.alphabet(), in_all, line.number)


def _add_move(draft: _Draft, line: _Line) -> None:
    state = draft.states[draft.within]
    if line.maybe("exit"):
        draft.states[state.name] = replace(state, codes=(*state.codes, *line.ranges(255)))
        return
    side = Role(line.word("caller", "server", "exit"))
    match line.word("says", "ends", "unheard"):
        case "says":
            message = line.name("a message's name")
            to = _target(line)
            unbounded = line.maybe("unbounded")
            at_most = line.amount() if line.maybe("at", "most") else None
            says = Says(side, message, to, at_most, unbounded, line.number)
            draft.states[state.name] = replace(state, says=(*state.says, says))
        case "ends":
            draft.states[state.name] = replace(state, ends=(*state.ends, Ends(side, _target(line), line.number)))
        case _:
            draft.states[state.name] = replace(state, unheard=state.unheard | {side})


def _target(line: _Line) -> str:
    line.word("->")
    return line.name("a state's name")
