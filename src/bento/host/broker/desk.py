"""What a domain's calls are for: which wait, which were asked for, and what the manager learns of them.

Nothing here reads what a guest wrote: the manager's messages come in, parsed
values of the guest's go out to the manager, and the relay moves the bytes.
"""

import socket
from collections.abc import Callable

from bento.host.broker.channel import Channel
from bento.host.broker.loop import Loop
from bento.host.broker.relay import Relay
from bento.host.broker.waiting import Waiting
from bento.wire.control import MAX_SENTENCE, Asked, Blame, Connect, Deny, Open, Over, Up, Withdrawn
from bento.wire.frames import encode_frame
from bento.wire.layout import Message
from bento.wire.rpc import MAX_CALLS, Ask, Exit, ExitCode, Role, Serve, Shutdown

BLAME = {None: Blame.NOBODY, Role.CALLER: Blame.CALLER, Role.SERVER: Blame.SERVER}


class Desk:
    """`tell` reaches the manager."""

    def __init__(self, loop: Loop, channel: Channel, tell: Callable[[Message], None]) -> None:
        self.relay = Relay(loop, channel, self)
        self._channel = channel
        self._tell = tell
        self._waiting = Waiting(MAX_CALLS)  # for calls that the guest serves: a slot is held until the leg is closed
        self._served: dict[int, Open] = {}  # calls that hold a slot
        self._asked: dict[int, Ask] = {}  # by the guest, and not yet told to the manager
        self._questions: set[int] = set()  # told to the manager, and not yet answered
        self._powering_off = False
        self._over = False

    @property
    def finished(self) -> bool:
        """No call has a slot any more."""
        return self._waiting.idle

    # From the manager

    def open(self, request: Open, leg: socket.socket) -> None:
        """Have the guest serve a call, as soon as it has a slot for it."""
        if self._over or not self._waiting.put(request, leg):
            self._turn_away(request, leg)
        else:
            self._serve_waiting()

    def connect(self, answer: Connect, leg: socket.socket) -> None:
        self._answered(answer.token)
        self.relay.connect(answer.token, leg)

    def deny(self, answer: Deny) -> None:
        self._answered(answer.token)
        self.relay.refuse(answer.token, answer.code)

    def power_off(self) -> None:
        self._powering_off = True
        if self._channel.up and not self._over:
            self._channel.say(Shutdown())

    def end(self) -> None:
        """The channel is gone."""
        self._over = True
        self.relay.end()
        for request, leg in self._waiting.drain():
            self._turn_away(request, leg)

    # From the relay

    def up(self, version: int) -> None:
        self._tell(Up(version))
        self._serve_waiting()
        if self._powering_off:
            self._channel.say(Shutdown())

    def asked(self, ask: Ask) -> None:
        self._asked[ask.call] = ask
        self._ask_manager()

    def dropped(self, call: int) -> None:
        self._asked.pop(call, None)
        if call in self._questions:
            self._tell(Withdrawn(call))

    def served(self, call: int, blame: Role | None, sentence: str) -> None:
        request = self._served.pop(call)
        self._report(request, BLAME[blame], sentence)
        self._waiting.give_back(request.source)
        self._serve_waiting()

    # What follows from both

    def _serve_waiting(self) -> None:
        while self._channel.up and not self._over and (waiting := self._waiting.take()):
            request, sock = waiting
            call = self.relay.begin(sock, request.contract)
            self._served[call] = request
            what = request.service, request.argument, request.source, request.target
            self._channel.say(Serve(call, *what, request.user, request.rows, request.columns))

    def _answered(self, call: int) -> None:
        self._questions.remove(call)
        self._ask_manager()

    def _ask_manager(self) -> None:
        # A call that the guest dropped is still a question to the manager: so they are counted apart from the calls.
        while self._asked and len(self._questions) < MAX_CALLS:
            call = next(iter(self._asked))
            ask = self._asked.pop(call)
            self._questions.add(call)
            self._tell(Asked(call, ask.service, ask.argument, ask.target))

    def _turn_away(self, request: Open, leg: socket.socket) -> None:
        with leg:
            try:
                leg.send(encode_frame(Exit(0, ExitCode.FAULT)), socket.MSG_DONTWAIT)
            except OSError:
                pass  # the caller is gone, too
        self._report(request, Blame.NOBODY, "it never had a slot")

    def _report(self, request: Open, blame: Blame, sentence: str) -> None:
        if request.token:
            self._tell(Over(request.token, blame, sentence[:MAX_SENTENCE]))
