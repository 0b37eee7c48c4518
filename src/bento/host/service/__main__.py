"""`python -S -E -m bento.host.service --leg-fd N PROGRAM < PACKET`: one call; started by the manager, in its box."""

import os
import socket
import sys

from bento.host.jail.profiles import RELAY, confine, restrain
from bento.host.service.program import start
from bento.host.service.relay import Relay
from bento.wire.control import FROM_MANAGER, MAX_PACKET, Open, decode_packet
from bento.wire.errors import WireError
from bento.wire.frames import encode_frame
from bento.wire.rpc import Exit, ExitCode

FAULT = 70
"""Exit code where the call came to no good end (EX_SOFTWARE of sysexits.h); why is the last word on stderr."""


def main(leg: socket.socket, program: str) -> int:
    call = decode_packet(FROM_MANAGER, os.read(0, MAX_PACKET))
    assert isinstance(call, Open), "the manager sends the call that is to be served"
    restrain()
    try:
        service = start(program, call)
    except OSError as error:
        leg.sendall(encode_frame(Exit(0, ExitCode.FAULT)))
        return _complain(f"{call.service} cannot be started: {error.strerror}")
    relay = Relay(leg, service)
    confine(RELAY)
    try:
        relay.run()
    except WireError as error:
        return _complain(f"{call.source} broke the protocol: {error}")
    return 0


def _complain(sentence: str) -> int:
    os.write(2, f"{sentence}\n".encode(errors="replace"))
    return FAULT


match sys.argv[1:]:
    case ["--leg-fd", number, path] if number.isdecimal():
        # At once and without more ado: what of Python's own end needs more than the relay may do, is not done.
        os._exit(main(socket.socket(fileno=int(number)), path))
    case _:
        sys.exit("bento.host.service: started by the manager for a call; not for use by hand")
