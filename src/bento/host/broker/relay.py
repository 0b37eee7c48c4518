"""A domain's calls, between the guest channel and the legs. Moves bytes and decides nothing.

Bytes for a leg: kept per stream, and granted to the guest anew only once the
leg took them. Bytes from a leg: taken only as far as the guest's window and the
channel have room. Legs take turns, each at most one chunk, so that no call's
bulk holds up another; nothing here looks at all calls for one call's sake.
"""

import socket
from collections import deque
from collections.abc import Callable
from typing import assert_never

from bento.host.broker.channel import Channel
from bento.host.broker.leg import Leg
from bento.host.broker.loop import Loop
from bento.host.broker.waiting import Waiting
from bento.wire.calls import Calls, Role
from bento.wire.contract import Broken, Follower, Said
from bento.wire.control import MAX_SENTENCE, Asked, Blame, Open, Over
from bento.wire.errors import WireError
from bento.wire.frames import encode_frame
from bento.wire.layout import Message, Sender
from bento.wire.names import DomainName
from bento.wire.rpc import (
    MAX_CALLS,
    MAX_DATA,
    Accepted,
    Ask,
    Data,
    Drop,
    Eof,
    Exit,
    ExitCode,
    Refused,
    Resize,
    Serve,
    Stream,
    Window,
)


