"""Getting in step: whatever was under way, a greeting is found, and nothing that a domain wrote is taken for one."""

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.wire.channel import (
    ANSWER,
    GREETING,
    MAX_STALE,
    NONCE_SIZE,
    PADDING,
    SEAL_SIZE,
    VERSION,
    AnswerHunter,
    answer,
    greeting,
    seal_of,
)
from bento.wire.errors import WireError
from bento.wire.frames import HEADER, MAX_PAYLOAD, FrameReader, OutOfStep, encode_frame
from bento.wire.greeting import GreetingHunter
from bento.wire.layout import Message, Sender
from bento.wire.names import DomainName, ServiceArgument, ServiceName, TargetName
from bento.wire.rpc import MAX_DATA, MESSAGES, Data, Drop, Serve, Stream
from tests.wire.strategies import Long, cut, one_of

OLD, NEW, EVIL = bytes(range(1, 17)), bytes(range(101, 117)), b"evilevilevilevil"
NONCES = st.binary(min_size=NONCE_SIZE, max_size=NONCE_SIZE)
FROM_HOST = tuple(kind for kind in MESSAGES if kind.SENDER & Sender.HOST)
FROM_GUEST = tuple(kind for kind in MESSAGES if kind.SENDER & Sender.GUEST)

DOM0 = DomainName("dom0")
VM_EXEC = Serve(0, ServiceName("qubes.VMExec"), ServiceArgument("evil"), DOM0, TargetName(""), "root", 0, 0)
FORGED = GREETING + VERSION.to_bytes(2, "big") + EVIL + encode_frame(VM_EXEC, seal_of(EVIL))
"""What another domain wants a guest to take for its host's words, and sends as a call's input: any bytes it likes."""


HOSTILE = st.sampled_from(
    [FORGED, GREETING, Long(FORGED * 300), Long(bytes(MAX_DATA)), Long(bytes(MAX_DATA - len(FORGED)) + FORGED)]
)
HOSTILE_DATA: st.SearchStrategy[Message] = st.builds(Data, st.just(0), st.just(0), HOSTILE | st.binary())


class Guest:
    """The guest's end of the channel, as an agent runs it: a reader while in step, a hunter while not."""

    def __init__(self, nonce: bytes | None) -> None:
        self._hunter = GreetingHunter()
        self._reader = FrameReader(seal=seal_of(nonce)) if nonce else None
        self.greeted: list[bytes] = []
        self.heard: list[tuple[int, bytes]] = []

    def hear(self, data: bytes) -> None:
        while data:
            if self._reader is None:
                found = self._hunter.feed(data)
                if found is None:
                    return
                _, nonce, data = found
                self.greeted.append(nonce)
                self._reader = FrameReader(seal=seal_of(nonce))
                self.heard = []
            else:
                try:
                    self.heard += [(tag, bytes(payload)) for tag, payload in self._reader.feed(data)]
                    return
                except WireError:
                    # Of what was read earlier nothing is kept: an agent hands on what this read left.
                    data = data[max(0, len(data) - len(self._reader.pending)) :]
                    self._reader, self._hunter = None, GreetingHunter()


def session(messages: list[Message], nonce: bytes) -> bytes:
    return b"".join(encode_frame(message, seal_of(nonce)) for message in messages)


@given(
    before=st.lists(one_of(FROM_HOST) | HOSTILE_DATA, max_size=4),
    after=st.lists(one_of(FROM_HOST), max_size=2),
    in_step=st.booleans(),
    data=st.data(),
)
def test_any_prefix_of_an_old_session_followed_by_a_greeting_gets_in_step(
    before: list[Message], after: list[Message], in_step: bool, data: st.DataObject
) -> None:
    old = session(before, OLD)
    killed_at = data.draw(st.integers(0, len(old)))
    guest = Guest(OLD if in_step else None)
    for piece in data.draw(cut(old[:killed_at] + greeting(NEW) + session(after, NEW))):
        guest.hear(piece)
    assert guest.greeted == [NEW]
    assert guest.heard == [(message.TAG, b"".join(message.parts())) for message in after]


