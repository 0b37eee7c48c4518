"""What the agent of a seed does before it opens the way to the host: all that its copies would each have to do again.

A seed is a machine that is saved as soon as its agent listens, and that disposables go on from. It is nobody yet, and
nothing here makes it somebody: a host is played to another agent, which becomes nobody in particular in a directory of
its own and serves a program that has no input and says nothing. What is random must not last from here: every copy
would have the same.

An emulated processor translates each piece of code when it first comes to it, some 30,000 on the way to the end of a
first call, at 9 microseconds each. That is in no seed. So a copy that is made ahead rehearses once more.
"""

import gc
import os
import socket
import time
from functools import partial

import bento.guest.served  # noqa: F401  # a copy has it loaded
from bento.guest.agent import Agent
from bento.guest.loop import READ, Loop
from bento.guest.place import RUN, SERVICES, SETTINGS, Domain, Place
from bento.guest.port import Port
from bento.guest.spawn import VMEXEC
from bento.wire.channel import NONCE_SIZE, AnswerHunter, greeting, seal_of
from bento.wire.frames import FrameReader, encode_frame
from bento.wire.layout import Message
from bento.wire.names import ADMIN, DomainName, ServiceName, TargetName
from bento.wire.rpc import FROM_GUEST, Eof, Exit, Identity, Ready, Serve, Stream
from bento.wire.vmexec import encode_command

STAGE = RUN + "/rehearsal"

NOBODY = DomainName("seed")

PROGRAM = b"/bin/true"
"""By its whole name: a person may have another `true`."""

TIMES = 3
"""The first brings into memory what it takes, the later ones find it there, as a copy does."""

SETTLING_SECONDS = 0.5
"""Until the kernel has cleared away what the rehearsal leaves (RCU, writing back), which else each copy would."""

UNGREETED_SECONDS = 1.0
"""Of its own time, in which a seed is saved and a copy that is needed is greeted."""


def rehearse(loop: Loop, place: Domain, agent: Agent) -> None:
    """`loop` is where `agent` will wait for the host."""
    agent.prepare()
    place.account("")
    os.sync()
    for _ in range(TIMES):
        play(stage())
    # Nobody looks through these objects again: to look at one is to write to it, and its page is the copy's own then.
    gc.collect()
    gc.freeze()
    time.sleep(SETTLING_SECONDS)
    loop.later(UNGREETED_SECONDS, partial(use_the_time, agent))


def use_the_time(agent: Agent) -> None:
    """A copy that nobody greets waits to be needed: what it does once more has run on its own processor then."""
    if agent.is_new:
        play(stage())


def stage() -> Domain:
    """Without what others than the template's maker put up: that waits until this machine is somebody."""
    made = Domain(STAGE)
    made.services, made.settings = SERVICES[-1:], SETTINGS[-1:]
    return made


def play(stage: Place) -> None:
    """A machine's first moments, from the greeting to the end of its first call. It leaves nothing in `stage.run`."""
    loop = Loop()
    agent = Agent(loop, stage)
    agent.prepare()
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    agent.attach(Port(loop, theirs.detach(), agent.hear))
    with ours:
        Prompter(loop, ours).begin()
        loop.run()
    agent.close()
    for name in os.listdir(stage.run):
        os.unlink(f"{stage.run}/{name}")


class Prompter:
    """The host's part. It trusts the agent: both are this process."""

    def __init__(self, loop: Loop, line: socket.socket) -> None:
        self._loop = loop
        self._line = line
        self._nonce = os.urandom(NONCE_SIZE)
        self._hunter: AnswerHunter | None = AnswerHunter(self._nonce)
        self._reader = FrameReader(seal=seal_of(self._nonce))

    def begin(self) -> None:
        self._loop.watch(self._line.fileno(), READ, self._hear)
        identity = Identity(NOBODY, "DispVM", os.urandom(32), time.time_ns())
        self._line.sendall(greeting(self._nonce, first=True) + self._frames(identity))

    def _frames(self, *messages: Message) -> bytes:
        return b"".join(encode_frame(message, seal_of(self._nonce)) for message in messages)

    def _hear(self, _: int) -> None:
        data: bytes | None = self._line.recv(1 << 16)
        assert data
        if self._hunter:
            data = self._hunter.feed(data)
            if data is None:
                return
            self._hunter = None
        for tag, payload in self._reader.feed(data):
            match FROM_GUEST.decode(tag, payload):
                case Ready():
                    call = Serve(0, ServiceName(VMEXEC), encode_command([PROGRAM]), ADMIN, TargetName(""), "", 0, 0)
                    self._line.sendall(self._frames(call, Eof(0, Stream.STDIN)))
                case Exit():
                    self._loop.forget(self._line.fileno())
                    self._loop.stop()
                case _:
                    pass
