"""Calls: each thing a peer may not say is a violation, what comes too late is ignored, no window is overrun."""

from collections import deque
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bento.wire.calls import GRANT_AT, Calls
from bento.wire.errors import WireError
from bento.wire.layout import Message, Sender
from bento.wire.names import DomainName, ServiceArgument, ServiceName, TargetName
from bento.wire.rpc import (
    BACK,
    FORWARD,
    MAX_CALLS,
    MAX_DATA,
    WINDOW,
    Accepted,
    Ask,
    Data,
    Drop,
    Eof,
    Exit,
    Identity,
    Ready,
    Refused,
    Resize,
    Role,
    Serve,
    Shutdown,
    Stream,
    Window,
)

DOM0 = DomainName("dom0")
STDIN, STDOUT, STDERR = Stream


def ask(call: int) -> Ask:
    return Ask(call, ServiceName("qubes.Filecopy"), ServiceArgument(""), TargetName("work"))


def serve(call: int) -> Serve:
    return Serve(call, ServiceName("qubes.VMExec"), ServiceArgument("ls"), DOM0, TargetName("work"), "", 0, 0)


# Four situations that a peer can be in: (calls as we see them, the call's number).


def peer_asked() -> tuple[Calls, int]:
    """The guest asked, and the host has not answered yet."""
    calls = Calls(Sender.HOST)
    assert calls.receive(ask(1))
    return calls, 1


def peer_is_asked() -> tuple[Calls, int]:
    calls = Calls(Sender.GUEST)
    return calls, calls.begin()


def peer_calls() -> tuple[Calls, int]:
    calls, call = peer_asked()
    calls.sent(Accepted(call))
    return calls, call


def peer_is_served() -> tuple[Calls, int]:
    """The same from the guest's side: the host's calls are open from the first."""
    calls = Calls(Sender.GUEST)
    assert calls.receive(serve(0))
    return calls, 0


def peer_serves() -> tuple[Calls, int]:
    calls = Calls(Sender.HOST)
    return calls, calls.begin()


Situation = Callable[[], tuple[Calls, int]]

SAID: dict[str, Callable[[int], Message]] = {
    "Accepted": Accepted,
    "Refused": lambda call: Refused(call, 126),
    "Exit": lambda call: Exit(call, 0),
    "Drop": Drop,
    "Resize": lambda call: Resize(call, 24, 80),
    **{f"Data {stream}": lambda call, stream=stream: Data(call, stream, b"x") for stream in (0, 1, 2)},  # type: ignore[misc]  # a lambda's default is not inferred
    **{f"Eof {stream}": lambda call, stream=stream: Eof(call, stream) for stream in (0, 1, 2)},  # type: ignore[misc]  # as above
    **{f"Window {stream}": lambda call, stream=stream: Window(call, stream, 0) for stream in (0, 1, 2)},  # type: ignore[misc]  # as above
}
MAY_SAY: dict[Situation, set[str]] = {
    peer_asked: {"Drop"},
    peer_is_asked: {"Accepted", "Refused"},
    peer_calls: {"Data 0", "Eof 0", "Window 1", "Window 2", "Resize", "Drop"},
    peer_is_served: {"Data 0", "Eof 0", "Window 1", "Window 2", "Resize", "Drop"},
    peer_serves: {"Data 1", "Data 2", "Eof 1", "Eof 2", "Window 0", "Exit", "Drop"},
}


@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize("situation", MAY_SAY)
def test_each_end_of_a_call_may_say_this_and_nothing_else(situation: Situation, said: str) -> None:
    calls, call = situation()
    message = SAID[said](call)
    if said in MAY_SAY[situation]:
        assert calls.receive(message)
    else:
        with pytest.raises(
            WireError, match=rf"{type(message).__name__} may not come from the (caller|server) of a call"
        ):
            calls.receive(message)


