"""One call from the manager's word to its end: wait for it, start the service, give up what that took, relay."""

import socket
from array import array

from bento.host.jail.profiles import RELAY, confine, restrain
from bento.host.service.program import start
from bento.host.service.relay import Relay
from bento.wire.contract import BROKEN, Broken, Follower
from bento.wire.control import FROM_MANAGER, MAX_PACKET, MAX_SENTENCE, Blame, Open, Over, decode_packet, encode_packet
from bento.wire.errors import WireError
from bento.wire.frames import encode_frame
from bento.wire.rpc import Exit, ExitCode, Role

FAULT = 70
"""Exit code where the call came to no good end (EX_SOFTWARE of sysexits.h); the manager is told why."""


def serve(control: socket.socket, program: str) -> int:
    """The exit code of this process: for one call at most, and none if the manager wants no more."""
    restrain()
    try:
        call, leg = _wait(control)
    except EOFError:
        return 0
    blame, sentence = _serve(call, leg, program)
    if not sentence:
        return 0
    control.send(encode_packet(Over(call.token, blame, sentence[:MAX_SENTENCE])))
    return FAULT


def _wait(control: socket.socket) -> tuple[Open, socket.socket]:
    """`EOFError` when the manager is gone."""
    # Not socket.recv_fds: in Python 3.11 it forgets its flags, and the service is not to have the leg.
    packet, beside, _, _ = control.recvmsg(MAX_PACKET, socket.CMSG_SPACE(array("i").itemsize), socket.MSG_CMSG_CLOEXEC)
    if not packet:
        raise EOFError
    call = decode_packet(FROM_MANAGER, packet)
    assert isinstance(call, Open), "the manager sends the call that is to be served"
    ((_, _, rights),) = beside
    return call, socket.socket(fileno=array("i", rights)[0])


def _serve(call: Open, leg: socket.socket, program: str) -> tuple[Blame, str]:
    """Who is to blame for how it ended, and why; no words where it ended well."""
    try:
        service = start(program, call)
    except OSError as error:
        leg.sendall(encode_frame(Exit(0, ExitCode.FAULT)))
        return Blame.SERVER, f"{call.service} cannot be started: {error.strerror}"
    relay = Relay(leg, service, Follower(call.contract) if call.contract else None)
    confine(RELAY)
    try:
        relay.run()
    except Broken as error:
        return (Blame.CALLER if error.blame is Role.CALLER else Blame.SERVER), f"{BROKEN}{error}"
    except WireError as error:
        return Blame.CALLER, f"{call.source} broke the protocol: {error}"
    return Blame.NOBODY, ""
