"""A call that this domain serves: a process, its streams and its end.

The call is over when the process has ended and its output is at its end, as the field has it: a service that leaves a
daemon behind with its stdout keeps its caller waiting. A terminal's output ends with the process it was made for.
"""

import os
import signal
import sys
from functools import partial

from bento.guest import spawn
from bento.guest.loop import READ, Loop
from bento.guest.place import DEFAULT_USER, Place
from bento.guest.streams import Reader, Writer
from bento.guest.talk import OfCall, Talk
from bento.wire.names import ADMIN
from bento.wire.rpc import Data, Drop, Eof, Exit, ExitCode, Resize, Serve, Stream, Window

END_OF_TRANSMISSION = b"\x04"
"""Control-D: how a terminal is told that its input ends."""


def serve(loop: Loop, place: Place, talk: Talk, call: Serve) -> None:
    """Begin to serve; `WireError` if the host may not begin this call."""
    served = Served(loop, talk, call.call)
    talk.admit(call, served)
    try:
        process = spawn.start(place, call)
    except KeyError:
        _give_up(talk, call, f"there is no user '{call.user or DEFAULT_USER}' in this domain")
        return
    except OSError as error:
        _give_up(talk, call, f"{call.service} cannot be started: {error.strerror}")
        return
    if process is None:
        talk.say(Exit(call.call, ExitCode.NOT_FOUND))
    else:
        served.run(process)


def _give_up(talk: Talk, call: Serve, why: str) -> None:
    print(f"bento-agent: a call of {call.source}: {why}", file=sys.stderr)
    if call.source == ADMIN:  # a person waits there for a sentence; other domains learn the code, and no more
        talk.say(Data(call.call, Stream.STDERR, f"bento: {why}\n".encode()))
    talk.say(Exit(call.call, ExitCode.FAULT))


class Served:
    def __init__(self, loop: Loop, talk: Talk, call: int) -> None:
        self._loop = loop
        self._talk = talk
        self._call = call
        self._code: int | None = None

    def run(self, process: spawn.Process) -> None:
        self._process = process
        self._input = Writer(self._loop, process.stdin)
        files = {Stream.STDOUT: process.stdout, Stream.STDERR: process.stderr}
        self._outputs = {
            stream: Reader(self._loop, self._talk, self._call, stream, fd, self._check)
            for stream, fd in files.items()
            if fd is not None
        }
        self._loop.watch(process.pidfd, READ, self._exited)

    def hear(self, message: OfCall) -> None:
        on_terminal = self._process.stderr is None
        match message:
            case Data():
                size = len(message.payload)
                self._input.put(message.payload, partial(self._talk.consumed, self._call, Stream.STDIN, size))
            case Eof():
                if on_terminal:
                    self._input.put(END_OF_TRANSMISSION)
                self._input.finish()
            case Window():
                if output := self._outputs.get(Stream(message.stream)):
                    output.resume()
            case Resize() if on_terminal:
                spawn.resize(self._process.stdout, message.rows, message.columns)
            case Drop():
                self.end()
            case _:
                pass

    def end(self) -> None:
        """Hang up on the process, and on all that it started in its group, as a terminal does that is closed."""
        # Not reaped yet, so the number is still its own. A stopped process must run to see its end.
        for number in (signal.SIGHUP, signal.SIGCONT):
            try:
                os.killpg(self._process.pid, number)
            except ProcessLookupError:  # so young that it leads no group yet
                os.kill(self._process.pid, number)
        self._release()
        if self._code is None:
            self._loop.watch(self._process.pidfd, READ, self._reap)
        else:
            self._reap(0)

    def _exited(self, _: int) -> None:
        status = os.waitid(os.P_PIDFD, self._process.pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if status is None:
            return
        self._loop.forget(self._process.pidfd)
        self._code = status.si_status if status.si_code == os.CLD_EXITED else 128 + status.si_status
        output = self._outputs[Stream.STDOUT]
        if self._process.stderr is None and not output.ended:
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
        if os.waitid(os.P_PIDFD, self._process.pidfd, os.WEXITED | os.WNOHANG) is not None:
            self._loop.forget(self._process.pidfd)
            os.close(self._process.pidfd)
