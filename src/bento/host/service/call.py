"""One call from the manager's word to its end: start the service, give up what that took, relay."""

import os
import socket

from bento.host.jail.profiles import RELAY, confine, restrain
from bento.host.service.program import start
from bento.host.service.relay import Relay
from bento.wire.calls import Role
from bento.wire.contract import Broken, Follower
from bento.wire.control import Open
from bento.wire.errors import WireError
from bento.wire.frames import encode_frame
from bento.wire.rpc import Exit, ExitCode

FAULT = 70
"""Exit code where the call came to no good end (EX_SOFTWARE of sysexits.h); why is the last word on stderr."""


def serve(leg: socket.socket, program: str, call: Open) -> int:
    """The exit code of this process."""
    restrain()
    try:
        service = start(program, call)
    except OSError as error:
        leg.sendall(encode_frame(Exit(0, ExitCode.FAULT)))
        return _complain(f"{call.service} cannot be started: {error.strerror}")
    relay = Relay(leg, service, Follower(call.contract) if call.contract else None)
    confine(RELAY)
    try:
        relay.run()
    except Broken as error:
        who = call.source if error.blame is Role.CALLER else "it"
        return _complain(f"{who} broke the contract: {error}")
    except WireError as error:
        return _complain(f"{call.source} broke the protocol: {error}")
    return 0


def _complain(sentence: str) -> int:
    os.write(2, f"{sentence}\n".encode(errors="replace"))
    return FAULT
