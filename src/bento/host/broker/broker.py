"""One domain's broker: the loop between its guest, its manager and its console, and how it ends.

Whatever the guest does wrong ends this process with a sentence to the manager,
and nothing else anywhere. A fault of our own ends it with a traceback.
"""

import socket
from time import monotonic

from bento.host.broker.channel import Channel
from bento.host.broker.console import Console
from bento.host.broker.desk import Desk
from bento.host.broker.loop import Line, Loop
from bento.host.broker.packets import Control
from bento.wire.control import Begin, Connect, Deny, Ended, Ending, Open, OpenConsole, PowerOff
from bento.wire.errors import WireError
from bento.wire.frames import OutOfStep
from bento.wire.layout import Message
from bento.wire.rpc import Identity

LINGER = 2.0
"""Seconds that callers have, after the guest is gone, to take what it said before."""


class Broker:
    def __init__(self, control: socket.socket, channel: socket.socket, console: socket.socket, log: int) -> None:
        """`channel` and `console` are stream sockets to the machine, `log` a file open for reading and writing."""
        self._loop = Loop()
        self._control = Control(self._loop, control)
        self._channel = Channel(Line(self._loop, channel))
        self._desk = Desk(self._loop, self._channel, self._control.tell)
        self._relay = self._desk.relay
        self._console = Console(self._loop, console, log)
        self._ended: Ended | None = None
        self._deadline = 0.0

    def run(self) -> None:
        """Until the machine closes the channel, the guest breaks the protocol, or the manager is gone."""
        try:
            while self._ended is None or (not self._desk.finished and monotonic() < self._deadline):
                self._loop.wait(self._patience())
                self._hear_manager()
                self._hear_guest()
                self._relay.turn()
                self._console.turn()
                self._control.flush()
                if self._ended is None:
                    self._channel.line.flush()
        except ManagerGone:
            return  # and so is every call: a new manager starts new brokers
        self._control.tell(self._ended)
        self._control.close()

    def _patience(self) -> float | None:
        if self._ended:
            return max(0.0, self._deadline - monotonic())
        if self._control.readable or self._channel.audible or self._relay.busy or self._console.busy:
            return 0
        return None

    def _hear_manager(self) -> None:
        while self._control.readable:
            try:
                received = self._control.receive()
            except EOFError:
                raise ManagerGone from None
            if received is not None:
                self._obey(*received)

    def _obey(self, message: Message, files: list[int]) -> None:
        socks = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, file) for file in files]
        match message:
            case Begin():
                identity = Identity(message.name, message.klass, message.seed, message.time)
                self._channel.begin(message.nonce, identity, first=bool(message.first))
            case Open():
                self._desk.open(message, *socks)
            case Connect():
                self._desk.connect(message, *socks)
            case Deny():
                self._desk.deny(message)
            case OpenConsole():
                self._console.join(*socks)
            case PowerOff():
                self._desk.power_off()
            case _:
                raise WireError(f"{type(message).__name__} is not for a broker")

    def _hear_guest(self) -> None:
        if self._ended or not self._channel.audible:
            return
        try:
            self._relay.hear()
        except EOFError:
            self._end(Ending.CLOSED, "the machine closed the channel")
        except OutOfStep as error:
            self._end(Ending.OUT_OF_STEP, str(error))
        except WireError as error:
            self._end(Ending.VIOLATION, str(error))

    def _end(self, ending: Ending, sentence: str) -> None:
        self._ended = Ended(ending, sentence)
        self._deadline = monotonic() + LINGER
        self._desk.end()
        self._console.close()
        self._channel.line.close()


class ManagerGone(Exception):
    """Its control socket is closed."""
