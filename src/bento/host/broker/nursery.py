"""The warm parent: has everything imported, and forks a broker for each domain the manager names.

It never reads a byte of a guest. When the manager is gone, it ends, and its
brokers with it.
"""

import os
import signal
import socket
import sys
import traceback
from ctypes import addressof, create_string_buffer
from gc import freeze
from types import FrameType
from typing import NoReturn

from bento.host.broker import packets
from bento.host.broker.broker import Broker
from bento.host.jail.profiles import BROKER, NURSERY, confine
from bento.host.jail.seccomp import prctl
from bento.wire.control import Spawn, Spawned, encode_packet

FAULT = 70
"""Exit code of a broker that met a fault of its own (EX_SOFTWARE of sysexits.h)."""

NOBODY = 0
"""Process number of a broker that could not be forked."""

PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15


def run(control: socket.socket) -> None:
    """Until the manager closes its end of `control`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the manager, whose end we follow
    signal.signal(signal.SIGCHLD, _reap)
    freeze()  # what is here now stays shared with the children: their collector does not touch it
    me = os.getpid()
    confine(NURSERY)
    while True:
        try:
            message, files = packets.receive(control)
        except EOFError:
            return
        assert isinstance(message, Spawn), "the manager only asks a nursery for brokers"
        try:
            pid = os.fork()
        except OSError as error:
            # The others live on; the manager finds nobody at the other end of the control socket.
            say_fault(f"the nursery, asked for a broker of {message.name},", error)
            pid = NOBODY
        else:
            if pid == 0:
                _be_broker(message.name, files, me)
        for file in files:
            os.close(file)
        control.send(encode_packet(Spawned(pid)))


def _be_broker(name: str, files: list[int], parent: int) -> NoReturn:
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _close_all_but(files)
        control, channel, console = (socket.socket(fileno=file) for file in files[:3])
        broker = Broker(control, channel, console, files[3])
        title = create_string_buffer(f"bento:{name}".encode())
        prctl(PR_SET_NAME, addressof(title))
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:  # else it died before it could take this child along
            confine(BROKER)
            broker.run()
        os._exit(0)
    except BaseException as error:  # noqa: BLE001  # no other way out: the parent's code must not run in the child
        say_fault(f"the broker of {name}", error)
    finally:
        os._exit(FAULT)


def _close_all_but(files: list[int]) -> None:
    kept = sorted({0, 1, 2, *files})
    for below, above in zip(kept, [*kept[1:], 1 << 20], strict=True):
        os.closerange(below + 1, above)


def say_fault(who: str, error: BaseException) -> None:
    """A traceback without source lines: the jail opens no files."""
    places = [f"{frame.f_code.co_filename}:{line}" for frame, line in traceback.walk_tb(error.__traceback__)]
    words = f"{who} met a fault: {type(error).__name__}: {str(error)!a}, by way of {' '.join(places)}\n"
    os.write(2, words.encode())


def _reap(_signal: int, _frame: FrameType | None) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if os.WIFSIGNALED(status):
            print(f"broker {pid} was ended by {signal.Signals(os.WTERMSIG(status)).name}", file=sys.stderr, flush=True)
