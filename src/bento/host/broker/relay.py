"""A domain's calls, between the guest channel and the legs. Moves bytes and decides nothing.

Bytes for a leg: kept per stream, and granted to the guest anew only once the
leg took them. Bytes from a leg: taken only as far as the guest's window and the
channel have room. Legs take turns, each at most one chunk, so that no call's
bulk holds up another; nothing here looks at all calls for one call's sake.

Here and below (`channel`, `leg`, `loop`, the wire) is all that reads what a
guest wrote. The desk above learns parsed values only.
"""

import socket
from collections import deque
from typing import Protocol

from bento.host.broker.channel import Channel
from bento.host.broker.leg import Leg
from bento.host.broker.loop import Loop
from bento.wire.calls import Calls
from bento.wire.contract import BROKEN, Broken, Follower, Said
from bento.wire.errors import WireError
from bento.wire.layout import Bytes, Message, Sender
from bento.wire.rpc import Accepted, Ask, Data, Drop, Eof, Exit, ExitCode, Ready, Refused, Resize, Role, Window

CHUNK = 1 << 19
"""Bytes of a leg's turn."""


class Desk(Protocol):
    """Who knows what calls are for."""

    def up(self, version: int) -> None:
        """The guest serves and asks from now on."""

    def asked(self, ask: Ask) -> None:
        """A program in the guest wants a call: `connect` or `refuse` it."""

    def dropped(self, call: int) -> None:
        """The guest gave up a call before it was answered."""

    def served(self, call: int, blame: Role | None, sentence: str) -> None:
        """A call that the guest served is over, and nothing is left of it: who is to blame for how, if anybody."""


class Relay:
    def __init__(self, loop: Loop, channel: Channel, desk: Desk) -> None:
        self._loop = loop
        self._channel = channel
        self._desk = desk
        self._calls = Calls(Sender.HOST)
        self._legs: dict[int, Leg] = {}  # of open calls
        self._stirred: deque[Leg] = deque()  # something happened to their sockets
        self._ready: deque[Leg] = deque()  # may have something to say

    # From the desk

    def begin(self, sock: socket.socket, contract: bytes) -> int:
        """A call of `sock`'s that the guest shall serve: its number, for the desk to say `Serve`."""
        call = self._calls.begin()
        leg = self._legs[call] = Leg(self._loop, sock, call, Role.SERVER, self._stirred.append)
        if contract:
            leg.follower = Follower(contract)
        return call

    def connect(self, call: int, sock: socket.socket) -> None:
        """The guest's call may be; `sock` leads to its server, who learns of it if the guest gave up meanwhile."""
        if call in self._calls:
            self._say(Accepted(call))
            self._legs[call] = Leg(self._loop, sock, call, Role.CALLER, self._stirred.append)
        else:
            sock.close()

    def refuse(self, call: int, code: int) -> None:
        if call in self._calls:
            self._say(Refused(call, code))

    # From the guest

    def hear(self) -> None:
        """What one read of the channel gives. Raises as `Channel.receive` does, and `WireError` for what may not be."""
        for untrusted in self._channel.receive():
            if isinstance(untrusted, Ready):
                self._desk.up(untrusted.version)
            elif self._calls.receive(untrusted):
                self._act(untrusted)

    def _act(self, untrusted: Message) -> None:
        match untrusted:
            case Data(call) | Eof(call):
                leg = self._legs[call]
                allowed = self._judge(leg, leg.guest, untrusted)
                if isinstance(allowed, Data):
                    leg.put(allowed)
                    self._flush(leg)
                elif isinstance(allowed, Eof):
                    leg.put(allowed)
                    self._stirred.append(leg)  # more of it may follow, and go in one write
            case Window(call):
                self._schedule(self._legs[call])
            case Ask():
                self._desk.asked(untrusted)
            case Exit(call, code):
                if self._judge(self._legs[call], Role.SERVER, untrusted):
                    self._finish(call, code)
            case Drop(call):
                self._desk.dropped(call)
                self._finish(call, ExitCode.FAULT, "the service is gone without an exit code")
            case _:
                raise WireError(f"{type(untrusted).__name__} may not come from a guest")

    def _finish(self, call: int, code: int, fault: str = "") -> None:
        """The guest ended the call: its caller, if the guest was the server, gets all that waits, then `code`."""
        leg = self._legs.pop(call, None)
        if leg and leg.guest is Role.SERVER:
            leg.finish(code, fault)
            self._stirred.append(leg)
        elif leg:
            self._close(leg)

    # From the legs

    @property
    def busy(self) -> bool:
        return bool(self._stirred) or (bool(self._ready) and self._channel.room)

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
        budget = CHUNK
        while budget > 0:
            try:
                message = leg.held or leg.receive()
            except (EOFError, WireError) as error:  # this call is over, and no other
                self._drop(leg, str(error))
                return
            match message:
                case None:
                    return
                case Data(0, stream, payload):
                    budget -= len(payload)
                    if not self._pass_on(leg, stream, payload):
                        return
                case Eof(0, stream):
                    if not self._judge(leg, leg.guest.other, message):
                        return
                    self._say(Eof(leg.call, stream))
                case Resize(0, rows, columns):
                    self._channel.say(Resize(leg.call, rows, columns))
                case Exit(0, code):
                    self._say(Exit(leg.call, code))
                    del self._legs[leg.call]
                    self._close(leg)
                    return
                case _:
                    self._drop(leg, f"{type(message).__name__} is not about the call of this leg")
                    return
            budget -= 64  # so that many small messages are a turn, too
        self._schedule(leg)

    def _pass_on(self, leg: Leg, stream: int, payload: Bytes) -> bool:
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
            leg.fault = broken.blame, f"{BROKEN}{broken}"
            if leg.call in self._calls:  # else the guest has ended it itself
                self._say(Drop(leg.call))
            self._finish(leg.call, ExitCode.FAULT)
            return None
        if isinstance(untrusted, Data) and isinstance(allowed, Data) and role is leg.guest:
            self._grant(leg.call, untrusted.stream, len(untrusted.payload) - len(allowed.payload))
        return allowed

    def _drop(self, leg: Leg, fault: str) -> None:
        """The leg's other end is gone, or talks nonsense: the guest learns that, whatever else waits."""
        leg.fault = Role.CALLER, fault
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
        if window := self._calls.consumed(call, stream, size):
            self._channel.say(window)

    def _say(self, message: Data | Eof | Accepted | Refused | Exit | Drop) -> None:
        self._calls.sent(message)
        self._channel.say(message)

    def _close(self, leg: Leg) -> None:
        leg.closed = True
        leg.line.close()
        if leg.guest is Role.SERVER:
            self._desk.served(leg.call, *leg.fault)

    def end(self) -> None:
        """The channel is gone. Callers get what waits and then 125, calls of the guest are over."""
        for call in tuple(self._legs):
            self._finish(call, ExitCode.FAULT, "its channel is gone")
        self._calls = Calls(Sender.HOST)  # none is open any more