@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize("side", [Sender.HOST, Sender.GUEST])
def test_nobody_may_speak_of_a_call_that_never_was(side: Sender, said: str) -> None:
    for call in (0, 1, 2, 3, 2**32 - 1):
        with pytest.raises(WireError, match=f"call {call} was never begun"):
            Calls(side).receive(SAID[said](call))


@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize("situation", [peer_serves, peer_calls, peer_is_served])
def test_what_was_under_way_when_a_call_ended_is_ignored(situation: Situation, said: str) -> None:
    for ended_here in (True, False):
        calls, call = situation()
        if ended_here:
            calls.sent(Drop(call))
        else:
            calls.receive(Drop(call))
        assert call not in calls
        assert calls.receive(SAID[said](call)) is False


def test_an_exit_code_or_a_refusal_ends_a_call_for_both() -> None:
    calls, call = peer_serves()
    calls.receive(Exit(call, 0))
    assert call not in calls
    calls, call = peer_is_asked()
    calls.receive(Refused(call, 126))
    assert call not in calls
    calls, call = peer_calls()
    calls.sent(Exit(call, 0))
    assert call not in calls


@pytest.mark.parametrize("message", [Identity(DOM0, "AppVM", bytes(32), 0), Ready(1), Shutdown()])
def test_what_is_not_about_a_call_is_not_for_here(message: Message) -> None:
    with pytest.raises(WireError, match="is not about a call"):
        Calls(Sender.HOST).receive(message)


@pytest.mark.parametrize(("side", "begun"), [(Sender.HOST, ask), (Sender.GUEST, serve)])
def test_each_side_numbers_its_own_calls_upwards(side: Sender, begun: Callable[[int], Message]) -> None:
    calls = Calls(side)
    first = 1 if side is Sender.HOST else 0
    assert calls.receive(begun(first))
    assert calls.receive(begun(first + 6))
    for call in (first, first + 4, first + 6):
        with pytest.raises(WireError, match="not the next of its side"):
            calls.receive(begun(call))
    for call in (first + 1, first + 9):
        with pytest.raises(WireError, match="not the next of its side"):
            calls.receive(begun(call))
    assert [calls.begin(), calls.begin()] == [1 - first, 3 - first]


def test_a_number_does_not_come_back_when_its_call_is_over() -> None:
    calls, call = peer_asked()
    calls.sent(Refused(call, 126))
    with pytest.raises(WireError, match="not the next of its side"):
        calls.receive(ask(call))


def test_a_guest_may_have_so_many_calls_open_and_no_more() -> None:
    calls = Calls(Sender.HOST)
    calls.begin()  # the host's own are counted apart
    for number in range(MAX_CALLS):
        assert calls.receive(ask(2 * number + 1))
    assert calls.begun_there == MAX_CALLS
    calls.receive(Drop(1))
    assert calls.receive(ask(2 * MAX_CALLS + 1))
    with pytest.raises(WireError, match=f"more than {MAX_CALLS} calls at once"):
        calls.receive(ask(2 * MAX_CALLS + 3))