@given(data=st.data())
def test_a_greeting_cut_short_is_followed_by_the_next(data: st.DataObject) -> None:
    """A broker is killed while it greets; its successor greets again."""
    whole = greeting(EVIL)
    guest = Guest(None)
    killed_at = data.draw(st.integers(0, len(whole) - 1) | st.integers(len(whole) - 40, len(whole) - 1))
    for piece in data.draw(cut(whole[:killed_at] + greeting(NEW) + session([VM_EXEC], NEW))):
        guest.hear(piece)
    # Padding may have completed the nonce of the first; what was then answered is noise to the second.
    assert guest.greeted[-1] == NEW
    assert len(guest.greeted) <= 2
    assert guest.heard == [(VM_EXEC.TAG, b"".join(VM_EXEC.parts()))]


@given(sent=st.lists(HOSTILE_DATA | one_of(FROM_HOST), min_size=1, max_size=5), data=st.data())
def test_an_agent_that_restarted_takes_nothing_that_a_domain_wrote_for_a_greeting(
    sent: list[Message], data: st.DataObject
) -> None:
    """The host does not know of the restart and goes on relaying calls into an agent that waits for a greeting."""
    stream = session(sent, OLD)
    guest = Guest(None)
    for piece in data.draw(cut(stream[data.draw(st.integers(0, len(stream))) :])):
        guest.hear(piece)
    assert guest.greeted == []


@given(padding=st.integers(0, MAX_DATA - len(FORGED)), data=st.data())
def test_a_broker_killed_behind_a_forged_greeting_leaves_no_way_in(padding: int, data: st.DataObject) -> None:
    stream = session([Data(0, Stream.STDIN, bytes(padding) + FORGED)], OLD)
    guest = Guest(OLD)
    for piece in data.draw(cut(stream[:-SEAL_SIZE] + greeting(NEW))):
        guest.hear(piece)
    assert (guest.greeted, guest.heard) == ([NEW], [])


def test_a_call_that_is_all_zeros_is_never_as_long_as_padding() -> None:
    zeros = session([Data(0, Stream.STDIN, bytes(MAX_DATA))] * 3, bytes(NONCE_SIZE))
    assert max(map(len, zeros.replace(b"\0", b" ").split(b"\x01"))) < len(PADDING)
    assert GreetingHunter().feed(zeros + GREETING + bytes(2) + EVIL) is None


@pytest.mark.parametrize("missing", [1, len(PADDING)])
def test_a_greeting_behind_too_few_zeros_is_none(missing: int) -> None:
    said = greeting(NEW)[len(PADDING) + missing :]
    assert GreetingHunter().feed(said) is None
    assert GreetingHunter().feed(b"x" + said) is None
    assert GreetingHunter().feed(b"\0" * missing + said) == (VERSION, NEW, b"")


