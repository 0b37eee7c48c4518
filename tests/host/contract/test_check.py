"""What makes a contract unsound: each fault by name, with the line of what is wrong."""

from pathlib import Path

import pytest

from bento.host.contract.language import ContractError
from bento.host.contract.table import examine, make
from tests.host.contract.examples import SHIPPED

HEAD = "message m\n u8 f is 1\nmessage n\n u8 f is 2\n"
"""Four lines; what follows begins in line 5."""

UNSOUND = {
    "an unknown state": (HEAD + "state a caller\n caller says m -> b\n server says n -> a", ["6: there is no state b"]),
    "an unknown message": (
        "state a caller\n caller says m -> a at most 1\n caller says n -> a at most 1",
        ["2: there is no message m", "3: there is no message n"],
    ),
    "a message of nobody": (
        HEAD + "state a caller\n caller says m -> b\nstate b server\n exit 0",
        ["3: no state has the message n"],
    ),
    "a message without fields": (
        "message m\nstate a caller\n caller says m -> b\nstate b server\n exit 0",
        ["1: message m has no fields"],
    ),
    "a message that may be empty": (
        "message m\n bytes a 0\n u8 b\nstate a caller\n caller says m -> b\nstate b server\n exit 0",
        ["2: message m may be empty"],
    ),
    "something behind the end of the stream": (
        "message m\n rest a unbounded\n u8 b\nstate a caller\n caller says m -> b\nstate b server\n exit 0",
        ["2: nothing can follow a, which goes to the end of the stream"],
    ),
    "a state that is never reached": (
        HEAD + "state a caller\n caller says m -> b\nstate b server\n"
        " server says n -> b at most 2\n exit 0\nstate c server\n exit 0",
        ["10: state c is never reached from a, where a conversation begins"],
    ),
    "a state without initiative": (
        HEAD + "state a caller\n caller says m -> b\n caller says n -> b\nstate b server\n"
        " caller ends -> c\nstate c caller\n exit 0",
        [
            "8: state b waits for the server, who may say nothing in it",
            "9: the caller's end of stream leads to state c, which waits for it",
            "9: the server may be speaking when this leads from state b to c; say 'server unheard' in c",
            "10: state c waits for the caller, who may say nothing in it",
        ],
    ),
    "one of both without a word": (
        HEAD + "state a both\n caller says m -> a at most 1\n caller says n -> a at most 1\nstate b caller\n",
        [
            "5: from state a no end can be reached; say 'exit' where the server may end",
            "5: state a waits for the server, who may say nothing in it",
            "8: from state b no end can be reached; say 'exit' where the server may end",
            "8: state b is never reached from a, where a conversation begins",
            "8: state b waits for the caller, who may say nothing in it",
        ],
    ),
    "no end": (
        HEAD + "state a caller\n caller says m -> b\nstate b server\n server says n -> a",
        [
            "5: from state a no end can be reached; say 'exit' where the server may end",
            "7: from state b no end can be reached; say 'exit' where the server may end",
        ],
    ),
    "a loop of one side": (
        HEAD + "state a caller\n caller says m -> b\n exit 0\nstate b caller\n caller says n -> a",
        [
            "6: in state a the caller may say m for ever, without a turn of the server; say 'at most N'",
            "9: in state b the caller may say n for ever, without a turn of the server; say 'at most N'",
        ],
    ),
    "a loop of one side at its own place": (
        HEAD + "state a both\n caller says m -> a\n server says n -> a unbounded\n exit 0",
        ["6: in state a the caller may say m for ever, without a turn of the server; say 'at most N'"],
    ),
    "an unbounded loop in a turn of one side": (
        HEAD + "state a server\n server says m -> a unbounded\n server says n -> a at most 5\n exit 0",
        ["6: m may be unbounded only in a state of both sides; say 'at most N'"],
    ),
    "an interruption that still hears the other": (
        HEAD + "state a caller\n caller says m -> b\n server says n -> b\nstate b server\n exit 0",
        ["7: the caller may be speaking when this leads from state a to b; say 'caller unheard' in b"],
    ),
    "an unheard side that speaks": (
        HEAD + "state a caller\n caller says m -> b\nstate b both\n caller unheard\n caller says n -> b\n exit 0",
        [
            "7: state b does not hear the caller, but waits for it",
            "9: in state b the caller may say n for ever, without a turn of the server; say 'at most N'",
            "9: state b does not hear the caller",
        ],
    ),
    "an unheard side that is heard again": (
        HEAD + "state a caller\n caller says m -> b\nstate b server\n caller unheard\n"
        " server says n -> c\nstate c server\n exit 0",
        ["9: the caller may be speaking when this leads from state b to c; say 'caller unheard' in c"],
    ),
    "an end of stream that means two things": (
        "message r\n rest x unbounded\nstate a caller\n caller says r -> b\n caller ends -> b\nstate b server\n exit 0",
        ["4: in state a the caller's end of stream means two things"],
    ),
    "a wait for a side whose stream is at its end": (
        "message r\n u8 s\n rest x unbounded\nstate a caller\n caller says r -> a at most 1\n exit 0",
        ["5: the caller's end of stream leads to state a, which waits for it"],
    ),
    "two messages that are alike": (
        "message m\n u8 f is 1..5\nmessage n\n u8 f is 5..9\nstate a caller\n caller says m -> b\n caller says n -> b\n"
        "state b server\n exit 0",
        [
            "7: in state a m and n cannot be told apart: messages differ by numbers of the same size,"
            " which come before all else"
        ],
    ),
    "a message that begins another": (
        "message m\n u8 f\nmessage n\n u8 f\n u8 g\nstate a caller\n caller says m -> b\n caller says n -> b\n"
        "state b server\n exit 0",
        [
            "8: in state a m and n cannot be told apart: messages differ by numbers of the same size,"
            " which come before all else"
        ],
    ),
    "messages of numbers of other sizes": (
        "message m\n u16le f is 1\nmessage n\n u16be f is 2\nstate a caller\n caller says m -> b\n caller says n -> b\n"
        "state b server\n exit 0",
        [
            "7: in state a m and n cannot be told apart: messages differ by numbers of the same size,"
            " which come before all else"
        ],
    ),
    "a misspelt one": (
        "state",
        [
            "1:6: expected a state's name (a small letter, then at most 39 small letters, digits or -),"
            " found the end of the line"
        ],
    ),
    "too many ranges": (
        "message m\n u16le f is "
        + " ".join(str(2 * number) for number in range(300))
        + "\nstate a caller\n caller says m -> b\nstate b server\n exit 0",
        [" is too large; declare fewer states, messages and ranges"],
    ),
    "too many bounds": (
        "message m\n u8 f\nstate s0 caller\n caller says m -> s1 at most 1\n exit 0\n"
        + "".join(f"state s{n} caller\n caller says m -> s{n + 1} at most 1\n" for n in range(1, 260))
        + "state s260 server\n exit 0",
        [" is too large; declare fewer states, messages and ranges"],
    ),
}


@pytest.mark.parametrize("name", UNSOUND)
def test_an_unsound_contract_is_complained_of(name: str) -> None:
    text, complaints = UNSOUND[name]
    assert [str(fault) for fault in examine("x", text.encode())] == [f"x:{complaint}" for complaint in complaints]
    with pytest.raises(ContractError) as found:
        make("x", text.encode())
    assert str(found.value) == f"x:{complaints[0]}"


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.contract")), ids=lambda path: path.stem)
def test_what_bento_brings_along_is_sound(path: Path) -> None:
    assert examine(path.name, path.read_bytes()) == ()