def test_data_beyond_the_window_is_a_violation() -> None:
    calls, call = peer_serves()
    for _ in range(WINDOW // MAX_DATA):
        assert calls.receive(Data(call, STDOUT, bytes(MAX_DATA)))
    assert calls.receive(Data(call, STDERR, b"x"))  # each stream has a window of its own
    with pytest.raises(WireError, match="data beyond the window of stream 1"):
        calls.receive(Data(call, STDOUT, b"x"))


def test_data_after_the_end_of_its_stream_is_a_violation() -> None:
    calls, call = peer_serves()
    assert calls.receive(Eof(call, STDOUT))
    assert calls.receive(Data(call, STDERR, b"x"))
    with pytest.raises(WireError, match="Data after the end of stream 1"):
        calls.receive(Data(call, STDOUT, b""))


def test_a_stream_ends_once() -> None:
    calls, call = peer_calls()
    assert calls.receive(Eof(call, STDIN))
    with pytest.raises(WireError, match="Eof after the end of stream 0"):
        calls.receive(Eof(call, STDIN))


def test_a_grant_beyond_the_window_is_a_violation() -> None:
    """Else a guest could have its host hold as much as it likes for a reader that never reads."""
    calls, call = peer_serves()
    calls.sent(Data(call, STDIN, b"four"))
    assert calls.receive(Window(call, STDIN, 4))
    assert calls.sendable(call, STDIN) == WINDOW
    with pytest.raises(WireError, match="window of stream 0 is larger than agreed"):
        calls.receive(Window(call, STDIN, 1))


def test_nothing_can_be_sent_before_a_call_is_accepted_or_after_it_is_over() -> None:
    calls, call = peer_is_asked()
    assert calls.sendable(call, STDIN) == 0
    assert calls.receive(Accepted(call))
    assert calls.sendable(call, STDIN) == WINDOW
    assert calls.receive(Exit(call, 0))
    assert calls.sendable(call, STDIN) == 0


def test_what_is_sent_uses_up_the_window_and_a_grant_gives_it_back() -> None:
    calls, call = peer_is_served()
    calls.sent(Data(call, STDOUT, bytes(MAX_DATA)))
    assert calls.sendable(call, STDOUT) == WINDOW - MAX_DATA
    assert calls.sendable(call, STDERR) == WINDOW
    assert calls.receive(Window(call, STDOUT, 1000))
    assert calls.sendable(call, STDOUT) == WINDOW - MAX_DATA + 1000


def test_a_grant_is_said_when_it_is_worth_a_message() -> None:
    calls, call = peer_serves()
    for _ in range(2):
        calls.receive(Data(call, STDOUT, bytes(GRANT_AT)))
    assert calls.consumed(call, STDOUT, GRANT_AT - 1) is None
    assert calls.consumed(call, STDOUT, 1) == Window(call, STDOUT, GRANT_AT)
    assert calls.consumed(call, STDOUT, 1) is None


def test_nothing_is_granted_for_a_stream_that_ended_or_a_call_that_is_over() -> None:
    calls, call = peer_serves()
    calls.receive(Data(call, STDOUT, bytes(GRANT_AT)))
    calls.receive(Eof(call, STDOUT))
    assert calls.consumed(call, STDOUT, GRANT_AT) is None
    calls.receive(Exit(call, 0))
    assert calls.consumed(call, STDOUT, GRANT_AT) is None


@pytest.mark.parametrize("size", [1000, GRANT_AT, MAX_DATA])
def test_a_stream_carries_many_times_its_window(size: int) -> None:
    """Each byte that is taken is granted once: neither end runs dry, neither finds the other's counting wrong."""
    reader, call = peer_serves()
    writer, _ = peer_is_served()
    for _ in range(10 * WINDOW // size):
        data = Data(call, STDOUT, bytes(min(size, writer.sendable(call, STDOUT))))
        assert data.payload
        writer.sent(data)
        assert reader.receive(data)
        if grant := reader.consumed(call, STDOUT, len(data.payload)):
            assert writer.receive(grant)
    assert writer.sendable(call, STDOUT) > WINDOW - GRANT_AT


def test_an_end_of_a_stream_said_here_ends_nothing_else() -> None:
    calls, call = peer_serves()
    calls.sent(Eof(call, STDIN))
    assert calls.receive(Data(call, STDOUT, b"still there"))


NUMBERS = st.integers(0, 7)
STREAMS = st.integers(0, 2)
ANYTHING: st.SearchStrategy[Message] = st.one_of(
    st.builds(serve, NUMBERS),
    st.builds(ask, NUMBERS),
    st.builds(Accepted, NUMBERS),
    st.builds(Refused, NUMBERS, st.just(126)),
    st.builds(Data, NUMBERS, STREAMS, st.sampled_from([1, 100, MAX_DATA]).map(bytes)),
    st.builds(Eof, NUMBERS, STREAMS),
    st.builds(Exit, NUMBERS, st.just(0)),
    st.builds(Drop, NUMBERS),
    st.builds(Window, NUMBERS, STREAMS, st.sampled_from([0, 1, MAX_DATA, WINDOW])),
    st.builds(Resize, NUMBERS, st.just(24), st.just(80)),
    st.just(Ready(1)),
)


@given(side=st.sampled_from([Sender.HOST, Sender.GUEST]), said=st.lists(ANYTHING | st.none(), max_size=30))
def test_whatever_a_peer_says_is_taken_ignored_or_a_wire_error(side: Sender, said: list[Message | None]) -> None:
    calls = Calls(side)
    taken: dict[tuple[int, int], int] = {}
    for message in said:
        if message is None:
            calls.begin()
            continue
        try:
            act = calls.receive(message)
        except WireError:
            return
        if act and isinstance(message, Data):
            taken[message.call, message.stream] = taken.get((message.call, message.stream), 0) + len(message.payload)
        assert all(size <= WINDOW for size in taken.values())  # nothing was granted
        assert all(calls.sendable(call, stream) <= WINDOW for call in calls._open for stream in Stream)


class End:
    """One end of a conversation that keeps to the rules: what it heard and did not take yet, and what it may do."""

    def __init__(self, side: Sender) -> None:
        self.side = side
        self.calls = Calls(side)
        self.inbox: deque[Message] = deque()
        self.roles: dict[int, Role] = {}
        self.open: set[int] = set()
        self.untaken: dict[tuple[int, Stream], int] = {}
        self.ended: set[tuple[int, Stream]] = set()  # streams that this end ended

    def mine(self, call: int) -> list[Stream]:
        """Streams that this end writes."""
        return sorted(FORWARD if self.roles[call] is Role.CALLER else BACK)

    def theirs(self, call: int) -> list[Stream]:
        return sorted(BACK if self.roles[call] is Role.CALLER else FORWARD)

    def forget(self, call: int) -> None:
        self.roles.pop(call)
        self.open.discard(call)
        self.untaken = {key: size for key, size in self.untaken.items() if key[0] != call}


class Conversation(RuleBasedStateMachine):
    """Two ends that keep to the rules, and a channel that takes its time: nobody ever finds fault with the other."""

    def __init__(self) -> None:
        super().__init__()
        self.host, self.guest = End(Sender.HOST), End(Sender.GUEST)

    def other(self, end: End) -> End:
        return self.guest if end is self.host else self.host

    def say(self, end: End, message: Message) -> None:
        if isinstance(message, Data | Eof | Accepted | Refused | Exit | Drop):
            end.calls.sent(message)
        if isinstance(message, Refused | Exit | Drop):
            end.forget(message.call)
        self.other(end).inbox.append(message)

    def hear(self, end: End) -> None:
        message = end.inbox.popleft()
        if not end.calls.receive(message):
            return
        match message:
            case Serve(call=call) | Ask(call=call):
                end.roles[call] = Role.SERVER
                if isinstance(message, Serve):
                    end.open.add(call)
            case Accepted(call):
                end.open.add(call)
            case Data(call, stream, payload):
                key = call, Stream(stream)
                end.untaken[key] = end.untaken.get(key, 0) + len(payload)
            case Refused(call) | Exit(call) | Drop(call):
                end.forget(call)
            case _:
                pass

    def pick(self, which: bool, number: int, *, only_open: bool = True) -> tuple[End, int | None]:
        end = self.host if which else self.guest
        calls = sorted(end.open if only_open else end.roles)
        return end, calls[number % len(calls)] if calls else None

    @rule(which=st.booleans())
    def begin(self, which: bool) -> None:
        end = self.host if which else self.guest
        if list(end.roles.values()).count(Role.CALLER) < MAX_CALLS:
            call = end.calls.begin()
            end.roles[call] = Role.CALLER
            if end is self.host:
                end.open.add(call)
            self.say(end, serve(call) if end is self.host else ask(call))

    @rule(accept=st.booleans(), number=NUMBERS)
    def answer(self, accept: bool, number: int) -> None:
        asked = sorted(set(self.host.roles) - self.host.open)
        if asked:
            call = asked[number % len(asked)]
            if accept:
                self.host.open.add(call)
            self.say(self.host, Accepted(call) if accept else Refused(call, 126))

    @rule(which=st.booleans(), number=NUMBERS, size=st.sampled_from([1, 1000, MAX_DATA]), times=st.integers(1, 6))
    def write(self, which: bool, number: int, size: int, times: int) -> None:
        end, call = self.pick(which, number)
        if call is not None:
            for stream in end.mine(call):
                for _ in range(times):
                    now = min(size, end.calls.sendable(call, stream))
                    if now and (call, stream) not in end.ended:
                        self.say(end, Data(call, stream, bytes(now)))

    @rule(which=st.booleans(), number=NUMBERS)
    def end_stream(self, which: bool, number: int) -> None:
        end, call = self.pick(which, number)
        if call is not None:
            stream = end.mine(call)[0]
            if (call, stream) not in end.ended:
                end.ended.add((call, stream))
                self.say(end, Eof(call, stream))

    @rule(which=st.booleans(), number=NUMBERS)
    def resize_or_exit(self, which: bool, number: int) -> None:
        end, call = self.pick(which, number)
        if call is not None:
            self.say(end, Exit(call, 0) if end.roles[call] is Role.SERVER else Resize(call, 24, 80))

    @rule(which=st.booleans(), number=NUMBERS)
    def drop(self, which: bool, number: int) -> None:
        end, call = self.pick(which, number, only_open=False)
        if call is not None and (call in end.open or end.roles[call] is Role.CALLER):
            self.say(end, Drop(call))

    @rule(which=st.booleans(), count=st.integers(1, 8))
    def deliver(self, which: bool, count: int) -> None:
        end = self.host if which else self.guest
        for _ in range(min(count, len(end.inbox))):
            self.hear(end)

    @rule(which=st.booleans(), size=st.sampled_from([1, 1000, GRANT_AT, WINDOW]))
    def take(self, which: bool, size: int) -> None:
        end = self.host if which else self.guest
        for (call, stream), there in list(end.untaken.items()):
            taken = min(size, there)
            end.untaken[call, stream] -= taken
            if grant := end.calls.consumed(call, stream, taken):
                self.say(end, grant)

    @invariant()
    def no_more_is_under_way_than_was_agreed(self) -> None:
        for end in (self.host, self.guest):
            other = self.other(end)
            for call in end.open:
                for stream in end.mine(call):
                    under_way = sum(
                        len(message.payload)
                        for message in other.inbox
                        if isinstance(message, Data) and (message.call, message.stream) == (call, stream)
                    )
                    untaken = other.untaken.get((call, stream), 0)
                    assert 0 <= end.calls.sendable(call, stream) <= WINDOW - under_way - untaken

    @invariant()
    def each_end_knows_its_calls(self) -> None:
        for end in (self.host, self.guest):
            assert set(end.calls._open) == set(end.roles)
            assert end.calls.begun_there == list(end.roles.values()).count(Role.SERVER)

    def teardown(self) -> None:
        """Once all was heard and taken, both agree on what is open, and everybody may write again."""
        while any(end.inbox or any(end.untaken.values()) for end in (self.host, self.guest)):
            for which in (True, False):
                self.deliver(which, 1000)
                self.take(which, WINDOW)
        assert self.host.roles.keys() == self.guest.roles.keys()
        for end in (self.host, self.guest):
            for call in end.open & self.other(end).open:
                for stream in end.mine(call):
                    if (call, stream) not in end.ended:
                        assert end.calls.sendable(call, stream) > WINDOW - GRANT_AT
                assert all(end.calls.sendable(call, stream) == WINDOW for stream in end.theirs(call))


TestConversation = Conversation.TestCase
TestConversation.settings = settings(stateful_step_count=60)
