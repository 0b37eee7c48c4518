"""A call that this domain serves, from the host's word on: which server, when, and as whom.

The server may be there at once or take its time (a session that is waited for, a socket that does not answer yet);
what the caller says meanwhile is held, no more than its window. What cannot be served costs the caller an exit code,
and this machine a line in its journal.
"""

import sys

from bento.guest import lookup, session, spawn
from bento.guest.connect import Connecting
from bento.guest.lookup import Address, CannotServe, Program, Socket
from bento.guest.loop import Loop
from bento.guest.place import DEFAULT_USER, Account, Place
from bento.guest.served import Connected, Served
from bento.guest.settings import Settings
from bento.guest.talk import Talk
from bento.wire.names import ADMIN
from bento.wire.rpc import Data, Drop, Exit, ExitCode, OfCall, Serve, Stream


def serve(loop: Loop, place: Place, talk: Talk, call: Serve) -> None:
    """Begin to serve; `WireError` if the host may not begin this call.

    Not before everything is heard that has come: callers that die in great numbers shall not have a program started
    for each, which the calls of others would wait for.
    """
    beginning = Beginning(loop, place, talk, call)
    loop.after_this_round(beginning.begin)


class Beginning:
    """A call whose server is not there yet."""

    def __init__(self, loop: Loop, place: Place, talk: Talk, call: Serve) -> None:
        self._loop = loop
        self._place = place
        self._talk = talk
        self._call = call
        self._settings = Settings()
        self._input = bytearray()
        self._others: dict[type[OfCall], OfCall] = {}
        self._pending: session.Waiting | Connecting | None = None
        self._over = False
        talk.admit(call, self)

    def begin(self) -> None:
        if self._over:
            return
        call = self._call
        try:
            self._settings = lookup.settings(self._place.settings, call.service, call.argument)
            if self._settings.wait_for_session and self._session_is_awaited():
                return
        except CannotServe as reason:
            self._give_up(reason)
        else:
            self._start()

    def hear(self, message: OfCall) -> None:
        match message:
            case Drop():
                self.end()
            case Data():
                self._input += message.payload  # one after the other would take a hundred times their size
            case _:
                self._others[type(message)] = message  # of each kind the last: only the caller's window is bounded

    def end(self) -> None:
        self._over = True
        if self._pending is not None:
            self._pending.end()

    def _session_is_awaited(self) -> bool:
        """As the field has it: by `qubes.WaitForSession`, as root, which is told on its stdin whose session."""
        call, place = self._call, self._place
        server = lookup.find(place.services, session.SERVICE, "")
        path = server.path if isinstance(server, Program) else None
        if path is None and not session.has_session(place):
            return False
        whose = self._account(self._settings.force_user or call.user)
        child = session.start(place, self._account("root"), path, call.source, whose.name)
        self._pending = session.Waiting(self._loop, child, self._start)
        return True

    def _start(self) -> None:
        call, place = self._call, self._place
        try:
            server = lookup.find(place.services, call.service, call.argument)
            match server:
                case Socket() | Address():
                    self._pending = Connecting(self._loop, server, self._connected)
                    self._pending.begin()
                case None if call.service not in spawn.BUILT_IN:
                    self._talk.say(Exit(call.call, ExitCode.NOT_FOUND))
                case _:
                    account = self._account(self._settings.force_user or call.user)
                    service = spawn.start(place, account, call, server.path if server is not None else None)
                    self._hand_over(Served(self._loop, self._talk, call.call, service))
        except CannotServe as reason:
            self._give_up(reason)

    def _connected(self, result: int | CannotServe) -> None:
        if isinstance(result, CannotServe):
            self._give_up(result)
            return
        first = b"" if self._settings.skip_service_descriptor else spawn.descriptor(self._call)
        self._hand_over(Connected(self._loop, self._talk, self._call.call, result, self._settings, first))

    def _hand_over(self, member: Served | Connected) -> None:
        """The server hears what the caller has said so far, and from now on."""
        if not self._talk.is_open(self._call.call):
            return  # over already: the server has closed at once
        self._talk.hand_over(self._call.call, member)
        heard = [Data(self._call.call, Stream.STDIN, bytes(self._input))] if self._input else []
        for message in (*heard, *self._others.values()):
            if self._talk.is_open(self._call.call):
                member.hear(message)

    def _account(self, name: str) -> Account:
        try:
            return self._place.account(name)
        except KeyError:
            raise CannotServe(f"there is no user '{name or DEFAULT_USER}' in this domain") from None

    def _give_up(self, reason: CannotServe) -> None:
        call = self._call
        print(f"bento-agent: a call of {call.source}: {reason}", file=sys.stderr)
        if reason.public or call.source == ADMIN:  # a person waits there for a sentence; others learn the code, no more
            self._talk.say(Data(call.call, Stream.STDERR, f"bento: {reason}\n".encode(errors="replace")))
        self._talk.say(Exit(call.call, reason.code))
