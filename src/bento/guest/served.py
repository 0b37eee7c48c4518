"""A call with its server, which is a process of the agent's or a socket of somebody else's: the streams and the end.

A process's call is over when it has ended and its output is at its end, as the field has it: a service that leaves a
daemon behind with its stdout keeps its caller waiting. A terminal's output ends with the process it was made for. A
socket's call is over when both directions have ended, with exit code 0; a server that is gone ends both.
"""

import os
from functools import partial

from bento.guest import spawn
from bento.guest.loop import GONE, READ, Loop
from bento.guest.settings import Settings
from bento.guest.streams import Reader, SocketWriter, Writer
from bento.guest.talk import Talk
from bento.wire.rpc import Data, Drop, Eof, Exit, OfCall, Resize, Stream, Window

END_OF_TRANSMISSION = b"\x04"
"""Control-D: how a terminal is told that its input ends."""


class Served:
    def __init__(self, loop: Loop, talk: Talk, call: int, service: spawn.Service) -> None:
        self._loop = loop
        self._talk = talk
        self._call = call
        self._service = service
        self._code: int | None = None
        self._consumed = partial(talk.consumed, call, Stream.STDIN)
        self._input = Writer(loop, service.stdin)
        files = {Stream.STDOUT: service.stdout, Stream.STDERR: service.stderr}
        self._outputs = {
            stream: Reader(loop, talk, call, stream, fd, self._check) for stream, fd in files.items() if fd is not None
        }
        loop.watch(service.fd, READ, self._exited)

    def hear(self, message: OfCall) -> None:
        on_terminal = self._service.stderr is None
        match message:
            case Data():
                self._input.put(message.payload, self._consumed, len(message.payload))
            case Eof():
                if on_terminal:
                    self._input.put(END_OF_TRANSMISSION)
                self._input.finish()
            case Window():
                if output := self._outputs.get(Stream(message.stream)):
                    output.resume()
            case Resize() if on_terminal:
                spawn.resize(self._service.stdout, message.rows, message.columns)
            case Drop():
                self.end()
            case _:
                pass

    def end(self) -> None:
        """Hang up on the process, which may take its time to end."""
        self._service.hang_up()
        self._release()
        self._loop.watch(self._service.fd, READ, self._reap)
        self._reap(0)

    def _exited(self, _: int) -> None:
        self._code = self._service.code
        if self._code is None:
            return
        self._loop.forget(self._service.fd)
        output = self._outputs[Stream.STDOUT]
        if self._service.stderr is None and not output.ended:
            output.drain()
        else:
            self._check()

    def _check(self) -> None:
        """Is the call over? Asked when the process ends and when an output does."""
        if self._code is None or not all(output.ended for output in self._outputs.values()):
            return
        self._talk.say(Exit(self._call, self._code))
        self._release()
        self._reap(0)

    def _release(self) -> None:
        self._input.close()
        for output in self._outputs.values():
            output.close()

    def _reap(self, _: int) -> None:
        self._service.reap(self._loop)


class Connected:
    def __init__(self, loop: Loop, talk: Talk, call: int, fd: int, settings: Settings, first: bytes) -> None:
        """`fd` is the connected socket, `first` what the server hears before the caller's bytes."""
        self._loop = loop
        self._talk = talk
        self._call = call
        self._fd = fd
        self._settings = settings
        self._input_ended = False
        self._over = False
        self._consumed = partial(talk.consumed, call, Stream.STDIN)
        talk.say(Eof(call, Stream.STDERR))  # a socket has none
        # A number of its own for each direction: epoll tells them apart.
        self._input = SocketWriter(loop, os.dup(fd), self._no_more_input)
        if first:
            self._input.put(first)
        self._output = Reader(loop, talk, call, Stream.STDOUT, fd, self._no_more_output)

    def hear(self, message: OfCall) -> None:
        match message:
            case Data():
                self._input.put(message.payload, self._consumed, len(message.payload))
            case Eof():
                self._input.finish()
            case Window():
                self._output.resume()
            case Drop():
                self.end()
            case _:
                pass

    def end(self) -> None:
        """The server finds the connection closed."""
        self._over = True
        self._input.close()
        self._output.close()

    def _no_more_input(self) -> None:
        self._input_ended = True
        self._check(at_once=self._settings.exit_on_client_eof)

    def _no_more_output(self) -> None:
        # From now on the file says only one thing: that the server has closed altogether, and reads no more either.
        self._loop.watch(self._fd, 0, self._gone)
        self._check(at_once=self._settings.exit_on_service_eof)

    def _gone(self, events: int) -> None:
        if events & GONE:
            self._input.close()

    def _check(self, *, at_once: bool) -> None:
        if self._over or not (at_once or (self._input_ended and self._output.ended)):
            return
        self._over = True
        if not self._output.ended:
            self._talk.say(Eof(self._call, Stream.STDOUT))
        self._talk.say(Exit(self._call, 0))
        self.end()