class Relay:
    """`tell` reaches the manager."""

    def __init__(self, loop: Loop, channel: Channel, tell: Callable[[Message], None]) -> None:
        self._loop = loop
        self._channel = channel
        self._tell = tell
        self._calls = Calls(Sender.HOST)
        self._legs: dict[int, Leg] = {}  # of open calls
        self._stirred: deque[Leg] = deque()  # something happened to their sockets
        self._ready: deque[Leg] = deque()  # may have something to say
        self._waiting = Waiting(MAX_CALLS)  # for calls that the guest serves: a slot is held until the leg is closed
        self._sources: dict[int, DomainName] = {}  # of calls that hold a slot
        self._tokens: dict[int, int] = {}  # of calls whose end the manager wants to know
        self._asked: dict[int, Ask] = {}  # by the guest, and not yet told to the manager
        self._questions: set[int] = set()  # told to the manager, and not yet answered
        self._over = False

    # From the manager

    def open(self, request: Open, leg: socket.socket) -> None:
        """Have the guest serve a call, as soon as it has a slot for it."""
        if self._over or not self._waiting.put(request, leg):
            self._turn_away(request, leg)
        else:
            self.serve_waiting()

    def serve_waiting(self) -> None:
        while self._channel.up and not self._over and (waiting := self._waiting.take()):
            request, sock = waiting
            call = self._calls.begin()
            self._sources[call] = request.source
            if request.token:
                self._tokens[call] = request.token
            what = request.service, request.argument, request.source, request.target
            self._channel.say(Serve(call, *what, request.user, request.rows, request.columns))
            leg = self._legs[call] = Leg(self._loop, sock, call, Role.SERVER, self._stirred.append)
            if request.contract:
                leg.follower = Follower(request.contract)

    def connect(self, token: int, sock: socket.socket) -> None:
        """The guest's call may be; `sock` leads to its server, who learns of it if the guest gave up meanwhile."""
        if self._answered(token):
            self._say(Accepted(token))
            self._legs[token] = Leg(self._loop, sock, token, Role.CALLER, self._stirred.append)
        else:
            sock.close()

    def deny(self, token: int, code: int) -> None:
        if self._answered(token):
            self._say(Refused(token, code))

    def _answered(self, token: int) -> bool:
        """Whether the guest still waits for this answer."""
        self._questions.remove(token)
        self._ask_waiting()
        return token in self._calls and not self._over

    def _ask_waiting(self) -> None:
        # A call that the guest dropped is still a question to the manager: so they are counted apart from the calls.
        while self._asked and len(self._questions) < MAX_CALLS:
            call = next(iter(self._asked))
            ask = self._asked.pop(call)
            self._questions.add(call)
            self._tell(Asked(call, ask.service, ask.argument, ask.target))

    # From the guest

    def hear(self, untrusted: Message) -> None:
        """A message of the guest: `WireError` if it may not say that now."""
        if not self._calls.receive(untrusted):
            return
        match untrusted:
            case Ask(call):
                self._asked[call] = untrusted
                self._ask_waiting()
            case Data(call) | Eof(call):
                leg = self._legs[call]
                allowed = self._judge(leg, leg.guest, untrusted)
                if isinstance(allowed, Data | Eof):
                    leg.put(allowed)
                    self._flush(leg)
            case Window(call):
                self._schedule(self._legs[call])
            case Exit(call, code):
                if self._judge(self._legs[call], Role.SERVER, untrusted):
                    self._finish(call, code)
            case Drop(call):
                self._asked.pop(call, None)
                self._finish(call, ExitCode.FAULT, "the service is gone without an exit code")
            case _:
                raise WireError(f"{type(untrusted).__name__} may not come from a guest")

    def _finish(self, call: int, code: int, fault: str = "") -> None:
        """The guest ended the call: its caller, if the guest was the server, gets all that waits, then `code`."""
        leg = self._legs.pop(call, None)
        if leg is None:
            return
        if leg.guest is Role.SERVER:
            if fault:
                leg.fault = Blame.SERVER, fault
            leg.finish(code)
            self._flush(leg)
        else:
            self._close(leg)

    # From the legs

    @property
    def busy(self) -> bool:
        return bool(self._ready) and self._channel.room

    def turn(self) -> None:
        """Write to the legs that can be written to again; give each that has something to say one turn."""
        while self._stirred:
            leg = self._stirred.popleft()
            if not leg.closed:
                self._flush(leg)
                self._schedule(leg)
        for _ in range(len(self._ready)):
            if not self._channel.room:
                return
            leg = self._ready.popleft()
            leg.scheduled = False
            if not (leg.closed or leg.finishing):
                self._take(leg)

    def _schedule(self, leg: Leg) -> None:
        if not (leg.scheduled or leg.closed or leg.finishing):
            leg.scheduled = True
            self._ready.append(leg)

    def _take(self, leg: Leg) -> None:
        """Up to one chunk from the leg to the guest."""
        budget = MAX_DATA
        while budget > 0:
            try:
                message = leg.held or leg.receive()
            except EOFError:
                self._drop(leg, "the caller is gone")
                return
            except WireError as error:  # this call is over, and no other
                self._drop(leg, str(error))
                return
            match message:
                case None:
                    return
                case Data(_, stream, payload):
                    budget -= len(payload)
                    if not self._pass_on(leg, Stream(stream), payload):
                        return
                case Eof(_, stream):
                    if not self._judge(leg, leg.guest.other, message):
                        return
                    self._say(Eof(leg.call, stream))
                case Resize(_, rows, columns):
                    self._channel.say(Resize(leg.call, rows, columns))
                case Exit(_, code):
                    self._say(Exit(leg.call, code))
                    del self._legs[leg.call]
                    self._close(leg)
                    return
                case _ as unreachable:
                    assert_never(unreachable)
            budget -= 64  # so that many small messages are a turn, too
        self._schedule(leg)

    def _pass_on(self, leg: Leg, stream: Stream, payload: bytes) -> bool:
        """Send what the guest's window allows; False if that was not all."""
        credit = self._calls.sendable(leg.call, stream)
        now, later = payload[:credit], payload[credit:]
        if now:
            allowed = self._judge(leg, leg.guest.other, Data(leg.call, stream, now))
            if not isinstance(allowed, Data):
                return False
            if allowed.payload:
                self._say(allowed)
        leg.held = Data(0, stream, later) if later else None
        if later and leg.line.hung_up and leg.guest is Role.SERVER:
            # A caller that is gone waits for nobody. (A server that is gone may have said all, to the exit code.)
            self._drop(leg, "the caller is gone")
        return not later

    def _judge(self, leg: Leg, role: Role, untrusted: Said) -> Said | None:
        """What its contract lets pass of what one side says; None when the call was cut for it."""
        if leg.follower is None:
            return untrusted
        try:
            allowed = leg.follower.hear(role, untrusted)
        except Broken as broken:
            leg.fault = Blame.CALLER if broken.blame is Role.CALLER else Blame.SERVER, f"contract broken: {broken}"
            if leg.call in self._calls:  # else the guest has ended it itself
                self._say(Drop(leg.call))
            self._finish(leg.call, ExitCode.FAULT)
            return None
        if isinstance(untrusted, Data) and isinstance(allowed, Data) and role is leg.guest:
            self._grant(leg.call, untrusted.stream, len(untrusted.payload) - len(allowed.payload))
        return allowed

    def _drop(self, leg: Leg, fault: str) -> None:
        """The leg's other end is gone, or talks nonsense: the guest learns that, whatever else waits."""
        leg.fault = Blame.CALLER, fault
        self._say(Drop(leg.call))
        del self._legs[leg.call]
        self._close(leg)

    # To both

    def _flush(self, leg: Leg) -> None:
        for stream, size in leg.flush():
            self._grant(leg.call, stream, size)
        if leg.finished:
            self._close(leg)

    def _grant(self, call: int, stream: int, size: int) -> None:
        if window := self._calls.consumed(call, Stream(stream), size):
            self._channel.say(window)

    def _say(self, message: Data | Eof | Accepted | Refused | Exit | Drop) -> None:
        self._calls.sent(message)
        self._channel.say(message)

    def _close(self, leg: Leg) -> None:
        leg.closed = True
        leg.line.close()
        if leg.guest is Role.SERVER:
            self._report(self._tokens.pop(leg.call, 0), *leg.fault)
            self._waiting.give_back(self._sources.pop(leg.call))
            self.serve_waiting()

    # The end

    def end(self) -> None:
        """The channel is gone. Callers get what waits and then 125, calls of the guest are over."""
        self._over = True
        for call in tuple(self._legs):
            self._finish(call, ExitCode.FAULT, "its channel is gone")
        for request, leg in self._waiting.drain():
            self._turn_away(request, leg)

    @property
    def finished(self) -> bool:
        return self._waiting.idle

    # Calls that never were, and what the manager learns

    def _turn_away(self, request: Open, leg: socket.socket) -> None:
        with leg:
            try:
                leg.send(encode_frame(Exit(0, ExitCode.FAULT)), socket.MSG_DONTWAIT)
            except OSError:
                pass  # the caller is gone, too
        self._report(request.token, Blame.NOBODY, "it never had a slot")

    def _report(self, token: int, blame: Blame, sentence: str) -> None:
        if token:
            self._tell(Over(token, blame, sentence[:MAX_SENTENCE]))