def test_zeros_count_only_in_one_piece() -> None:
    half = PADDING[: len(PADDING) // 2 + 1]
    assert GreetingHunter().feed(half + b"x" + half + greeting(NEW)[2 * len(PADDING) :]) is None


def test_a_greeting_says_the_hosts_version_and_nonce_and_what_follows_is_handed_on() -> None:
    assert GreetingHunter().feed(greeting(NEW) + b"frames") == (VERSION, NEW, b"frames")


def test_the_first_greeting_of_a_machine_needs_no_padding() -> None:
    said = greeting(NEW, first=True)
    assert GreetingHunter(first=True).feed(said + b"frames") == (VERSION, NEW, b"frames")
    assert GreetingHunter().feed(said) is None
    assert GreetingHunter(first=True).feed(greeting(NEW)) == (VERSION, NEW, b"")


def test_what_comes_behind_anything_else_is_not_the_first_greeting() -> None:
    assert GreetingHunter(first=True).feed(b"x" + greeting(NEW, first=True)) is None


def test_a_greeting_is_found_in_single_bytes() -> None:
    hunter = GreetingHunter()
    said = greeting(NEW)
    found = [hunter.feed(said[at : at + 1]) for at in range(len(said))]
    assert found[-1] == (VERSION, NEW, b"")
    assert not any(found[:-1])


@given(garbage=st.lists(st.binary(max_size=400) | HOSTILE, max_size=10))
def test_a_hunting_guest_keeps_almost_nothing_of_what_it_throws_away(garbage: list[bytes]) -> None:
    hunter = GreetingHunter()
    for piece in garbage:
        hunter.feed(piece)
        assert len(hunter._pending) < len(greeting(NEW)) - 2 * len(PADDING)


@given(before=st.lists(one_of(FROM_GUEST), min_size=1, max_size=4), data=st.data())
def test_an_agent_that_restarted_makes_its_host_notice(before: list[Message], data: st.DataObject) -> None:
    """It sends padding, into the middle of whatever its predecessor was saying: out of step, and nothing worse."""
    old = session(before, OLD)
    reader = FrameReader(seal=seal_of(OLD))
    pieces = data.draw(cut(old[: data.draw(st.integers(0, len(old)))] + PADDING))
    with pytest.raises(OutOfStep):
        list(chain.from_iterable(map(reader.feed, pieces)))


def test_padding_is_longer_than_any_frame() -> None:
    assert len(PADDING) == HEADER + MAX_PAYLOAD + SEAL_SIZE
    assert not any(PADDING)


def test_a_seal_is_the_first_bytes_of_the_nonce_made_odd() -> None:
    assert seal_of(bytes((10, 20, 30, 40)) + bytes(12)) == bytes((10, 20, 30, 41))


@given(nonce=NONCES | st.just(bytes(NONCE_SIZE)))
def test_a_seal_is_never_what_padding_looks_like(nonce: bytes) -> None:
    assert len(seal_of(nonce)) == SEAL_SIZE
    assert seal_of(nonce)[-1] != 0


@given(before=st.binary(max_size=200) | st.just(PADDING), data=st.data())
def test_a_host_finds_the_answer_to_its_greeting_in_any_cutting(before: bytes, data: st.DataObject) -> None:
    hunter = AnswerHunter(NEW)
    pieces = data.draw(cut(before + answer(OLD) + ANSWER + answer(NEW) + b"rest"))
    rest = None
    for piece in pieces:
        rest = rest + piece if rest is not None else hunter.feed(piece)
    assert rest == b"rest"


def test_an_answer_may_be_the_first_that_comes() -> None:
    assert AnswerHunter(NEW).feed(answer(NEW) + b"rest") == b"rest"


def test_a_guest_that_did_not_read_the_greeting_cannot_answer_it() -> None:
    hunter = AnswerHunter(NEW)
    assert hunter.feed(answer(OLD) + session([Drop(1)], OLD) + answer(bytes(NONCE_SIZE))) is None


@pytest.mark.parametrize("size", [1 << 10, 1 << 16, MAX_STALE])
def test_a_guest_that_never_answers_is_heard_out_to_a_limit(size: int) -> None:
    hunter = AnswerHunter(NEW)
    assert hunter.feed(b"x" * (len(answer(NEW)) - 1)) is None  # this much may be the beginning of an answer
    for _ in range(MAX_STALE // size):
        assert hunter.feed(b"x" * size) is None
    with pytest.raises(WireError, match="no answer to the greeting"):
        hunter.feed(b"x")


@given(garbage=st.lists(st.binary(max_size=100), max_size=30))
def test_a_hunting_host_keeps_almost_nothing_of_what_it_throws_away(garbage: list[bytes]) -> None:
    hunter = AnswerHunter(NEW)
    for piece in garbage:
        assert hunter.feed(piece) is None
        assert len(hunter._pending) < len(answer(NEW))
