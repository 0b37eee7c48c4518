"""The agent: in step with the host over one port, serving the calls it begins and placing those of local programs.

The host is trusted, and may still be replaced in the middle of a sentence: whatever is out of step or not allowed
ends all calls of that conversation, and the agent waits for the next greeting. Local programs are not trusted; what
they do ends at most their own call.
"""

import os
import sys
from functools import partial
from typing import TYPE_CHECKING

from bento.guest.loop import Loop
from bento.guest.place import Place
from bento.guest.port import Port
from bento.guest.talk import Talk
from bento.wire.channel import PADDING, VERSION, answer, seal_of
from bento.wire.errors import WireError
from bento.wire.frames import FrameReader
from bento.wire.greeting import GreetingHunter
from bento.wire.layout import Message
from bento.wire.rpc import FROM_HOST, Identity, OfCall, Serve, Shutdown

if TYPE_CHECKING:
    from bento.guest.clients import Clients


class Agent:
    """`attach` it to a port and let it `hear` what comes; `lose` when the port is gone."""

    def __init__(self, loop: Loop, place: Place) -> None:
        self._loop = loop
        self._place = place
        self._reader = FrameReader()
        self._talk: Talk | None = None
        self._identified = False
        self._clients: Clients | None = None
        os.makedirs(place.run, exist_ok=True)
        self._follows_a_crash = os.path.exists(place.started)
        self.is_new = not self._follows_a_crash
        """No host was heard in this machine yet."""
        self._hunter = GreetingHunter(first=self.is_new)
        with open(place.started, "w"):
            pass

    def attach(self, port: Port) -> None:
        self._port = port
        if self._follows_a_crash:
            # The host may still talk to the agent that crashed: bytes that are no frame make it greet anew.
            port.write(PADDING)

    def detach(self) -> None:
        """The port is gone."""
        self.lose()
        self._port.close()

    def close(self) -> None:
        """No agent is here any more."""
        self.detach()
        if self._clients is not None:
            self._clients.close()

    def prepare(self) -> None:
        """Have what serving takes. Nobody is served before the host has said who this machine is."""
        # Imported only now: a domain counts as started at Ready, and the host's first call is still on its way.
        from bento.guest.clients import Clients
        from bento.guest.serve import serve

        self._begin = serve
        self._clients = Clients(self._loop, self._place.socket)

    def hear(self, data: bytes) -> None:
        self.is_new = False
        while data:
            data = self._hunt(data) if self._talk is None else self._follow(self._talk, data)

    def lose(self) -> None:
        """End the conversation, if there is one, and look for the next greeting."""
        self._hunter = GreetingHunter(first=self.is_new)
        self._identified = False
        if self._clients is not None:
            self._clients.pause()
        if self._talk is not None:
            self._talk.end()
            self._talk = None
            self._port.clear()

    def _hunt(self, data: bytes) -> bytes:
        found = self._hunter.feed(data)
        if found is None:
            return b""
        _, nonce, data = found
        self._follows_a_crash = False
        self._reader = FrameReader(seal=seal_of(nonce))
        self._talk = Talk(self._port, seal_of(nonce))
        self._port.write(answer(nonce))
        return data

    def _follow(self, talk: Talk, data: bytes) -> bytes:
        try:
            for tag, payload in self._reader.feed(data):
                self._act(talk, FROM_HOST.decode(tag, payload))
        except WireError as error:
            print(f"bento-agent: out of step with the host: {error}", file=sys.stderr)
            self.lose()
            # A host that is still there must notice too. The next greeting may already stand in what is left.
            self._port.write(PADDING)
            return data[max(0, len(data) - len(self._reader.pending)) :]
        return b""

    def _act(self, talk: Talk, message: Message) -> None:
        match message:
            case Identity() if not self._identified:
                self._become(talk, message)
            case _ if not self._identified:
                raise WireError(f"{type(message).__name__} came before Identity")
            case Serve():
                self._serve(message)
            case Shutdown():
                self._place.power_off()
            case _ if isinstance(message, OfCall):
                talk.hear(message)
            case _:
                raise WireError(f"{type(message).__name__} came twice")

    def _become(self, talk: Talk, identity: Identity) -> None:
        try:
            self._place.adopt(identity)
        except OSError as error:
            # It could be the same as another machine: nothing may run here, and the host learns so at once.
            print(f"bento-agent: this machine cannot become {identity.name}, and ends: {error}", file=sys.stderr)
            self._place.power_off()
            return
        talk.ready(VERSION)
        self._identified = True
        self._open(talk)
        # It was not said yet: what is written in one round goes out at the end of it.
        self._loop.after_this_round(partial(self._place.settle, identity))

    def _open(self, talk: Talk) -> None:
        """Serve and ask from now on."""
        if self._clients is None:
            self.prepare()
        assert self._clients is not None
        self._serve = partial(self._begin, self._loop, self._place, talk)
        self._clients.resume(talk)
