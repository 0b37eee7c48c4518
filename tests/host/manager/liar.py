"""A guest that takes the agent's place in a pretended domain, and then breaks the protocol in a way of its own."""

import os
import socket
from contextlib import suppress
from types import TracebackType

from bento.wire.channel import PADDING
from bento.wire.names import DomainName
from bento.wire.rpc import Identity, Ready
from tests.host.broker.house import Guest
from tests.host.manager.home import PATIENCE, Home, end_process


class Liar:
    """Has the domain's next broker talk to itself: it listens where the agent did, and ends the present broker."""

    def __init__(self, home: Home, name: str) -> None:
        self._home = home
        self._name = name
        self._deaf: socket.socket | None = None
        path = home.run_dir(name) / "channel.sock"
        path.unlink()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._listener.settimeout(PATIENCE)

    def __enter__(self) -> "Liar":
        end_process(self._home.broker_pid(self._name))
        self.answer()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._guest.sock.close()
        if self._deaf is not None:
            self._deaf.close()
        self._listener.close()

    def claim_to_be_the_host(self) -> None:
        self._guest.say(Identity(DomainName("dom0"), "AdminVM", os.urandom(32), 0))

    def fall_out_of_step(self) -> None:
        """As an agent that crashed does."""
        with suppress(BrokenPipeError):  # the first of it may be enough for the broker
            self._guest.sock.sendall(PADDING)
        self._guest.sock.close()

    def hear_a_greeting_and_die(self) -> None:
        """As an agent that crashed before it could answer: its port stays open, as a machine's does."""
        self._guest.sock.close()
        self._deaf, _ = self._listener.accept()

    def answer(self) -> None:
        """Take the next broker's connection and be an agent that is up."""
        connection, _ = self._listener.accept()
        connection.settimeout(PATIENCE)
        self._guest = Guest(connection)
        self._guest.greet()
        self._guest.hear()
        self._guest.say(Ready(1))
