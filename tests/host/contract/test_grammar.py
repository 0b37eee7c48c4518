"""How a contract is spelled, and what is said of one that is misspelt: file, line, column, and what was expected."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.host.contract.grammar import MAX_FIELDS, MAX_TEXT, parse
from bento.host.contract.language import (
    BytesField,
    ContractError,
    Ends,
    LineField,
    NumberField,
    Range,
    RestField,
    Says,
    State,
    Turn,
)
from bento.wire.rpc import Role
from tests.host.contract.examples import CONTRACTS, SHIPPED

FULL = """\
# a comment, even with an umlaut: \N{LATIN SMALL LETTER A WITH DIAERESIS}
stderr at most 4KiB   # behind something

message one
\tu32le a is 1..0x10 0o100 1KiB..2MiB
    u16be b
    u8 c
    bytes d a - 1 of [a-c_-]
    bytes e 7
    bytes f c in all at most 1GiB
    bytes z a of digits
message two
    line g at most 9 of ascii
    rest h unbounded of text
message three
    rest i at most 1TiB

state begin both
    caller says one -> begin at most 3
    server says two -> later
    server says three -> begin unbounded
    caller ends -> later
    exit 0 7..9
    exit 255
state later server
    caller unheard
"""


def test_everything_that_can_be_declared() -> None:
    contract = parse("full", FULL.encode())
    assert contract.stderr == 4096
    assert contract.messages["one"].fields == (
        NumberField("a", 4, True, (Range(1, 16), Range(64, 64), Range(1024, 2 << 20)), 5),
        NumberField("b", 2, False, (Range(0, 65535),), 6),
        NumberField("c", 1, False, (Range(0, 255),), 7),
        BytesField("d", 0, "a", 1, b"-_abc", None, 8),
        BytesField("e", 7, "", 0, b"", None, 9),
        BytesField("f", 0, "c", 0, b"", 1 << 30, 10),
        BytesField("z", 0, "a", 0, b"0123456789", None, 11),
    )
    two, three = contract.messages["two"], contract.messages["three"]
    assert two.fields == (
        LineField("g", 9, bytes(range(32, 127)), 13),
        RestField("h", None, b"\t" + bytes(range(32, 127)) + bytes(range(128, 256)), 14),
    )
    assert three.fields == (RestField("i", 1 << 40, b"", 16),)
    assert contract.states == {
        "begin": State(
            "begin",
            Turn.BOTH,
            (
                Says(Role.CALLER, "one", "begin", 3, False, 19),
                Says(Role.SERVER, "two", "later", None, False, 20),
                Says(Role.SERVER, "three", "begin", None, True, 21),
            ),
            (Ends(Role.CALLER, "later", 22),),
            (Range(0, 0), Range(7, 9), Range(255, 255)),
            frozenset(),
            18,
        ),
        "later": State("later", Turn.SERVER, (), (), (), frozenset({Role.CALLER}), 25),
    }


BYTE = "expected a number up to 255, or two of them such as 1..255"

MISTAKES = {
    "": "x: declares no state",
    "stderr 5": "x:1:8: expected at most N or unbounded, found '5'",
    "stderr at least 5": "x:1:11: expected most, found 'least'",
    "stderr at most": "x:1:15: expected a number up to 18446744073709551615, found the end of the line",
    "stderr at most 18446744073709551616": (
        "x:1:16: expected a number up to 18446744073709551615, found '18446744073709551616'"
    ),
    "stderr at most 5\nstderr unbounded": "x:2: stderr is declared already, in line 1",
    "stderr unbounded now": "x:1:18: expected the end of the line, found 'now'",
    "  u8 a": "x:1:3: expected stderr, message or state, found 'u8'",
    "message": (
        "x:1:8: expected a message's name (a small letter, then at most 39 small letters, digits or -),"
        " found the end of the line"
    ),
    "message Big": (
        "x:1:9: expected a message's name (a small letter, then at most 39 small letters, digits or -), found 'Big'"
    ),
    "message a\nmessage a": "x:2:9: a is declared already, in line 1",
    "state a caller\nstate a both": "x:2:7: a is declared already, in line 1",
    "state a nobody": "x:1:9: expected caller or server or both, found 'nobody'",
    "message a\n caller says a": (
        "x:2:2: expected u16le or u16be or u32le or u32be or u64le or u64be or u8 or bytes or line or rest,"
        " found 'caller'"
    ),
    "message a\n u8 f\n u8 f": "x:3: a has a field f already",
    "message a\n u8 f is": f"x:2:9: {BYTE}, found the end of the line",
    "message a\n u8 f is 256": f"x:2:10: {BYTE}, found '256'",
    "message a\n u8 f is 1..": f"x:2:10: {BYTE}, found '1..'",
    "message a\n u8 f is 5..1": "x:2:10: ranges go upwards and do not overlap",
    "message a\n u8 f is 1..5 5": "x:2:15: ranges go upwards and do not overlap",
    "message a\n bytes f g": (
        "x:2:10: expected a number of bytes, or a number field of this message before it, found 'g'"
    ),
    "message a\n u32le g\n bytes f g": "x:3:10: g has no bound; say in line 2 what it is",
    "message a\n u8 g\n bytes f g - 1": "x:3:10: g may be less than 1; give it a range that begins there",
    "message a\n bytes f 5 in all at most 7": "x:2:12: expected the end of the line, found 'in'",
    "message a\n bytes f 5 of all": (
        "x:2:15: expected ascii, text, digits, or characters such as [0-9a-f], found 'all'"
    ),
    "message a\n bytes f 5 of [a-cz-x]": "x:2:15: a range of characters goes upwards",
    "message a\n line f unbounded": "x:2:9: expected at, found 'unbounded'",
    "message a\n rest f": "x:2:8: expected at most N or unbounded, found the end of the line",
    "state a both\n u8 f": "x:2:2: expected caller or server or exit, found 'u8'",
    "state a both\n exit 256": f"x:2:7: {BYTE}, found '256'",
    "state a both\n server shouts": "x:2:9: expected says or ends or unheard, found 'shouts'",
    "state a both\n server says m to b": "x:2:16: expected ->, found 'to'",
    "state a both\n server ends ->": (
        "x:2:16: expected a state's name (a small letter, then at most 39 small letters, digits or -),"
        " found the end of the line"
    ),
    "state a both\n server says m -> b \N{BULLET}": "x:2:21: a byte that is not ASCII stands outside a comment",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_has_a_place_and_says_what_was_expected(text: str) -> None:
    with pytest.raises(ContractError) as found:
        parse("x", text.encode())
    assert str(found.value) == MISTAKES[text]


def test_a_message_has_only_so_many_fields() -> None:
    fields = [f"\n u8 f{number}" for number in range(MAX_FIELDS + 1)]
    parse("x", ("state a both\nmessage m" + "".join(fields[:-1])).encode())
    with pytest.raises(ContractError, match=f"x:{MAX_FIELDS + 2}:2: a message has at most {MAX_FIELDS} fields"):
        parse("x", ("message m" + "".join(fields)).encode())


def test_a_contract_has_only_so_many_bytes() -> None:
    parse("x", b"state a both\n" + b"#" * (MAX_TEXT - 13))
    with pytest.raises(ContractError, match=f"x: has {MAX_TEXT + 1} bytes; a contract has at most {MAX_TEXT}"):
        parse("x", b"#" * (MAX_TEXT + 1))


WORDS = sorted(
    {word for path in SHIPPED.glob("*.contract") for word in path.read_bytes().split()}
    | {b"\n", b"\n state s caller\n", b"\nmessage m\n", b"[", b"..", b"\xff", b"unbounded", b"-"}
)


@given(text=st.binary(max_size=200) | st.lists(st.sampled_from(WORDS), max_size=40).map(b" ".join))
def test_any_text_is_a_contract_or_has_a_fault_that_can_be_printed(text: bytes) -> None:
    try:
        parse("x", text)
    except ContractError as error:
        assert str(error).startswith("x:")
        assert str(error).isprintable()


def test_the_examples_have_what_they_seem_to() -> None:
    assert CONTRACTS["qubes.Filecopy"].states.keys() == {"copying", "done", "told", "over", "failed", "failed-over"}
